"""Images with boxes, on canvases of one size; in memory or decoded when asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from longtail.datasets import ImageData, Images
from longtail.decoding import rgb
from longtail.detection.boxes import BACKGROUND, Objects
from longtail.errors import text_of
from longtail.ranges import pair

GREY = 124, 116, 104  # beside an image: ImageNet's mean colour


class FileScenes(Images):
    """Images decoded when asked for, put on canvases of (H, W) pixels; targets the true boxes of N images."""

    in_memory = False

    def __init__(self, paths: Sequence[Path], targets: Objects, size: tuple[int, int]) -> None:
        self.paths, self.targets, self.size = paths, targets, size

    def __len__(self) -> int:
        return len(self.paths)

    def batch(self, indices: Sequence[int] | Tensor) -> Tensor:
        """Return the canvases at these indices, uint8 (B, H, W, 3)."""
        paths = (self.paths[i] for i in torch.as_tensor(indices).tolist())
        return torch.from_numpy(np.stack([letterbox(path, self.size)[0] for path in paths]))


@dataclass
class Scenes(ImageData):
    """Images with boxes as found, all `targets` being `Objects`: what a run needs to know of them.

    Attributes:
        flip: whether training images may be mirrored, left to right.
        notes: what was dropped or clipped, a line each, to be printed once.
    """

    flip: bool = False
    notes: list[str] = field(default_factory=list)


def check(scenes: object) -> None:
    """Check what the function of `detection_data` returns, and its first training and test image.

    Raises:
        ValueError: it does not keep its contract.
    """
    if not isinstance(scenes, Scenes):
        raise ValueError(f"must return Scenes, not {type(scenes).__name__}")
    if len(scenes.image_shape) != 3:
        raise ValueError(f"must have image_shape (channels, height, width), not {scenes.image_shape}")
    names, (channels, *size) = scenes.class_names, scenes.image_shape
    if not names or len(set(names)) < len(names):
        raise ValueError(f"must have different class_names, not {text_of(list(names))}")
    parts = {"train": scenes.train, "test": scenes.test, "validation": scenes.validation}
    for part, images in parts.items():
        if images is None and part == "validation":
            continue
        if images is None or not isinstance(getattr(images, "targets", None), Objects):
            raise ValueError(f"must have Objects as targets of the images for {part}")
        if not len(images) == len(images.targets.labels) > 0:
            raise ValueError(f"must have one or more images for {part}, and as many targets")
        image, wanted = images.batch([0])[0], (*size, channels)
        if image.dtype != torch.uint8 or image.shape != wanted:
            found = f"{image.dtype} of {tuple(image.shape)}"
            raise ValueError(f"must have images torch.uint8 of {wanted} for {part} by its image_shape, not {found}")
        boxes, labels = (of[images.targets.labels != BACKGROUND] for of in images.targets[:2])
        if bool(((labels < 0) | (labels >= len(names))).any()):
            raise ValueError(f"must have labels in [0, {len(names)}) for {part}, as it has {len(names)} class_names")
        if not bool((boxes.isfinite().all(1) & (boxes[:, :2] < boxes[:, 2:]).all(1)).all()):
            raise ValueError(f"must have boxes x1, y1, x2, y2 for {part}, finite, x1 < x2 and y1 < y2")


def canvas(image_size: int | Sequence[int], least: int = 32) -> tuple[int, int]:
    """Return the height and width that one number or [height, width] stand for.

    Raises:
        ValueError: they are not whole numbers of at least `least` pixels.
    """
    sides = pair([image_size] * 2 if isinstance(image_size, int) else image_size)
    if sides is None or min(sides) < least:
        wrong = text_of(image_size)
        raise ValueError(f"image_size={wrong}: must be a number of pixels >= {least}, or [height, width]")
    return sides


def scale_of(image: tuple[float, float], size: tuple[int, int]) -> float:
    """Return the pixels of a canvas of (H, W) per pixel of an image of (width, height) that is fitted on it."""
    return min(size[0] / image[1], size[1] / image[0])


def letterbox(path: Path, size: tuple[int, int]) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Return an image on a canvas of `size` (H, W), and its own width and height in pixels.

    The canvas is (H, W, 3). The image is resized to fit, its proportions kept, and has grey to its right or below.
    """
    with Image.open(path) as image:
        width, height = image.size
        scale = scale_of((width, height), size)
        fitted = max(1, round(width * scale)), max(1, round(height * scale))
        image.draft("RGB", fitted)  # JPEG: decode no more than is needed
        pixels = np.asarray(rgb(image).resize(fitted, Image.Resampling.BILINEAR))
    made = np.full((*size, 3), GREY, np.uint8)
    made[: fitted[1], : fitted[0]] = pixels
    return made, (width, height)
