"""Images in arrays, and in the tables of the Hugging Face Hub."""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import ConcatDataset, Dataset

from longtail.datasets.files import Listed, Reading, passes_on
from longtail.datasets.images import ArrayImages, ImageData
from longtail.decoding import ImageFiles
from longtail.errors import text_of
from longtail.metrics import OLTR, Shots


def arrays(
    path: str | None,
    augment: nn.Module | None = None,
    names: Sequence[str] | None = None,
    many: int = OLTR.many,
    few: int = OLTR.few,
) -> ImageData:
    """Read images from an npz file of arrays.

    They are `x_train`, `x_test` (and `x_val`), uint8 (N, H, W) or (N, H, W, C), and `y_train`, `y_test` (and `y_val`,
    of held-out images), classes 0 to C - 1, (N,).

    Args:
        path: of the file, as `numpy.savez` writes it.
        augment: training augmentation on the device.
        names: of the classes; None for their numbers.
        many: as in `Shots`.
        few: as in `Shots`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not hold these arrays.
    """
    shots = Shots(many, few)
    if path is None or not Path(path).is_file():
        raise FileNotFoundError(f"path={path or 'null'}: must be an npz file with x_train, y_train, x_test, y_test")
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files if name[:2] in ("x_", "y_")}
    except Exception as error:  # NumPy's, of a zip file, its compression, a header, of memory, ...
        raise ValueError(f"path={path}: must be an npz file of plain arrays ({error})") from error
    parts = {
        part: _part(path, part, found) for part in ("train", "test", "val") if f"x_{part}" in found or part != "val"
    }
    classes = check_classes(
        {part: images.targets.numpy() for part, images in parts.items()},
        {part: f"path={path}: y_{part}" for part in parts},
    )
    if len({images.pixels.shape[1:] for images in parts.values()}) > 1:
        raise ValueError(f"path={path}: must have images of one size")
    if names is not None and not len(names) == len(set(names)) == classes:
        raise ValueError(f"names={text_of(list(names))}: must be {classes} different names, or null")
    height, width, channels = parts["train"].pixels.shape[1:]
    return ImageData(
        parts["train"],
        parts["test"],
        list(names or map(str, range(classes))),
        (channels, height, width),
        augment,
        validation=parts.get("val"),
        shots=shots,
    )


def _part(path: str, part: str, found: Mapping[str, NDArray[Any]]) -> ArrayImages:
    if lacking := [name for name in (f"x_{part}", f"y_{part}") if name not in found]:
        raise ValueError(f"path={path}: must have an array {lacking[0]}, has {', '.join(found) or 'none'}")
    pixels, targets = (np.asarray(found[f"{name}_{part}"]) for name in "xy")  # NumPy gives bytes for what is no array
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or not pixels.size:
        shape = f"{pixels.dtype} {pixels.shape}"
        raise ValueError(f"path={path}: x_{part} must be uint8 (N, H, W) or (N, H, W, C), not {shape}")
    targets = targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else targets
    if targets.dtype.kind not in "iu" or targets.shape != (len(pixels),):
        shape = f"{targets.dtype} {targets.shape}"
        raise ValueError(f"path={path}: y_{part} must be whole numbers ({len(pixels)},), not {shape}")
    return ArrayImages(pixels if pixels.ndim == 4 else pixels[..., None], targets.astype(np.int64))


def check_classes(targets: Mapping[str, NDArray[np.int64]], where: Mapping[str, str]) -> int:
    """Return the number of classes; every one of them must have images in `train` and in `test`.

    Args:
        targets: the classes of the images of each part, (N,).
        where: what a complaint about a part begins with.

    Raises:
        ValueError: that is not so.
    """
    classes = int(targets["train"].max()) + 1
    if classes < 2:
        raise ValueError(f"{where['train']} must have images of at least 2 classes")
    for part, own in targets.items():
        if (strange := own[(own < 0) | (own >= classes)]).size:
            raise ValueError(f"{where[part]} must have classes 0 to {classes - 1}, as in train, has {strange[0]}")
        there = np.unique(own)
        if part in ("train", "test") and len(there) < classes:
            first = np.setdiff1d(np.arange(min(classes, len(there) + 5)), there)[:5]  # a class may be any number
            left = classes - len(there) - len(first)
            more = f" and {left:,} more" if left else ""
            raise ValueError(
                f"{where[part]} must have images of every class, has none of {', '.join(map(str, first))}{more}"
            )
    return classes


