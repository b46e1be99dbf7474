"""Text lists of images, the format of ImageNet-LT, Places-LT and iNaturalist 2018."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from longtail.datasets.files import Listed, Reading, passes_on
from longtail.datasets.formats import check_classes
from longtail.datasets.images import ImageData
from longtail.decoding import named
from longtail.errors import warn

PARTS = ("train", "test", "validation")
MOST_DIGITS = 18  # of a label, which int64 holds


@passes_on(Reading)
def image_list(
    root: str | None,
    train: str | None,
    test: str | None,
    data_dir: str,
    validation: str | None = None,
    names: str | None = None,
    expected: Mapping[str, int] | None = None,
    **reading: Any,
) -> ImageData:
    """Read the images of text lists, a line `relative/path label` for each; labels are 0 to C - 1.

    A class is called after the folder that holds all of its training images, if every class has one of its own, else
    by its label.

    Args:
        root: the directory that holds the images.
        train: the list of those to train on; below root, or an absolute path, like the other files.
        test: the list of the test images.
        data_dir: where decoded images are kept.
        validation: a list of held-out images; None for none.
        names: a file with the names of the classes, a line each; None for those of the folders.
        expected: known numbers, of `classes` and of images for `train`, `test`, `validation`; a warning tells of
            others.
        **reading: as in `Reading`.

    Raises:
        FileNotFoundError: root, a list or an image is missing.
        ValueError: a list is empty or has a line of another form, a class has no image for training or for the test,
            or a setting is outside its range.
        OSError: some files cannot be decoded; it names them.
    """
    way = Reading(data_dir, **reading)
    if root is None or not Path(root).is_dir():
        raise FileNotFoundError(f"root={root or 'null'}: must be a directory that holds the images of the lists")
    files = {"train": train, "test": test} | ({} if validation is None else {"validation": validation})
    lists = {part: _read_list(Path(root), part, file) for part, file in files.items()}
    targets = {part: np.array(listed.targets) for part, listed in lists.items()}
    classes = check_classes(targets, {part: f"{part}={file}:" for part, file in files.items()})
    _warn_of_shared(lists)
    found = {"classes": classes, **{part: len(listed.paths) for part, listed in lists.items()}}
    known = expected or {}
    if strange := [name for name in known if name not in ("classes", *PARTS)]:
        raise ValueError(f"expected.{strange[0]}={known[strange[0]]}: must be of classes, {', '.join(PARTS)}")
    if wrong := [f"{found[k]:,} {k}, not {v:,}" for k, v in known.items() if found.get(k, v) != v]:
        warn(f"dataset.expected: the lists have other numbers than those that are known: {', '.join(wrong)}")
    own = _read_names(Path(root, names), classes) if names else _folders(lists["train"])
    return way.files(Path(root), own or [str(c) for c in range(classes)], **lists)


def _read_list(root: Path, part: str, file: str | None) -> Listed:
    paths, targets = [], []
    for number, line in _lines(root, part, file):
        path, _, label = line.rpartition(" ")
        below = bool(path.strip()) and not os.path.isabs(path) and ".." not in Path(path).parts
        if not below or not label.isdecimal() or len(label) > MOST_DIGITS:
            what = "`relative/path label`, the path below root"
            raise ValueError(f"{part}={file}: line {number} must be {what}, not `{line[:100]}`")
        paths.append(root / path.strip())
        targets.append(int(label))
    return Listed(paths, targets)


def _read_names(file: Path, classes: int) -> list[str]:
    names = [line for _, line in _lines(file.parent, "names", file.name)]
    if len(set(names)) < classes or len(names) != classes:
        raise ValueError(f"names={file}: must have {classes} different names, a line each, has {len(set(names))}")
    return names


def _lines(root: Path, name: str, file: str | None) -> list[tuple[int, str]]:
    """Return the lines of a text file that are not empty, stripped, with their numbers from 1."""
    if file is None or not (root / file).is_file():
        raise FileNotFoundError(f"{name}={file or 'null'}: must be a text file, absolute or below root={root}")
    try:
        text = (root / file).read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}={file}: must be a text file in UTF-8 ({error})") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise ValueError(f"{name}={file}: must not be empty")
    return lines


def _warn_of_shared(lists: Mapping[str, Listed]) -> None:
    trained = set(lists["train"].paths)
    for part in (part for part in lists if part != "train"):
        if shared := [path.name for path in lists[part].paths if path in trained]:
            warn(f"dataset.{part}: {len(shared):,} of its images are trained on: {named(shared)}")


def _folders(train: Listed) -> list[str] | None:
    """Return the folders of the classes, below the one that holds them all; None unless each has one of its own."""
    of_class: dict[int, set[Path]] = {}
    for path, target in zip(*train, strict=True):
        of_class.setdefault(target, set()).add(path.parent)
    folders = [folder for _, own in sorted(of_class.items()) for folder in own]
    if len(folders) > len(of_class) or len(set(folders)) < len(folders):
        return None
    common = os.path.commonpath(folders)
    names = [folder.relative_to(common).as_posix() for folder in folders]
    return names if "." not in names else None
