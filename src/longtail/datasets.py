"""Where images come from: a function `() -> ImageData`.

Small images of one size live in memory as one uint8 array, decoded once and kept on disk; other folders are
streamed. Both give whole batches: `images.batch(indices)` is uint8 (B, H, W, C).
"""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import CenterCrop, Compose, RandomResizedCrop, Resize

from longtail.decoding import MOST_WORKERS, SUFFIXES, ImageFiles, mapped, named, once, read, text
from longtail.errors import warn
from longtail.imbalance import hold_out


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
        self.crop: Callable[[Image.Image], Image.Image] = (
            RandomResizedCrop(size) if train else Compose([Resize(size * 8 // 7), CenterCrop(size)])
        )

    def __len__(self) -> int:
        return len(self.paths)

    def batch(self, indices: Sequence[int] | Tensor) -> Tensor:
        """Return the images at these indices, uint8 (B, size, size, 3)."""
        paths = (self.paths[i] for i in torch.as_tensor(indices).tolist())
        return torch.from_numpy(np.stack([np.asarray(self.crop(read(path))) for path in paths]))

    def for_evaluation(self) -> "FileImages":
        """Return the same images as they are evaluated: cropped at the centre."""
        return FileImages(self.paths, self.targets.tolist(), self.size, train=False)


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


def digits(augment: nn.Module | None = None) -> ImageData:
    """Return the 1,797 grey 8 x 8 digits that ship with scikit-learn (Alpaydin and Kaynak 1998).

    The test set is 50 random images of each class, the same ones in every run.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    pool, test = hold_out(bunch.target, 10, 50)
    return ImageData(
        train=ArrayImages(pixels[pool], bunch.target[pool]),
        test=ArrayImages(pixels[test], bunch.target[test]),
        class_names=[str(name) for name in bunch.target_names],
        image_shape=(1, 8, 8),
        augment=augment,
    )


def cifar10(data_dir: str, augment: nn.Module | None = None) -> ImageData:
    """Return CIFAR-10 (Krizhevsky 2009), 50,000 + 10,000 images, downloaded to `data_dir` and checked by MD5."""
    return _cifar("CIFAR10", data_dir, augment)


def cifar100(data_dir: str, augment: nn.Module | None = None) -> ImageData:
    """Return CIFAR-100 (Krizhevsky 2009), 50,000 + 10,000 images, downloaded to `data_dir` and checked by MD5."""
    return _cifar("CIFAR100", data_dir, augment)


def _cifar(name: str, data_dir: str, augment: nn.Module | None) -> ImageData:
    from torchvision import datasets

    source = getattr(datasets, name)
    array, names = (Path(data_dir, "cache", f"{name.lower()}.{suffix}") for suffix in ("npy", "json"))

    @cache
    def source_data() -> tuple[NDArray[np.uint8], dict[str, Any]]:
        try:
            train, test = (source(data_dir, train=part, download=True) for part in (True, False))
        except (OSError, RuntimeError) as error:  # no network, a server's refusal, a wrong MD5
            reason = " ".join(str(error).split())
            raise OSError(
                f"dataset={name.lower()}: the download failed ({reason}); put {source.filename}"
                f" (MD5 {source.tgz_md5}) into data_dir={data_dir} and run again"
            ) from error
        labels = {"classes": train.classes, "train": train.targets, "test": test.targets}
        return np.concatenate((train.data, test.data)), labels

    if os.access(data_dir, os.W_OK) or not Path(data_dir).exists() or names.exists():
        pixels = mapped(once(array, lambda: source_data()[0]))
        labels = json.loads(text(once(names, lambda: json.dumps(source_data()[1]))))
    else:
        pixels, labels = source_data()  # a folder that others look after
    cut = len(labels["train"])
    return ImageData(
        train=ArrayImages(pixels[:cut], labels["train"]),
        test=ArrayImages(pixels[cut:], labels["test"]),
        class_names=labels["classes"],
        image_shape=(3, 32, 32),
        augment=augment,
    )


def image_folder(
    root: str | None,
    data_dir: str,
    augment: nn.Module | None = None,
    image_size: int | None = None,
    memory_limit: float = 4e9,
    num_workers: int | None = None,
    verify: bool = True,
) -> ImageData:
    """Read any tree `root/{train,test}/<class>/*` of images; classes are the folders of `train`, sorted.

    Images that all have one size and fit into memory are decoded once, in parallel, into one uint8 array that is
    kept in `data_dir/cache` under a key made of every file's name, size and time: a changed folder is decoded
    again. Otherwise they are streamed, resized and cropped to `image_size`. Images become RGB.

    Args:
        root: the directory that holds `train` and `test`.
        data_dir: where decoded images are kept.
        augment: training augmentation on the device.
        image_size: side of the streamed images; None for 224 if the images have to be streamed.
        memory_limit: largest array in bytes that is kept in memory.
        num_workers: processes that decode; None for as many as PyTorch has threads.
        verify: decode every streamed image once per state of the folder, to find corrupt files before training.

    Raises:
        FileNotFoundError: root, train or test is missing, or holds no images.
        ValueError: test has a class that train lacks, or a setting is outside its range.
        OSError: some files cannot be decoded; it names them.
    """
    if image_size is not None and image_size < 8:
        raise ValueError(f"image_size={image_size}: must be null or a number of pixels >= 8")
    if memory_limit < 0:
        raise ValueError(f"memory_limit={memory_limit}: must be a number of bytes >= 0")
    if num_workers is not None and not 0 <= num_workers <= MOST_WORKERS:
        raise ValueError(f"num_workers={num_workers}: must be null or a whole number in [0, {MOST_WORKERS}]")
    tree = _Tree(root, data_dir, torch.get_num_threads() if num_workers is None else num_workers)
    (paths, targets), (test_paths, test_targets), files = tree.train, tree.test, tree.files
    sizes = files.sizes() if image_size is None else []
    width, height = sizes[0] if sizes and sizes.count(sizes[0]) == len(sizes) else (0, 0)
    if width and len(sizes) * height * width * 3 <= memory_limit:
        pixels = files.decode(height, width)
        train: Images = ArrayImages(pixels[: len(paths)], targets)
        test: Images = ArrayImages(pixels[len(paths) :], test_targets)
    else:
        height = width = image_size or 224
        if verify:
            files.verify()
        train = FileImages(paths, targets, height, train=True)
        test = FileImages(test_paths, test_targets, height, train=False)
    return ImageData(train, test, tree.class_names, (3, height, width), augment, files.workers)


class _Tree:
    """The files of `root/{train,test}/<class>/*`."""

    def __init__(self, root: str | None, data_dir: str, workers: int) -> None:
        if root is None or not Path(root).is_dir():
            raise FileNotFoundError(
                f"root={root or 'null'}: must be a directory with train/<class>/* and test/<class>/*"
            )
        self.root = Path(root)
        for part in ("train", "test"):
            if not (self.root / part).is_dir():
                raise FileNotFoundError(f"root={root}: must have a directory {part} with a folder per class")
        self.class_names, tested = (_folders(self.root / part) for part in ("train", "test"))
        if len(self.class_names) < 2:
            raise ValueError(f"root={root}: train must have folders of at least 2 classes, has {self.class_names}")
        if strangers := [name for name in tested if name not in self.class_names]:
            raise ValueError(f"root={root}: every class in test must be in train, which lacks {', '.join(strangers)}")
        self.train, self.test = (_list_images(self.root / part, self.class_names) for part in ("train", "test"))
        for part, (_, targets) in (("train", self.train), ("test", self.test)):
            there = set(targets)
            if empty := [name for c, name in enumerate(self.class_names) if c not in there]:
                raise ValueError(
                    f"root={root}: must have images in {part}/ of every class, has none of {named(empty)}"
                )
        files = [*self.train[0], *self.test[0]]
        self.files = ImageFiles(self.root, files, data_dir, workers)


def _folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted, without hidden ones."""
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _list_images(folder: Path, class_names: list[str]) -> tuple[list[Path], list[int]]:
    """Return the images' paths, class after class, and their classes; say which files are none."""
    found, others = [], sorted(path for path in folder.iterdir() if path.is_file())
    for target, name in enumerate(class_names):
        for path in sorted(Path(where, file) for where, _, files in os.walk(folder / name) for file in files):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                found.append((path, target))
            else:
                others.append(path)
    if not found:
        raise FileNotFoundError(
            f"root={folder.parent}: {folder.name}/<class>/ must hold images ({' '.join(sorted(SUFFIXES))})"
        )
    if left := [str(path.relative_to(folder.parent)) for path in others if not path.name.startswith(".")]:
        warn(f"dataset.root={folder.parent}: {len(left)} files are no images of a class: {named(left)}")
    paths, targets = zip(*found, strict=True)
    return list(paths), list(targets)
