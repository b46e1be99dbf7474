"""Images with boxes, on canvases of one size; in memory or decoded when asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from longtail.datasets import ArrayImages, ImageData
from longtail.detection.boxes import Objects


class ArrayScenes(ArrayImages):
    """Canvases in memory: pixels uint8 (N, H, W, channels), targets the true boxes of N images."""

    targets: Objects  # type: ignore[assignment]

    def __init__(self, pixels: NDArray[np.uint8] | Tensor, targets: Objects) -> None:
        super().__init__(pixels, [])
        self.targets = targets

    def to(self, device: torch.device) -> "ArrayScenes":
        """Return the same canvases in the memory of the device."""
        return ArrayScenes(self.pixels.to(device), self.targets.to(device))

    def for_evaluation(self) -> "ArrayScenes":
        """Return the same canvases as they are evaluated: unchanged."""
        return self


@dataclass
class Scenes(ImageData):
    """Images with boxes as found: what a run needs to know of them.

    Attributes:
        validation: images to choose an epoch by; None for none.
        flip: whether a mirrored training image is still one of its kind.
        notes: what was dropped or clipped, a line each, to be printed once.
    """

    train: ArrayScenes
    test: ArrayScenes
    validation: ArrayScenes | None = None
    flip: bool = False
    notes: list[str] = field(default_factory=list)


def canvas(image_size: int | Sequence[int], least: int = 32) -> tuple[int, int]:
    """Return the height and width that one number or [height, width] stand for.

    Raises:
        ValueError: they are not whole numbers of at least `least` pixels.
    """
    sides = [image_size] * 2 if isinstance(image_size, int) else list(image_size)
    if len(sides) != 2 or any(type(side) is not int or side < least for side in sides):
        raise ValueError(f"image_size={image_size}: must be a number of pixels >= {least}, or [height, width]")
    return sides[0], sides[1]
