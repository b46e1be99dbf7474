"""LWS: decoupled training, a learned scale for the logits of each class (Kang et al. 2020); the end of MiSLAS."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from longtail.methods.criterion import Criterion
from longtail.methods.decoupled import Decoupled
from longtail.methods.method import Groups, Method, Stage
from longtail.ranges import check_finite


class Scale(nn.Module):
    """A factor for each class, which starts at 1: logits (B, C) -> logits (B, C)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_classes))

    def reset_parameters(self) -> None:
        """Start at 1."""
        nn.init.ones_(self.weight)

    def forward(self, logits: Tensor) -> Tensor:
        """Scale the logits."""
        return logits * self.weight


class ScaledHead(nn.Module):
    """A head whose logits are scaled, its bias too: features (B, F) -> logits (B, C)."""

    def __init__(self, head: nn.Module, scale: Scale) -> None:
        super().__init__()
        self.head, self.scale = head, scale

    @property
    def bias(self) -> Tensor | None:
        """The head's, if it has one."""
        return getattr(self.head, "bias", None)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, F) -> logits (B, C)."""
        logits: Tensor = self.scale(self.head(features))
        return logits


class LearnableWeightScaling(Decoupled):
    """Train the whole model, then a scale for the logits of each class, on frozen features.

    z_j = s_j (w_j h + b_j), with s_j = 1 at first (Kang et al. 2020, "Decoupling representation and classifier",
    section 4, LWS). MiSLAS (Zhong et al. 2021) trains the head on too, at a lower rate, after a first stage with
    mixup and with label-aware smoothing in the second. The second stage has no class weights: its sampler balances
    the classes.

    Args:
        model: see `Method`.
        criterion: see `Method`.
        class_counts: see `Method`.
        sampler: of the second stage; None for the run's own.
        share: of the epochs that go to the second stage, in (0, 1).
        optimizer: of the second stage; None for the run's own.
        scheduler: of the second stage; None for the run's own, which starts anew.
        update_statistics: whether frozen batch norms use, and update, the statistics of each batch.
        lr_factor: the head's learning rate as a multiple of the scale's, finite and >= 0; 0 freezes the head.
        loss: (class_counts) -> the loss of the second stage; None for the run's own.
        first: (model, criterion, class_counts=) -> the method of the first stage; None for ordinary training.

    Raises:
        ValueError: share or lr_factor is outside its range, or a part is no function, or does not fit the others.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        class_counts: Tensor,
        sampler: Callable[..., Any] | None = None,
        share: float = 0.2,
        optimizer: Callable[[Groups], Optimizer] | None = None,
        scheduler: Callable[..., Any] | None = None,
        update_statistics: bool = False,
        lr_factor: float = 0.0,
        loss: Callable[[Tensor], nn.Module] | None = None,
        first: Callable[..., Method] | None = None,
    ) -> None:
        check_finite("lr_factor", lr_factor)
        head: Any = model.head
        head = ScaledHead(head, scale := Scale(len(class_counts)))
        second = Stage(share, sampler, head if lr_factor else scale, scale, optimizer, scheduler, update_statistics)
        super().__init__(model, criterion, class_counts, second, head, loss, first)
        self.lr_factor = lr_factor

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Give the head its own learning rate in the second stage."""
        groups = super().parameter_groups()
        if not self.reached:
            return groups
        scale = self.model.head.scale.weight  # type: ignore[union-attr]
        rest = [group | {"params": [p for p in group["params"] if p is not scale]} for group in groups]
        return [{"params": [scale]}, *(group | {"lr_factor": self.lr_factor} for group in rest if group["params"])]
