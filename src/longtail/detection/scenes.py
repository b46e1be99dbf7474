"""Images with boxes, on canvases of one size; in memory or decoded when asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from longtail.datasets import ArrayImages, FileImages, ImageData
from longtail.detection.boxes import Objects

GREY = 124, 116, 104  # beside an image: ImageNet's mean colour


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


class FileScenes(FileImages):
    """Images decoded when asked for, put on canvases of (H, W) pixels; targets the true boxes of N images."""

    targets: Objects  # type: ignore[assignment]

    def __init__(self, paths: Sequence[Path], targets: Objects, size: tuple[int, int]) -> None:
        self.paths, self.targets, self.canvas = paths, targets, size

    def batch(self, indices: Sequence[int] | Tensor) -> Tensor:
        """Return the canvases at these indices, uint8 (B, H, W, 3)."""
        paths = (self.paths[i] for i in torch.as_tensor(indices).tolist())
        return torch.from_numpy(np.stack([letterbox(path, self.canvas) for path in paths]))

    def for_evaluation(self) -> "FileScenes":
        """Return the same images as they are evaluated: unchanged."""
        return self


@dataclass
class Scenes(ImageData):
    """Images with boxes as found: what a run needs to know of them.

    Attributes:
        validation: images to choose an epoch by; None for none.
        flip: whether a mirrored training image is still one of its kind.
        notes: what was dropped or clipped, a line each, to be printed once.
    """

    train: ArrayScenes | FileScenes
    test: ArrayScenes | FileScenes
    validation: ArrayScenes | FileScenes | None = None
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


def letterbox(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an image resized to fit on a canvas of `size` (H, W), with grey to its right or below, (H, W, 3)."""
    with Image.open(path) as image:
        scale = min(size[0] / image.height, size[1] / image.width)
        fitted = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image.draft("RGB", fitted)  # JPEG: decode no more than is needed
        pixels = np.asarray(image.convert("RGB").resize(fitted, Image.Resampling.BILINEAR))
    made = np.full((*size, 3), GREY, np.uint8)
    made[: fitted[1], : fitted[0]] = pixels
    return made
