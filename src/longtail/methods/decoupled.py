"""Decoupled training: learn the features by one method, then go on from them with another classifier."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from longtail.methods.criterion import Criterion
from longtail.methods.following import Following, check_makers
from longtail.methods.method import Method, Stage


class Decoupled(Following):
    """Train as another method does, then a classifier on the frozen features.

    The second stage has no class weights: its sampler or its loss balances the classes.

    Args:
        model: see `Method`.
        criterion: see `Method`.
        class_counts: see `Method`.
        second: the second stage; what it trains belongs to the head.
        head: of the second stage, features (B, F) -> logits (B, C); its parameters may be those of the model's own.
        loss: (class_counts) -> the loss of the second stage; None for the run's own.
        first: see `Following`.

    Raises:
        ValueError: the share is outside its range, or a part is no function, or does not fit the others.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        class_counts: Tensor,
        second: Stage,
        head: nn.Module,
        loss: Callable[[Tensor], nn.Module] | None = None,
        first: Callable[..., Method] | None = None,
    ) -> None:
        share = second.share
        if not (isinstance(share, int | float) and 0 < share < 1):
            raise ValueError(f"share={share}: must be a number in (0, 1)")
        check_makers(sampler=second.sampler, optimizer=second.optimizer, scheduler=second.scheduler, loss=loss)
        super().__init__(model, criterion, class_counts, first)
        try:
            late = loss(class_counts) if loss else criterion.loss
        except ValueError as error:
            raise ValueError(f"loss.{error}") from error
        if loss or head is not model.head:
            check_fit(head, late)
        self.further = [second]
        # Each as it is used, so that a checkpoint holds neither the head that is not in use nor one of them twice.
        self.parts = (model.head, criterion.loss), (head, late)

    def begin(self, stage: Stage) -> None:
        """Take the head and the loss of the stage."""
        self.model.head, self.criterion.loss = self.parts[stage is self.further[0]]
        super().begin(stage)

    def at(self, progress: float) -> None:
        """Drop the class weights in the second stage."""
        super().at(progress)
        if self.reached:
            self.criterion.weights = torch.ones_like(self.criterion.weights)


def check_fit(head: nn.Module, loss: nn.Module) -> None:
    """Check that a head gives what a loss takes.

    Raises:
        ValueError: it does not.
    """
    name, kind = type(loss).__name__, type(head).__name__
    if getattr(loss, "takes_cosines", False) and not getattr(head, "gives_cosines", False):
        raise ValueError(f"head={kind}: must be cosine, of scale 1, for {name}, which scales cosines itself")
    if getattr(loss, "initial_bias", None) is not None and getattr(head, "bias", None) is None:
        raise ValueError(f"head={kind}: must be linear for {name}, whose bias starts at the prior")
