"""Images in memory or streamed, and what a run needs to know of a dataset."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import CenterCrop, Compose, Resize

from longtail.decoding import pixels
from longtail.metrics import OLTR, Shots

AREA, RATIO, TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10  # of random resized crops (Szegedy et al. 2015)


class Images(ABC):
    """Images and what there is to be recognised.

    Attributes:
        targets: of N images, their classes int64 (N,), or whatever else has `device`, `to` and `index_select`.
        in_memory: whether they are decoded.
    """

    in_memory: bool
    targets: Any

    @abstractmethod
    def __len__(self) -> int:
        """Return N."""

    @abstractmethod
    def batch(self, indices: Sequence[int] | Tensor) -> Tensor:
        """Return the images at these indices, uint8 (B, H, W, C)."""

    def for_evaluation(self) -> "Images":
        """Return the same images as they are evaluated: unchanged."""
        return self


class ArrayImages(Images):
    """Images in memory: pixels uint8 (N, H, W, C), targets as in `Images`, or classes in a list or an array."""

    in_memory = True

    def __init__(self, pixels: NDArray[np.uint8] | Tensor, targets: Any) -> None:
        self.pixels = pixels if isinstance(pixels, Tensor) else torch.from_numpy(np.ascontiguousarray(pixels))
        is_more = hasattr(targets, "index_select") and not isinstance(targets, Tensor)
        self.targets = targets if is_more else torch.as_tensor(targets)
        if isinstance(self.targets, Tensor):
            if self.targets.is_floating_point():
                raise ValueError(f"targets must be whole numbers, not {self.targets.dtype}")
            self.targets = self.targets.to(torch.int64)

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, indices: Sequence[int] | Tensor) -> Tensor:
        """Return the images at these indices, uint8 (B, H, W, C)."""
        where = torch.as_tensor(indices, device=self.pixels.device)
        return self.pixels.view(len(self.pixels), -1).index_select(0, where).view(-1, *self.pixels.shape[1:])

    def to(self, device: torch.device) -> "ArrayImages":
        """Return the same images in the memory of the device."""
        return ArrayImages(self.pixels.to(device), self.targets.to(device))


class FileImages(Images):
    """Images decoded when asked for, resized and cropped to `size` x `size`.

    Training images get a random resized crop, test images the centre of the image resized to 8/7 of the size (256
    for 224).
    """

    in_memory = False

    def __init__(self, paths: Sequence[Path], targets: Sequence[int], size: int, train: bool) -> None:
        self.paths, self.size, self.train = paths, size, train
        self.targets = torch.tensor(targets, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.paths)

    def batch(self, indices: Sequence[int] | Tensor) -> Tensor:
        """Return the images at these indices, uint8 (B, size, size, 3)."""
        chosen = torch.as_tensor(indices).tolist()
        made = np.empty((len(chosen), self.size, self.size, 3), np.uint8)
        draws = torch.rand(len(chosen), TRIES, 4).tolist() if self.train else None
        crop = central(self.size)
        for i, index in enumerate(chosen):
            made[i] = pixels(
                self.paths[index], partial(random_crop, size=self.size, draws=draws[i]) if draws else crop
            )
        return torch.from_numpy(made)

    def for_evaluation(self) -> "FileImages":
        """Return the same images as they are evaluated: cropped at the centre."""
        return FileImages(self.paths, self.targets.tolist(), self.size, train=False)


def central(size: int) -> Callable[[Image.Image], Image.Image]:
    """Return what makes an image `size` x `size` for its evaluation."""
    crop: Callable[[Image.Image], Image.Image] = Compose([Resize(size * 8 // 7), CenterCrop(size)])
    return crop


def with_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Return pixels (H, W, 3) as a model takes them, (H, W, 1) if it takes grey images.

    Raises:
        ValueError: it takes neither grey nor colour images.
    """
    if channels not in (1, 3):
        raise ValueError(f"images of {channels} channels: must be tensors, not files")
    return pixels if channels == 3 else np.asarray(Image.fromarray(pixels).convert("L"))[..., None]


