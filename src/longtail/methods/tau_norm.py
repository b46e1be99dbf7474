"""tau-normalisation: a classifier whose weights are divided by a power of their norms (Kang et al. 2020)."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from longtail.methods.criterion import Criterion
from longtail.methods.following import Following
from longtail.methods.method import Method
from longtail.posthoc import tau_normalised
from longtail.ranges import check_finite


class TauNormalized(Following):
    """Train as another method does, and predict with weights of normalised length and without bias.

    z_j = w_j h / |w_j| ** tau (Kang et al. 2020, "Decoupling representation and classifier", section 4). With tau =
    0 it is the model itself but for the bias. They choose tau by held-out images.

    Args:
        model: see `Method`; its head must be linear.
        criterion: see `Method`.
        class_counts: see `Method`.
        tau: the power, finite and >= 0; 1 makes all weights equally long.
        first: (model, criterion, class_counts=) -> the method of the training; None for ordinary training.

    Raises:
        ValueError: tau is outside its range, or the head is not linear.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        class_counts: Tensor,
        tau: float = 1.0,
        first: Callable[..., Method] | None = None,
    ) -> None:
        check_finite("tau", tau)
        if not isinstance(model.head, nn.Linear):
            raise ValueError(f"must have a linear head to normalise, not {type(model.head).__name__}")
        super().__init__(model, criterion, class_counts, first)
        self.tau, self.balances_classes = tau, tau > 0 or self.balances_classes

    def predict(self, images: Tensor) -> Tensor:
        """Return the logits (B, C) of the normalised weights."""
        model: Any = self.model
        return tau_normalised(model.features(images), model.head.weight, self.tau)
