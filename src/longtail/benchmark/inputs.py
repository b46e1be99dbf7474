"""From images to ready batches, in memory or streamed, against PIL and torchvision's transforms image by image."""

from collections import deque
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from longtail.augment import Normalize, PadCropFlip
from longtail.benchmark.report import Comparison, Goal, Measured, Settings, UnavailableError, compare, timed
from longtail.datasets import ArrayImages, FileImages, ImageData, channel_stats
from longtail.imbalance import exponential, none
from longtail.samplers import Random
from longtail.training.data import LongTailData

BATCH, CLASSES = 128, 10
STREAMED = 2_000  # images of an epoch
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's


def noise(count: int, size: int = 32, channels: int = 3) -> ImageData:
    """Return a balanced dataset of random pixels, which needs no disk."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, size, size, channels), dtype=np.uint8)
    images = ArrayImages(pixels, np.arange(count) % CLASSES)
    names = [str(c) for c in range(CLASSES)]
    return ImageData(images, images, names, (channels, size, size), PadCropFlip(pad=4))


def long_tail(data: ImageData, held_out: int = 0) -> LongTailData:
    """Return the dataset at ratio 50 in random batches of 128, with `held_out` images of each class held out."""
    sampler = partial(Random, batch_size=BATCH)
    return LongTailData(data, partial(exponential, ratio=50), sampler, validation_per_class=held_out)


class PerImage(Dataset[tuple[Tensor, int]]):
    """The usual way: one image at a time, through PIL and torchvision's transforms."""

    def __init__(self, data: LongTailData, augment: bool = True) -> None:
        self.pixels = data.data.train.batch(data.train.indices.tolist()).numpy()
        self.targets = data.train_targets.tolist()
        random = [transforms.RandomCrop(self.pixels.shape[1], padding=4), transforms.RandomHorizontalFlip()]
        mean, std = (values.tolist() for values in channel_stats(*data.train))
        to_tensor = [transforms.ToTensor(), transforms.Normalize(mean, std)]
        self.transform = transforms.Compose([*(random if augment else []), *to_tensor])

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self.pixels[index]
        image = Image.fromarray(pixels if pixels.shape[-1] > 1 else pixels[..., 0])
        return self.transform(image), self.targets[index]


def batches_of_longtail(data: LongTailData) -> Iterable[tuple[Tensor, Tensor]]:
    """Yield an epoch of augmented and normalised batches."""
    augment, normalize = PadCropFlip(pad=4), Normalize(*channel_stats(*data.train))
    for images, targets in data.train_dataloader():
        yield normalize(augment(images)), targets


def batches_per_image(data: LongTailData, workers: int, persistent: bool = True) -> DataLoader[tuple[Tensor, int]]:
    """Return the usual loader of the same images, with so many worker processes (0: none)."""
    keep = persistent and workers > 0
    return DataLoader(PerImage(data), BATCH, shuffle=True, num_workers=workers, persistent_workers=keep)


def epoch(settings: Settings, workers: int) -> Measured:
    """Return the seconds of an epoch of batches at the size of CIFAR-10 with ratio 50; ours on one core."""
    data = long_tail(noise(2_000 if settings.quick else 50_000))
    per_image = batches_per_image(data, workers)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return compare(
            timed(lambda: deque(batches_of_longtail(data), maxlen=0)),
            timed(lambda: deque(per_image, maxlen=0)),
            settings,
        )
    finally:
        torch.set_num_threads(threads)


def stream(settings: Settings, workers: int, size: int = 224) -> Measured:
    """Return the seconds of an epoch of streamed images from the folder `--root`, decoded by so many processes.

    Raises:
        UnavailableError: there is no such folder.
    """
    if settings.root is None:
        raise UnavailableError("needs --root=DIR, a folder of images with one folder per class")
    folder = ImageFolder(settings.root, usual_transform(size))
    folder.samples = folder.samples[:: max(1, len(folder.samples) // (BATCH if settings.quick else STREAMED))]
    theirs = DataLoader(folder, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    augment, normalize = PadCropFlip(pad=0), Normalize(torch.tensor(MEAN), torch.tensor(STD))
    ours = streamed(folder, workers, size).train_dataloader()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return compare(
            timed(lambda: deque((normalize(augment(images)) for images, _ in ours), maxlen=0)),
            timed(lambda: deque(theirs, maxlen=0)),
            settings,
        )
    finally:
        torch.set_num_threads(threads)


def usual_transform(size: int) -> transforms.Compose:
    """Return the usual augmentation of photographs."""
    random = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()]
    return transforms.Compose([*random, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])


def streamed(folder: ImageFolder, workers: int, size: int) -> LongTailData:
    """Return the images of a folder, streamed, in random batches of 128."""
    paths, classes = zip(*folder.samples, strict=True)
    targets = np.unique(classes, return_inverse=True)[1].tolist()  # some may be without an image
    images = FileImages([Path(path) for path in paths], targets, size, train=True)
    names = [str(c) for c in range(max(targets) + 1)]
    data = ImageData(images, images, names, (3, size, size), num_workers=workers)
    return LongTailData(data, none, partial(Random, batch_size=min(BATCH, len(images))))


COMPARISONS = [
    Comparison(
        f"input/{workers}-workers",
        f"an epoch of batches on one core, against PIL and torchvision image by image with {workers} workers",
        "epoch",
        partial(epoch, workers=workers),
        goal,
    )
    for workers, goal in ((0, Goal(15)), (2, None))
]
COMPARISONS += [
    Comparison(
        f"stream/{workers}-workers",
        f"an epoch of streamed images, 224 x 224, against torchvision's ImageFolder, {workers} workers each",
        "epoch",
        partial(stream, workers=workers),
        Goal(1.5),
    )
    for workers in (0, 2)
]
