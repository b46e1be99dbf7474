"""What a training minimises: a loss, class weights and a reduction, none of which knows of the others."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

REDUCTIONS = ("batch_mean", "weighted_mean")

Schedule = Callable[[float], Tensor]  # progress of the run in [0, 1) -> weights (C,)
Mixed = Sequence[tuple[Tensor, Tensor | float]]  # (targets (B,), share in [0, 1], a number or (B,)), shares sum to 1
Targets = Tensor | Mixed


class Criterion(nn.Module):
    """Weight the loss of each image by its class and reduce to a scalar.

    With weights w and losses L of a batch of B images:

        batch_mean     sum_b w_b L_b / B            (the papers')
        weighted_mean  sum_b w_b L_b / sum_b w_b    (PyTorch's)

    Mixed targets are pairs (targets, share): each pair contributes share * w * L, and share * w to the sum of the
    weights, so that every loss and weighting works under mixing.

    Args:
        loss: logits (B, C), targets (B,) -> losses (B,).
        weights: of the classes, (C,), finite and >= 0; or a function of the run's progress that returns them.
        reduction: "batch_mean" or "weighted_mean".

    Attributes:
        weights: at the present moment of the run, (C,).
        final_weights: at the end of the run, (C,).

    Raises:
        ValueError: the reduction is unknown, or weights are not finite, negative, or not (C,) throughout.
    """

    weights: Tensor

    def __init__(self, loss: nn.Module, weights: Tensor | Schedule, reduction: str = "batch_mean") -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction={reduction}: must be {' or '.join(REDUCTIONS)}")
        self.loss, self.reduction = loss, reduction
        self.schedule = None if isinstance(weights, Tensor) else weights
        first, last = (self._weights(weights, progress) for progress in (0.0, math.nextafter(1.0, 0.0)))
        if first.shape != last.shape:
            raise ValueError(f"weights must be (C,) throughout, not {tuple(first.shape)} and {tuple(last.shape)}")
        self.register_buffer("weights", first)
        self.final_weights = last

    @property
    def initial_bias(self) -> float | None:
        """The bias that a head starts with for this loss, if it asks for one."""
        bias: float | None = getattr(self.loss, "initial_bias", None)
        return bias

    def at(self, progress: float) -> None:
        """Set the weights of this moment of the run, progress in [0, 1)."""
        if self.schedule is not None:
            self.weights.copy_(self._weights(self.schedule, progress))

    def losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the losses (B,) of logits (B, C), unweighted."""
        losses: Tensor = self.loss(logits.float(), targets)
        return losses

    def forward(self, logits: Tensor, targets: Targets) -> Tensor:
        """Logits (B, C) and targets (B,), or pairs of them with their shares -> a scalar."""
        pairs: Mixed = [(targets, 1.0)] if isinstance(targets, Tensor) else targets
        total = mass = torch.zeros((), device=logits.device)
        for classes, share in pairs:
            weights = self.weights[classes] * share
            total = total + (weights * self.losses(logits, classes)).sum()
            mass = mass + weights.sum()
        return total / (len(logits) if self.reduction == "batch_mean" else mass)

    @staticmethod
    def _weights(weights: Tensor | Schedule, progress: float) -> Tensor:
        found = torch.as_tensor(weights if isinstance(weights, Tensor) else weights(progress), dtype=torch.float32)
        if found.ndim != 1 or not bool((found.isfinite() & (found >= 0)).all()):
            raise ValueError("weights must be finite and >= 0, one for each class")
        return found.clone()