def random_crop(image: Image.Image, size: int, draws: Sequence[Sequence[float]]) -> Image.Image:
    """Cut a random box out of an image and resize it to `size` x `size`.

    A box that is at least twice as large is decoded at a half, a quarter or an eighth of its size, if the image is a
    JPEG that has not been read.
    """
    width, height = image.size
    box = left, top, right, bottom = random_box(width, height, draws)
    image.draft(None, (width * size // (right - left), height * size // (bottom - top)))
    if image.size == (width, height):
        return image.crop(box).resize((size, size), Image.Resampling.BILINEAR)
    across, down = image.width / width, image.height / height
    scaled = left * across, top * down, right * across, bottom * down
    return image.resize((size, size), Image.Resampling.BILINEAR, scaled)


def random_box(width: int, height: int, draws: Sequence[Sequence[float]]) -> tuple[int, int, int, int]:
    """Return the box (left, top, right, bottom) of torchvision's `RandomResizedCrop` in an image.

    It has 8 to 100 % of the area, and an aspect ratio of 3/4 to 4/3.

    Args:
        width: of the image.
        height: of the image.
        draws: uniform in [0, 1), for area, ratio and place of each try, (10, 4).
    """
    (least, most), (narrow, wide) = AREA, RATIO
    for area, ratio, x, y in draws:
        pixels = width * height * (least + (most - least) * area)
        aspect = narrow * (wide / narrow) ** ratio
        w, h = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(x * (width - w + 1)), int(y * (height - h + 1))
            return left, top, left + w, top + h
    # The largest central box of such a ratio.
    w, h = min(width, round(height * wide)), min(height, round(width / narrow))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


@dataclass
class ImageData:
    """A dataset as found: what a run needs to know of it.

    Attributes:
        train: the training pool, before anything is held out or made long-tailed.
        test: the whole test set.
        class_names: (C,) names.
        image_shape: (channels, height, width).
        augment: training augmentation on the device, uint8 (B, H, W, C) -> the same; None for none.
        num_workers: processes that decode streamed images.
        validation: held-out images of the dataset's own; None for none.
        shots: which classes are many, medium and few.
    """

    train: Images
    test: Images
    class_names: list[str]
    image_shape: tuple[int, int, int]
    augment: nn.Module | None = None
    num_workers: int = 0
    validation: Images | None = None
    shots: Shots = OLTR


def check(data: object) -> None:
    """Check what the function of `dataset` returns.

    Raises:
        ValueError: it does not keep its contract.
    """
    if not isinstance(data, ImageData):
        raise ValueError(f"must return ImageData, not {type(data).__name__}")
    channels, *size = data.image_shape
    for part, images in {"train": data.train, "test": data.test}.items():
        if not isinstance(images, ArrayImages):
            continue
        found, wanted = f"{images.pixels.dtype} of {tuple(images.pixels.shape)}", (*size, channels)
        if images.pixels.dtype != torch.uint8 or tuple(images.pixels.shape[1:]) != wanted:
            must = f"torch.uint8 of (N, {', '.join(map(str, wanted))}) by its image_shape"
            raise ValueError(f"must have pixels {must} for {part}, not {found}")
        if images.targets.shape != images.pixels.shape[:1]:
            raise ValueError(
                f"must have a class for each of {len(images):,} images for {part}, not {len(images.targets):,}"
            )


def channel_stats(images: Images, indices: NDArray[np.int64], sample: int = 10_000) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation per channel, (C,) each, on [0, 1], over evenly spaced ones of some images.

    Args:
        images: of which some are trained on.
        indices: of these, (N,).
        sample: how many to look at; of images that are not in memory a twentieth of it.
    """
    count = min(len(indices), sample if images.in_memory else sample // 20)
    pixels = images.batch(torch.from_numpy(indices[np.arange(count) * len(indices) // count]))
    pixels = pixels.reshape(-1, pixels.shape[-1])
    # Exact, and without a float copy of the images: 256 grey levels counted per channel.
    counts = torch.stack([channel.bincount(minlength=256) for channel in pixels.unbind(1)]).double()
    level = torch.arange(256, dtype=torch.float64) / 255
    mean = (counts @ level) / len(pixels)
    variance = (counts @ level**2) / len(pixels) - mean**2
    return mean.float(), variance.clamp_min(1 / 255**2).sqrt().float()
