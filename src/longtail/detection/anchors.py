"""Anchors: the candidate boxes of every level of the feature pyramid."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from longtail.detection.boxes import Objects
from longtail.detection.matching import area, intersections
from longtail.errors import text_of
from longtail.ranges import check_numbers, check_whole

ENOUGH = 5000  # boxes to tell the recall by
AT_ONCE = 2**24  # pairs of a box and an anchor
MOST = 10**6  # anchors of an image


class AnchorGrid:
    """Anchors of several sizes and aspects, centred in every cell of each level; a level's stride is 2 ** level.

    Args:
        levels: of the pyramid, consecutive.
        sizes: of the smallest anchors of each level, the root of their area in pixels, > 0.
        octaves: anchors per octave of sizes, >= 1: 2 for each size and the size times 2 ** 0.5.
        aspects: height / width of the anchors, > 0.

    Raises:
        ValueError: a setting is outside its range.
    """

    def __init__(self, levels: Sequence[int], sizes: Sequence[float], octaves: int, aspects: Sequence[float]) -> None:
        check_numbers("levels", levels, whole=True)
        check_numbers("sizes", sizes)
        check_numbers("aspects", aspects)
        check_whole("octaves", octaves)
        if list(levels) != list(range(levels[0], levels[0] + len(levels))):
            raise ValueError(f"levels={text_of(levels)}: must be consecutive, such as [3, 4, 5]")
        if len(sizes) != len(levels):
            raise ValueError(f"sizes={text_of(sizes)}: must be a size for each of the {len(levels)} levels")
        self.levels, self.sizes, self.octaves, self.aspects = levels, sizes, octaves, aspects

    @property
    def per_cell(self) -> int:
        """The number of anchors in a cell."""
        return self.octaves * len(self.aspects)

    @property
    def octave_sizes(self) -> Tensor:
        """The sizes of the anchors, (levels, octaves), in pixels; the smallest of a level first."""
        factors = 2 ** (torch.arange(self.octaves) / self.octaves)
        return torch.tensor(self.sizes, dtype=torch.float32)[:, None] * factors

    def padded(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return height and width, up to a multiple of the largest stride.

        Raises:
            ValueError: a stride exceeds the image, or it has more than `MOST` anchors.
        """
        height, width = image_size
        stride = 2 ** self.levels[-1]
        if stride > min(height, width):
            size = f"{height} x {width}"
            raise ValueError(
                f"anchors.levels={text_of(self.levels)}: must have strides within the {size} image, not {stride}"
            )
        height, width = (-(-side // stride) * stride for side in image_size)
        count = self.per_cell * sum((height >> level) * (width >> level) for level in self.levels)
        if count > MOST:
            given = f"anchors.octaves={self.octaves}"
            raise ValueError(
                f"{given}: must give {MOST:,} anchors an image or fewer, not {count:,}; or set other levels"
            )
        return height, width

    def boxes(self, image_size: tuple[int, int]) -> list[Tensor]:
        """Return the anchors (A, 4) of each level in pixels: by row, column, size and aspect, the last fastest."""
        height, width = self.padded(image_size)
        boxes = []
        for level, sizes in zip(self.levels, self.octave_sizes, strict=True):
            stride = 2**level
            tall = torch.tensor(self.aspects, dtype=torch.float32).sqrt()
            half = torch.stack((sizes[:, None] / tall, sizes[:, None] * tall), -1).reshape(1, -1, 2) / 2
            y = (torch.arange(height // stride) + 0.5) * stride
            x = (torch.arange(width // stride) + 0.5) * stride
            centre = torch.cartesian_prod(y, x).flip(1)[:, None]
            boxes.append(torch.cat((centre - half, centre + half), -1).reshape(-1, 4))
        return boxes


def recall(anchors: Tensor, objects: Objects, iou: float = 0.5) -> float:
    """Return the share of the boxes that some anchor (A, 4) overlaps by an IoU or more; NaN without boxes.

    Of more than 5,000 boxes every n-th is looked at, so that it is at most as many.
    """
    boxes = objects.boxes[objects.present]
    boxes = boxes[:: -(-len(boxes) // ENOUGH) or 1]
    reached = 0
    for chunk in boxes.split(max(1, AT_ONCE // len(anchors))):
        common = intersections(chunk, anchors)
        union = area(chunk)[:, None] + area(anchors) - common
        reached += int(((common / union).amax(1) >= iou).sum())
    return reached / len(boxes) if len(boxes) else math.nan
