"""Images in files and what is annotated in them, checked and put on canvases."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from math import inf, isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from longtail.datasets import ArrayImages, Images
from longtail.decoding import MOST_WORKERS, ImageFiles, named
from longtail.detection.boxes import MAX_DETECTIONS, Objects
from longtail.detection.scenes import FileScenes, Scenes, canvas, letterbox, scale_of
from longtail.errors import text_of
from longtail.ranges import check_finite, check_flag, check_whole

LEAST = 0.01  # pixels that a box must be wide and high
ROUNDING = 1  # pixels that a box may be outside without being counted as clipped

Cases = defaultdict[str, list[str]]  # what is to be told, and of which files


class Object(NamedTuple):
    """A box (x1, y1, x2, y2) in pixels of the image, the name of its class, and whether it is a crowd."""

    box: Sequence[float]
    name: str
    crowd: bool


class Annotated(NamedTuple):
    """An image as annotated: its file, its width and height (0 where nothing is said) and its boxes."""

    path: Path
    size: tuple[float, float]
    objects: list[Object]


@dataclass
class Folder:
    """A directory of images with boxes, and how it is read.

    An image is resized to fit on the canvas with its proportions kept, and lies in its upper left corner.

    Args:
        root: the directory.
        data_dir: where decoded images are kept.
        image_size: of the canvas: one number or [height, width]; None for the largest height and width there are.
        flip: whether training images may be mirrored, left to right.
        memory_limit: largest array in bytes that is kept in memory; more is decoded when asked for.
        num_workers: processes that decode; None for as many as PyTorch has threads.

    Raises:
        FileNotFoundError: root is no directory.
        ValueError: a setting is outside its range.
    """

    root: str | None
    data_dir: str
    image_size: int | Sequence[int] | None = None
    flip: bool = True
    memory_limit: float = 4e9
    num_workers: int | None = None

    def __post_init__(self) -> None:
        self.path = Path(str(self.root))
        if self.root is None or not self.path.is_dir():
            raise FileNotFoundError(f"root={text_of(self.root)}: must be a directory of images and their boxes")
        if self.image_size is not None:
            canvas(self.image_size)
        check_flag("flip", self.flip)
        check_finite("memory_limit", self.memory_limit)
        if self.num_workers is not None:
            check_whole("num_workers", self.num_workers, 0, MOST_WORKERS)

    def scenes(
        self,
        profile: Callable[[Tensor], Tensor],
        class_names: Sequence[str],
        parts: Mapping[str, Sequence[Annotated]],
    ) -> Scenes:
        """Return the images of `train`, `test` and, where there is one, `validation`.

        Boxes without an area or outside their image are dropped, those partly outside are clipped, and a class
        without a training box is left out. The notes tell of all this, and of images that are in several parts.

        Raises:
            ValueError: an image or a box is not what the annotations say, or the profile does not keep all boxes.
            OSError: some files are missing or cannot be decoded; it names them.
        """
        files, cases = self._files(parts), Cases(list)
        if not class_names:
            raise ValueError(f"root={self.root}: must have a training box")
        sizes, known = iter(files.sizes()), set(class_names)
        checked = {
            part: [self._checked(image, next(sizes), known, cases) for image in its_images]
            for part, its_images in parts.items()
        }
        notes = [f"{what}: {len(where)} ({named(dict.fromkeys(where))})" for what, where in cases.items()]
        notes += overlaps(parts)
        trained = self._trained(profile, class_names, checked, notes)
        size = canvas(self.image_size or [max(sides) for sides in zip(*files.sizes(), strict=True)][::-1])
        made = self._on_canvases(files, checked, trained, size)
        return Scenes(
            made["train"],
            made["test"],
            trained,
            (3, *size),
            num_workers=files.workers,
            validation=made.get("validation"),
            flip=self.flip,
            notes=notes,
        )

    def _files(self, parts: Mapping[str, Sequence[Annotated]]) -> ImageFiles:
        """Return the images of all parts."""
        for part, images in parts.items():
            if not images:
                raise ValueError(f"root={self.root}: must have an image to be used for {part}")
            if twice := [str(path) for path, n in Counter(image.path for image in images).items() if n > 1]:
                raise ValueError(f"root={self.root}: must list each image once for {part}, not again {named(twice)}")
        paths = [image.path for images in parts.values() for image in images]
        if missing := [str(path) for path in paths if not path.is_file()]:
            raise FileNotFoundError(f"root={self.root}: {len(missing)} images are missing: {named(missing)}")
        workers = torch.get_num_threads() if self.num_workers is None else self.num_workers
        return ImageFiles(self.path, paths, self.data_dir, workers)

    def _checked(self, image: Annotated, size: Sequence[int], known: set[str], cases: Cases) -> Annotated:
        """Return the image with its true size and with the boxes that are left, inside of it; note the cases."""
        width, height = size
        where = image.path.name
        if not all(0 <= side < inf for side in image.size):
            told = f"{image.size[0]:g} x {image.size[1]:g}"
            raise ValueError(f"root={self.root}: {where} must be annotated with its size in pixels, not {told}")
        if 0 not in image.size and image.size != (width, height):
            told = f"{image.size[0]:g} x {image.size[1]:g}"
            raise ValueError(f"root={self.root}: {where} must be {told} as it is annotated, not {width} x {height}")
        kept = []
        for one in image.objects:
            if one.name not in known:
                raise ValueError(f"root={self.root}: {where} must have none but training classes, has {one.name}")
            if not all(map(isfinite, one.box)):
                raise ValueError(f"root={self.root}: {where} must have boxes of finite numbers, has {one.box}")
            inner, case = clip(one.box, width, height)
            if case:
                cases[case].append(where)
            if inner:
                kept.append(one._replace(box=inner))
        true_boxes = sum(not one.crowd for one in kept)
        if true_boxes > MAX_DETECTIONS:
            cases[f"images with more boxes than the {MAX_DETECTIONS} detections that count"].append(where)
        elif not true_boxes:
            cases["images without a box"].append(where)
        return Annotated(image.path, (width, height), kept)

    def _trained(
        self,
        profile: Callable[[Tensor], Tensor],
        class_names: Sequence[str],
        parts: Mapping[str, Sequence[Annotated]],
        notes: list[str],
    ) -> list[str]:
        """Return the names of the classes that have training boxes, all of which the profile must keep."""
        counts, boxes = (
            Counter(one.name for part in used for image in parts[part] for one in image.objects if not one.crowd)
            for used in (["train"], parts)
        )
        trained = [name for name in class_names if counts[name]]
        if not trained:
            raise ValueError(f"root={self.root}: must have a training box")
        available = torch.tensor([counts[name] for name in trained])
        if not torch.equal(torch.as_tensor(profile(available)), available):
            raise ValueError("must be used with imbalance=none: boxes cannot be taken out of an image")
        if left := [name for name in class_names if not counts[name]]:
            lost = sum(boxes[name] for name in left)
            what = f"classes without a training box, left out, with {lost} boxes elsewhere"
            notes.append(f"{what}: {len(left)} of {len(class_names)} ({named(left)})")
        return trained

    def _on_canvases(
        self,
        files: ImageFiles,
        parts: Mapping[str, Sequence[Annotated]],
        class_names: Sequence[str],
        size: tuple[int, int],
    ) -> dict[str, Images]:
        objects = {part: on_canvas(images, class_names, size) for part, images in parts.items()}
        if len(files.paths) * size[0] * size[1] * 3 <= self.memory_limit:
            pixels = torch.from_numpy(files.decode(*size, partial(_pixels, size=size)))
            arrays = pixels.split([len(images) for images in parts.values()])
            return {part: ArrayImages(array, objects[part]) for part, array in zip(parts, arrays, strict=True)}
        files.verify()
        return {
            part: FileScenes([image.path for image in images], objects[part], size) for part, images in parts.items()
        }


def _pixels(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    return letterbox(path, size)[0]


def overlaps(parts: Mapping[str, Sequence[Annotated]]) -> Iterator[str]:
    """Yield a note for each two parts that have images in common."""
    for (one, images), (other, others) in combinations(parts.items(), 2):
        if shared := {image.path for image in images} & {image.path for image in others}:
            yield f"images used for both {one} and {other}: {len(shared)} ({named(sorted(p.name for p in shared))})"


def named_parts(train: Any, validation: Any, test: Any) -> dict[str, str]:
    """Return the names of the parts that there are, by what they are used for.

    Raises:
        ValueError: there is none to train on, or none for the test.
    """
    names = {"train": train, "test": test} | ({} if validation is None else {"validation": validation})
    for part, name in names.items():
        if name is None:
            raise ValueError(f"{part}=null: must be the name of a part")
    return {part: str(name) for part, name in names.items()}


def clip(box: Sequence[float], width: float, height: float) -> tuple[Sequence[float] | None, str]:
    """Return a box clipped to its image, None if nothing is left of it, and what is to be told of it."""
    inner = [min(max(x, 0.0), limit) for x, limit in zip(box, (width, height) * 2, strict=True)]
    if min(box[2] - box[0], box[3] - box[1]) < LEAST:
        return None, "boxes without an area, dropped"
    if min(inner[2] - inner[0], inner[3] - inner[1]) < LEAST:
        return None, "boxes outside their image, dropped"
    beyond = max(abs(x - y) for x, y in zip(box, inner, strict=True))
    return inner, "boxes partly outside their image, clipped" if beyond > ROUNDING else ""


def on_canvas(images: Sequence[Annotated], class_names: Sequence[str], size: tuple[int, int]) -> Objects:
    """Return the boxes of some classes in pixels of a canvas of (H, W)."""
    index = {name: i for i, name in enumerate(class_names)}
    boxes, labels, crowd, scales = [], [], [], []
    for image in images:
        scale = scale_of(image.size, size)
        objects = [one for one in image.objects if one.name in index]
        boxes.append(torch.tensor([one.box for one in objects]).reshape(-1, 4) * scale)
        labels.append(torch.tensor([index[one.name] for one in objects], dtype=torch.int64))
        crowd.append(torch.tensor([one.crowd for one in objects], dtype=torch.bool))
        scales.append(scale)
    return Objects.padded(boxes, labels, crowd, torch.tensor(scales))


def inside(directory: Path, name: str) -> Path:
    """Return the path of a file that an annotation names.

    Raises:
        ValueError: it is not below the directory.
    """
    path = Path(os.path.abspath(directory / name))
    if not path.is_relative_to(os.path.abspath(directory)):
        raise ValueError(f"{name} leads out of {directory}")
    return directory / name
