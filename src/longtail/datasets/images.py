"""Images in memory or streamed, and what a run needs to know of a dataset."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import CenterCrop, Compose, RandomResizedCrop, Resize

from longtail.decoding import pixels


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
        self.targets = targets if is_more else torch.as_tensor(targets, dtype=torch.int64)

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
        self.paths, self.size = paths, size
        self.targets = torch.tensor(targets, dtype=torch.int64)
        self.crop: Callable[[Image.Image], Image.Image] = RandomResizedCrop(size) if train else central(size)

    def __len__(self) -> int:
        return len(self.paths)

    def batch(self, indices: Sequence[int] | Tensor) -> Tensor:
        """Return the images at these indices, uint8 (B, size, size, 3)."""
        paths = (self.paths[i] for i in torch.as_tensor(indices).tolist())
        return torch.from_numpy(np.stack([pixels(path, self.crop) for path in paths]))

    def for_evaluation(self) -> "FileImages":
        """Return the same images as they are evaluated: cropped at the centre."""
        return FileImages(self.paths, self.targets.tolist(), self.size, train=False)


def central(size: int) -> Callable[[Image.Image], Image.Image]:
    """Return what makes an image `size` x `size` for its evaluation."""
    crop: Callable[[Image.Image], Image.Image] = Compose([Resize(size * 8 // 7), CenterCrop(size)])
    return crop


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
    """

    train: Images
    test: Images
    class_names: list[str]
    image_shape: tuple[int, int, int]
    augment: nn.Module | None = None
    num_workers: int = 0


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
