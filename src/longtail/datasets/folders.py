"""Folders of images, a folder per class."""

from pathlib import Path
from typing import Any

from longtail.datasets.files import Listed, Reading, passes_on
from longtail.datasets.images import ImageData
from longtail.decoding import SUFFIXES, files_in, named
from longtail.errors import warn


@passes_on(Reading)
def image_folder(root: str | None, data_dir: str, **reading: Any) -> ImageData:
    """Read any tree `root/{train,test}/<class>/*` of images; classes are the folders of `train`, sorted.

    Args:
        root: the directory that holds `train` and `test`.
        data_dir: where decoded images are kept.
        **reading: as in `Reading`.

    Raises:
        FileNotFoundError: root, train or test is missing, or holds no images.
        ValueError: test has a class that train lacks, or a setting is outside its range.
        OSError: some files cannot be decoded; it names them.
    """
    way = Reading(data_dir, **reading)
    if root is None or not Path(root).is_dir():
        raise FileNotFoundError(f"root={root or 'null'}: must be a directory with train/<class>/* and test/<class>/*")
    for part in ("train", "test"):
        if not Path(root, part).is_dir():
            raise FileNotFoundError(f"root={root}: must have a directory {part} with a folder per class")
    class_names, tested = (_folders(Path(root, part)) for part in ("train", "test"))
    if len(class_names) < 2:
        raise ValueError(f"root={root}: train must have folders of at least 2 classes, has {class_names}")
    if strangers := [name for name in tested if name not in class_names]:
        raise ValueError(f"root={root}: every class in test must be in train, which lacks {', '.join(strangers)}")
    parts = {part: _list_images(Path(root, part), class_names) for part in ("train", "test")}
    for part, (_, targets) in parts.items():
        there = set(targets)
        if empty := [name for c, name in enumerate(class_names) if c not in there]:
            raise ValueError(f"root={root}: must have images in {part}/ of every class, has none of {named(empty)}")
    return way.files(Path(root), class_names, **parts)


def _folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted, without hidden ones."""
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _list_images(folder: Path, class_names: list[str]) -> Listed:
    """Return the images' paths, class after class, and their classes; say which files are none."""
    found, others = [], sorted(path for path in folder.iterdir() if path.is_file())
    for target, name in enumerate(class_names):
        for path in files_in(folder / name):
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
    return Listed(list(paths), list(targets))
