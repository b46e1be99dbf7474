"""From lists of image files to images: decoded once and kept in memory, or streamed."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn
from torchvision.transforms import Resize

from longtail.datasets.images import ArrayImages, FileImages, ImageData, Images, central
from longtail.decoding import MOST_WORKERS, ImageFiles, named, pixels
from longtail.errors import console, warn
from longtail.metrics import OLTR, Shots

STREAMED = 224  # pixels, unless image_size says otherwise
COMMON, WITHIN = 0.95, 0.1  # so many images have one size, and the sides of the others differ by as much at most

Function = TypeVar("Function", bound=Callable[..., Any])


class Listed(NamedTuple):
    """Image files and their classes, N each."""

    paths: Sequence[Path]
    targets: Sequence[int]


class Kept(NamedTuple):
    """How images are kept in memory: their height and width, and what is done to each, by a name."""

    size: tuple[int, int]
    change: Callable[..., Any] | None = None
    name: str = ""


@dataclass(frozen=True)
class Reading:
    """How image files become images; the settings that all datasets of files share.

    Images that have one size and fit into memory are decoded once, in parallel, into one uint8 array that is kept in
    `data_dir/cache` under a key made of every file's name, size and time: a changed folder is decoded again. If at
    least 95 % have one size and the sides of the others differ from it by at most 10 %, these are resized to it.
    Otherwise images are streamed, resized and cropped to `image_size`. A line says so. Images become RGB.

    Args:
        data_dir: where decoded images are kept.
        augment: training augmentation on the device.
        image_size: side of the images, >= 8; None for their own, or 224 if they have to be streamed.
        in_memory: True to decode them once also if they are resized, to `image_size` as they are evaluated, so that
            `augment` is all of their augmentation; False to stream them, each time with another random resized crop;
            None to keep in memory what need not be resized.
        memory_limit: largest array in bytes that is kept in memory.
        num_workers: processes that decode; None for as many as PyTorch has threads.
        verify: decode every streamed image once per state of the folder, to find corrupt files before training.
        many: as in `Shots`.
        few: as in `Shots`.

    Raises:
        ValueError: a setting is outside its range.
    """

    data_dir: str
    augment: nn.Module | None = None
    image_size: int | None = None
    in_memory: bool | None = None
    memory_limit: float = 4e9
    num_workers: int | None = None
    verify: bool = True
    many: int = OLTR.many
    few: int = OLTR.few

    def __post_init__(self) -> None:
        Shots(self.many, self.few)
        if self.image_size is not None and self.image_size < 8:
            raise ValueError(f"image_size={self.image_size}: must be null or a number of pixels >= 8")
        if self.memory_limit < 0:
            raise ValueError(f"memory_limit={self.memory_limit}: must be a number of bytes >= 0")
        if self.num_workers is not None and not 0 <= self.num_workers <= MOST_WORKERS:
            raise ValueError(f"num_workers={self.num_workers}: must be null or a whole number in [0, {MOST_WORKERS}]")

    @property
    def workers(self) -> int:
        """The number of processes that decode."""
        return torch.get_num_threads() if self.num_workers is None else self.num_workers

    def files(
        self, root: Path, class_names: list[str], train: Listed, test: Listed, validation: Listed | None = None
    ) -> ImageData:
        """Read the files below a directory.

        Raises:
            ValueError: they cannot be kept in memory as they should.
            OSError: some files are missing or cannot be decoded; it names them.
        """
        parts = [part for part in (train, test, validation) if part is not None]
        paths = [path for part in parts for path in part.paths]
        return self.data(ImageFiles(root, paths, self.data_dir, self.workers), class_names, parts)

    def data(self, files: ImageFiles, class_names: list[str], parts: Sequence[Listed]) -> ImageData:
        """Read images that are for training, for the test, and perhaps held out, in this order.

        Raises:
            ValueError: they cannot be kept in memory as they should.
            OSError: some cannot be decoded; it names them.
        """
        kept = self._kept(files)
        if kept:
            arrays = torch.from_numpy(
                files.decode(*kept.size, kept.change and partial(pixels, change=kept.change), kept.name)
            )
            split = arrays.split([len(part.paths) for part in parts])
            images: list[Images] = [ArrayImages(own, part.targets) for own, part in zip(split, parts, strict=True)]
        else:
            side = self.image_size or STREAMED
            if self.verify:
                files.verify()
            images = [FileImages(*part, side, train=part is parts[0]) for part in parts]
        height, width = kept.size if kept else (side, side)
        shots, held_out = Shots(self.many, self.few), images[2] if len(images) > 2 else None
        return ImageData(
            images[0], images[1], class_names, (3, height, width), self.augment, self.workers, held_out, shots
        )

    def _kept(self, files: ImageFiles) -> Kept | None:
        """Decide how the images are kept in memory, None for not at all, and say what is not plain."""
        if self.image_size is None:
            return self._kept_as_they_are(files)
        side, count = self.image_size, len(files.paths)
        needed = count * side * side * 3
        if self.in_memory:
            if needed > self.memory_limit:
                raise ValueError(
                    f"memory_limit={self.memory_limit:g}: must be at least {needed:g} for in_memory=true"
                )
            say(
                f"dataset.image_size={side}: {count:,} images are resized once, cropped at the centre to"
                f" {side} x {side} and kept in memory, {needed / 1e6:,.0f} MB; dataset.in_memory=false streams them"
            )
            return Kept((side, side), central(side), "-central")
        say(
            f"dataset.image_size={side}: {count:,} images are streamed, resized and cropped to {side} x {side} at"
            f" each use; dataset.in_memory=true does so once, {needed / 1e6:,.0f} MB"
        )
        return None

    def _kept_as_they_are(self, files: ImageFiles) -> Kept | None:
        if self.in_memory is False:
            why = "as dataset.in_memory=false says"
        else:
            sizes = [(width, height) for width, height in files.sizes()]
            if not (common := common_size(sizes)):
                why = f"for they have {len(set(sizes)):,} sizes"
            elif (needed := len(sizes) * common[0] * common[1] * 3) > self.memory_limit:
                why = f"for they need {needed:.3g} bytes, more than dataset.memory_limit={self.memory_limit:g}"
            else:
                return self._at(
                    common, [name for name, size in zip(files.names(), sizes, strict=True) if size != common]
                )
            if self.in_memory:
                raise ValueError(f"in_memory=true: must have an image_size to which the images are resized, {why}")
        warn(
            f"dataset.image_size=null: the images are streamed, resized and cropped to {STREAMED} x {STREAMED},"
            f" {why}; dataset.image_size=N sets another size, with dataset.in_memory=true once for all"
        )
        return None

    def _at(self, common: tuple[int, int], others: Sequence[str]) -> Kept:
        width, height = common
        if not others:
            return Kept((height, width))
        warn(
            f"dataset.image_size=null: {len(others)} images are resized by at most {WITHIN:.0%} to the size of the"
            f" others, {width} x {height}: {named(others)}"
        )
        return Kept((height, width), Resize((height, width)), "-common")


def common_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """Return the width and height that all images have, or nearly all and the others nearly."""
    (common, count), counts = Counter(sizes).most_common(1)[0], set(sizes)
    near = all(abs(a - b) <= WITHIN * b for size in counts for a, b in zip(size, common, strict=True))
    return common if count >= COMMON * len(sizes) and near else None


def say(line: str) -> None:
    """Print what a setting has brought about."""
    console.print(line, soft_wrap=True, markup=False)


def passes_on(to: Callable[..., Any]) -> Callable[[Function], Function]:
    """Give a function with `**settings` the signature that it has by passing them on, so that they can be checked."""

    def mark(function: Function) -> Function:
        own = signature(function)
        named = {name: one for name, one in own.parameters.items() if one.kind is not Parameter.VAR_KEYWORD}
        for name, one in signature(to).parameters.items():
            named.setdefault(name, one.replace(kind=Parameter.KEYWORD_ONLY))
        function.__signature__ = own.replace(parameters=list(named.values()))  # type: ignore[attr-defined]
        return function

    return mark
