"""Balanced product of experts: heads that are each adjusted to another prior (Aimar et al. 2023, BalPoE)."""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from longtail.methods.criterion import Criterion
from longtail.methods.method import Method


class Experts(Method):
    """Train several heads on the same features, expert e with logits shifted by tau_e log pi.

    L = mean_e L(z_e + tau_e log pi, y), pi_j = n_j / N; the prediction is the mean of the z_e (Aimar et al. 2023,
    eq. 8 and 11). It is consistent with the balanced error where the tau_e average 1. Meant for the softmax loss: a
    loss that shifts logits itself shifts them twice.

    Args:
        model: see `Method`; its head is the first expert's, the others get new ones like it.
        criterion: see `Method`.
        class_counts: see `Method`.
        tau: one number per expert; 0 learns the training prior, 1 a uniform one, 2 an inverse one.

    Raises:
        ValueError: tau is empty or not made of finite numbers.
    """

    shifts: Tensor

    def __init__(
        self, model: nn.Module, criterion: Criterion, class_counts: Tensor, tau: Sequence[float] = (0.0, 1.0, 2.0)
    ) -> None:
        if not tau or not all(isinstance(t, int | float) and math.isfinite(t) for t in tau):
            raise ValueError(f"tau={list(tau)}: must be a list of finite numbers, one for each expert")
        others = [copy.deepcopy(model.head) for _ in tau[1:]]
        for head in others:
            head.reset_parameters()  # type: ignore[operator, union-attr]
        super().__init__(model, criterion, class_counts)
        self.others = nn.ModuleList(others)  # type: ignore[arg-type]
        self._start_at_prior()
        log_prior = (class_counts.double() / class_counts.sum()).log()
        self.register_buffer(
            "shifts", (class_counts.new_tensor(tau, dtype=log_prior.dtype)[:, None] * log_prior).float()
        )

    @property
    def heads(self) -> Sequence[nn.Module]:
        """One for each expert."""
        return [self.model.head, *getattr(self, "others", ())]

    def logits(self, images: Tensor) -> list[Tensor]:
        """Return the logits (B, C) of each expert."""
        features = self.model.features(images)  # type: ignore[operator]
        return [head(features) for head in self.heads]

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the mean loss of the experts, each on its shifted logits."""
        images, targets = batch
        shifted = zip(self.logits(images), self.shifts, strict=True)
        return torch.stack([self.criterion(logits.float() + shift, targets) for logits, shift in shifted]).mean()

    def predict(self, images: Tensor) -> Tensor:
        """Return the mean of the experts' logits, unshifted."""
        return torch.stack(self.logits(images)).mean(0)
