"""mixup: training on convex combinations of images (Zhang et al. 2018)."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from longtail.methods.criterion import Criterion
from longtail.methods.method import Augment, Method

LEAST = 1e-3  # float32 has no Beta distribution below


class Mixup(Method):
    """Mix each image with another one of the batch, and their losses alike.

    x = lambda x_i + (1 - lambda) x_j, L = lambda L(y_i) + (1 - lambda) L(y_j), with one lambda ~ Beta(alpha, alpha)
    per batch and j a random permutation (Zhang et al. 2018, eq. 1). Class weights belong to each of the two targets.

    Args:
        model: see `Method`.
        criterion: see `Method`.
        class_counts: see `Method`.
        alpha: of the Beta distribution, >= 0.001; small values mix little.

    Raises:
        ValueError: alpha is outside its range.
    """

    def __init__(self, model: nn.Module, criterion: Criterion, class_counts: Tensor, alpha: float = 1.0) -> None:
        if not (isinstance(alpha, int | float) and not isinstance(alpha, bool) and LEAST <= alpha < math.inf):
            raise ValueError(f"alpha={alpha}: must be a finite number >= {LEAST}")
        super().__init__(model, criterion, class_counts)
        self.share = torch.distributions.Beta(float(alpha), float(alpha))

    def transform(self, images: Tensor, targets: Tensor, augment: Augment) -> Any:
        """Augment, then mix; the targets become pairs (targets, share)."""
        images, share = augment(images), float(self.share.sample())
        partner = torch.randperm(len(images), device=images.device)
        mixed, share = self.mix(images, images[partner], share)
        others = targets[partner]
        of_label = self.label_share(targets, others, share)
        return mixed, [(targets, of_label), (others, 1 - of_label)]

    def mix(self, images: Tensor, others: Tensor, share: float) -> tuple[Tensor, float]:
        """Mix images with as many others, both (B, channels, H, W), in place; return also the share they keep."""
        return others.lerp_(images, share), share

    def label_share(self, targets: Tensor, others: Tensor, share: float) -> float | Tensor:
        """Return the share of `targets` (B,) in the loss, against `others` (B,): a number in [0, 1], or (B,)."""
        return share
