"""CutMix: training on images with a box of another one in them (Yun et al. 2019)."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from longtail.methods.criterion import Criterion
from longtail.methods.method import Augment
from longtail.methods.mixup import Mixup
from longtail.ranges import check_fraction


class CutMix(Mixup):
    """Paste a box of another image of the batch into each image, and mix their losses by the area.

    The box is the same for the whole batch: sides sqrt(1 - lambda) of the image's, lambda ~ Beta(alpha, alpha), its
    centre uniform, clipped at the borders. The share of the first target is the area that is exactly kept (Yun et al.
    2019, eq. 1 and 2).

    Args:
        model: see `Method`.
        criterion: see `Method`.
        class_counts: see `Method`.
        alpha: see `Mixup`.
        probability: of a batch being mixed at all, in [0, 1]; the paper has 0.5 on CIFAR and 1 on ImageNet.

    Raises:
        ValueError: a setting is outside its range.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        class_counts: Tensor,
        alpha: float = 1.0,
        probability: float = 0.5,
    ) -> None:
        check_fraction("probability", probability)
        super().__init__(model, criterion, class_counts, alpha)
        self.probability = probability

    def transform(self, images: Tensor, targets: Tensor, augment: Augment) -> Any:
        """Augment, then mix some of the batches; the targets of those become pairs (targets, share)."""
        images = augment(images)  # first, so that the draws are those of ordinary training
        if not self.mixes_this_batch():
            return images, targets
        return super().transform(images, targets, lambda augmented: augmented)

    def mixes_this_batch(self) -> bool:
        """Draw whether a batch is mixed."""
        return float(torch.rand(())) < self.probability

    def mix(self, images: Tensor, others: Tensor, share: float) -> tuple[Tensor, float]:
        """Paste a box of the others into the images, both (B, channels, H, W), in place; return the area kept."""
        height, width = images.shape[2:]
        top, bottom, left, right = box(height, width, share)
        images[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
        return images, 1 - (bottom - top) * (right - left) / (height * width)


def box(height: int, width: int, share: float) -> tuple[int, int, int, int]:
    """Draw a box that leaves a share in [0, 1] of an image, or more where it is clipped: top, bottom, left, right."""
    half = math.sqrt(1 - share) / 2
    column, row = int(torch.randint(width, ())), int(torch.randint(height, ()))
    rows, columns = int(half * height), int(half * width)
    return max(row - rows, 0), min(row + rows, height), max(column - columns, 0), min(column + columns, width)
