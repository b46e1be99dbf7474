"""Anchors: the candidate boxes of every level of the feature pyramid."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from longtail.detection.boxes import Objects
from longtail.detection.matching import area, intersections

AT_ONCE = 2**24  # pairs of a box and an anchor


class AnchorGrid:
    """Anchors of several sizes and aspects, centred in every cell of each level; a level's stride is 2 ** level.

    Args:
        levels: of the pyramid, rising.
        sizes: of the smallest anchors of each level, the root of their area in pixels, > 0.
        octaves: anchors per octave of sizes, >= 1: 2 for each size and the size times 2 ** 0.5.
        aspects: height / width of the anchors, > 0.

    Raises:
        ValueError: a setting is outside its range.
    """

    def __init__(self, levels: Sequence[int], sizes: Sequence[float], octaves: int, aspects: Sequence[float]) -> None:
        if not levels or list(levels) != sorted(set(levels)) or not all(isinstance(n, int) and n > 0 for n in levels):
            raise ValueError(f"anchors.levels={levels}: must be whole numbers >= 1, rising")
        if len(sizes) != len(levels) or not all(size > 0 for size in sizes):
            raise ValueError(f"anchors.sizes={sizes}: must be a size > 0 for each of the {len(levels)} levels")
        if not isinstance(octaves, int) or octaves < 1:
            raise ValueError(f"anchors.octaves={octaves}: must be a whole number >= 1")
        if not aspects or not all(aspect > 0 for aspect in aspects):
            raise ValueError(f"anchors.aspects={aspects}: must be numbers > 0")
        self.levels, self.sizes, self.octaves, self.aspects = levels, sizes, octaves, aspects

    @property
    def per_cell(self) -> int:
        """The number of anchors in a cell."""
        return self.octaves * len(self.aspects)

    def padded(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return height and width, up to a multiple of the largest stride.

        Raises:
            ValueError: a stride exceeds the image.
        """
        height, width = image_size
        stride = 2 ** self.levels[-1]
        if stride > min(height, width):
            size = f"{height} x {width}"
            raise ValueError(f"anchors.levels={self.levels}: must have strides within the {size} image, not {stride}")
        return -(-height // stride) * stride, -(-width // stride) * stride

    def cells(self, image_size: tuple[int, int]) -> list[int]:
        """Return the number of cells of each level."""
        height, width = self.padded(image_size)
        return [(height >> level) * (width >> level) for level in self.levels]

    def boxes(self, image_size: tuple[int, int]) -> Tensor:
        """Return all anchors (A, 4) in pixels: by level, row, column, size and aspect, the last changing fastest."""
        height, width = self.padded(image_size)
        boxes = []
        for level, smallest in zip(self.levels, self.sizes, strict=True):
            stride = 2**level
            sizes = smallest * 2 ** (torch.arange(self.octaves) / self.octaves)
            tall = torch.tensor(self.aspects, dtype=torch.float32).sqrt()
            half = torch.stack((sizes[:, None] / tall, sizes[:, None] * tall), -1).reshape(1, -1, 2) / 2
            y = (torch.arange(height // stride) + 0.5) * stride
            x = (torch.arange(width // stride) + 0.5) * stride
            centre = torch.cartesian_prod(y, x).flip(1)[:, None]
            boxes.append(torch.cat((centre - half, centre + half), -1).reshape(-1, 4))
        return torch.cat(boxes)


def recall(anchors: Tensor, objects: Objects, iou: float = 0.5) -> float:
    """Return the share of the boxes that some anchor (A, 4) overlaps by an IoU or more; NaN without boxes."""
    boxes = objects.boxes[objects.present]
    reached = 0
    for chunk in boxes.split(max(1, AT_ONCE // len(anchors))):
        common = intersections(chunk, anchors)
        union = area(chunk)[:, None] + area(anchors) - common
        reached += int(((common / union).amax(1) >= iou).sum())
    return reached / len(boxes) if len(boxes) else math.nan