@passes_on(Reading)
def huggingface(
    path: str | None,
    data_dir: str,
    name: str | None = None,
    train: str = "train",
    test: str = "test",
    validation: str | None = None,
    image: str = "image",
    label: str = "label",
    **reading: Any,
) -> ImageData:
    """Read images with the `datasets` library: from the Hugging Face Hub, or a folder of parquet files.

    Needs `pip install 'longtail[huggingface]'`. Images are read as files are, see `Reading`.

    Args:
        path: of a dataset on the Hub, such as `uoft-cs/cifar10`, or of a folder.
        data_dir: where it is kept.
        name: of its configuration, where it has several.
        train: the split that is trained on; `train[:80%]` is one too.
        test: the split of the test images.
        validation: the split of the held-out images; None for none.
        image: the column of the images.
        label: the column of the classes, whole numbers.
        **reading: as in `Reading`.

    Raises:
        FileNotFoundError: there is no such dataset.
        ValueError: it lacks a split or a column, or a setting is outside its range.
    """
    way = Reading(data_dir, **reading)
    names = {"train": train, "test": test} | ({} if validation is None else {"validation": validation})
    splits = {part: _load(path, name, split, data_dir, part) for part, split in names.items()}
    for part, split in splits.items():
        for setting, column in (("image", image), ("label", label)):
            if column not in split.column_names:
                have = ", ".join(split.column_names)
                raise ValueError(f"{setting}={column}: must be a column of {names[part]}, which has {have}")
    targets = {part: _targets(split, label) for part, split in splits.items()}
    classes = check_classes(targets, {part: f"label={label}: {names[part]}" for part in targets})
    known = getattr(splits["train"].features[label], "names", None) or [str(c) for c in range(classes)]
    parts = {part: Listed(_Column(split, image), targets[part].tolist()) for part, split in splits.items()}
    origin = "\n".join(f"{part.cache_files} {part.split} {part.num_rows} {image}" for part in splits.values())
    files = _Rows(str(path), parts, origin, way)
    return way.data(files, list(known)[:classes], list(parts.values()))


def _load(path: str | None, name: str | None, split: str, data_dir: str, part: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ValueError("must have the datasets library: pip install 'longtail[huggingface]'") from error
    if path is None:
        raise ValueError("path=null: must be a dataset of the Hugging Face Hub, or a folder of parquet files")
    try:
        return datasets.load_dataset(path, name, split=split, cache_dir=str(Path(data_dir, "huggingface")))
    except (FileNotFoundError, ConnectionError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise FileNotFoundError(f"path={path}: must be a dataset that can be read ({error})") from error
    except ValueError as error:  # no such split or configuration
        raise ValueError(f"{part}={split}: must be a split of {path} ({error})") from error


def _targets(split: Any, label: str) -> NDArray[np.int64]:
    if not str(getattr(split.features[label], "dtype", "")).startswith(("int", "uint")):
        raise ValueError(f"label={label}: must be whole numbers")
    targets = split[label][:]
    if None in targets:
        raise ValueError(f"label={label}: must be whole numbers, row {targets.index(None)} has none")
    return np.asarray(targets, np.int64)


class _Column(Dataset[Any], Sequence[Any]):
    """The files in a column of images of a table, opened when asked for."""

    def __init__(self, split: Any, column: str) -> None:
        import datasets

        try:
            self.split = split.select_columns(column).cast_column(column, datasets.Image(decode=False))
        except (ValueError, TypeError, NotImplementedError) as error:  # of pyarrow
            raise ValueError(f"image={column}: must be a column of images ({error})") from error
        self.column = column

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: Any) -> Any:
        file = self.split[int(index)][self.column]
        return io.BytesIO(file["bytes"]) if file["bytes"] is not None else Path(file["path"])


class _Rows(ImageFiles):
    """The images of tables, kept under a key made of the files that the library keeps, and of the rows taken."""

    setting = "path"

    def __init__(self, path: str, parts: Mapping[str, Listed], origin: str, way: Reading) -> None:
        self.parts, self.key = parts, f"{Path(path).name}-{hashlib.sha256(origin.encode()).hexdigest()[:16]}"
        columns: Any = ConcatDataset([part.paths for part in parts.values()])  # type: ignore[misc]
        super().__init__(Path(path), columns, way.data_dir, way.workers)

    def _key(self) -> str:
        return self.key

    def names(self) -> Iterator[str]:
        """Yield the place of each image."""
        return (f"row {i} of {part}" for part, listed in self.parts.items() for i in range(len(listed.paths)))
