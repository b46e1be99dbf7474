"""cRT: decoupled training, the classifier once more on balanced batches (Kang et al. 2020)."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from longtail.methods.criterion import Criterion
from longtail.methods.method import Groups, Method, Stage


class ClassifierRetraining(Method):
    """Train the whole model, then a new head on the frozen features with a class-balanced sampler.

    Kang et al. 2020 ("Decoupling representation and classifier"), section 4.1. The frozen part keeps its batch-norm
    statistics. The second stage has no class weights: its sampler balances the classes already.

    Args:
        model: see `Method`.
        criterion: see `Method`.
        class_counts: see `Method`.
        sampler: of the second stage.
        share: of the epochs that go to the second stage, in (0, 1).
        optimizer: of the second stage; None for the run's own.

    Raises:
        ValueError: share is outside its range, or the optimizer is not a function.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        class_counts: Tensor,
        sampler: Callable[..., Any],
        share: float = 0.2,
        optimizer: Callable[[Groups], Optimizer] | None = None,
    ) -> None:
        if not (isinstance(share, int | float) and 0 < share < 1):
            raise ValueError(f"share={share}: must be a number in (0, 1)")
        if optimizer is not None and not callable(optimizer):
            raise ValueError(f"optimizer={optimizer}: must be null, or have a _target_ and _partial_: true")
        super().__init__(model, criterion, class_counts)
        self.second = Stage(share, sampler, model.head, model.head, optimizer)  # type: ignore[arg-type]
        self.balanced = False

    def stages(self) -> Sequence[Stage]:
        """Everything, then the head."""
        return [Stage(1 - self.second.share), self.second]

    def begin(self, stage: Stage) -> None:
        """Note which stage it is."""
        super().begin(stage)
        self.balanced = stage is self.second

    def at(self, progress: float) -> None:
        """Drop the class weights in the second stage."""
        super().at(progress)
        if self.balanced:
            self.criterion.weights = torch.ones_like(self.criterion.weights)
