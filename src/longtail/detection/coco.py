"""COCO: one JSON with the boxes of all images of a folder (Lin et al. 2014)."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from longtail.datasets import passes_on
from longtail.detection.folders import Annotated, Folder, Object, inside, named_parts
from longtail.detection.scenes import Scenes
from longtail.errors import text_of


@passes_on(Folder)
def coco_folder(
    profile: Callable[[Tensor], Tensor],
    train: str = "train",
    validation: str | None = None,
    test: str = "val",
    images: str = "images/{part}",
    annotations: str = "annotations/instances_{part}.json",
    **folder: Any,
) -> Scenes:
    """Read images with COCO's JSON. The classes are the categories of the training JSON, in the order of their ids.

    Args:
        profile: the imbalance, which must keep all boxes.
        train: name of the part to train on.
        validation: that of the part to choose an epoch by; None for none.
        test: that of the part to test on.
        images: folder below root with the images of a part; `{part}` stands for its name.
        annotations: JSON file below root with the boxes of a part.
        folder: the settings of `Folder`.

    Raises:
        ValueError: an annotation cannot be read, or does not fit the images.
        OSError: a file is missing or cannot be decoded.
    """
    tree = Folder(**folder)
    for name, pattern in (("images", images), ("annotations", annotations)):
        if not isinstance(pattern, str):
            raise ValueError(f"{name}={text_of(pattern)}: must be a path below root")
    names = named_parts(train, validation, test)
    parts, classes = {}, {}
    for part, name in names.items():
        where, directory = (tree.path / pattern.replace("{part}", name) for pattern in (annotations, images))
        try:
            parts[part], classes[part] = _parse(json.loads(where.read_bytes()), directory)
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{part}={name}: must have COCO annotations in {where} ({error})") from error
    return tree.scenes(profile, classes["train"], parts)


def _parse(content: Any, directory: Path) -> tuple[list[Annotated], list[str]]:
    """Return the images with their boxes, and the names of all categories."""
    named: dict[int, str] = {}
    for category in _entries(content, "categories"):
        of_id = category.take("id", lambda x: type(x) is int, "a whole number")
        if of_id in named or (name := category.take("name", _is_name, "a name")) in named.values():
            raise ValueError(f"{category.place}: the ids and the names of its categories must differ")
        named[of_id] = name
    images: dict[int | str, Annotated] = {}
    for image in _entries(content, "images"):
        if (of_id := image.take("id", _is_id, "a number or a text")) in images:
            raise ValueError(f"{image.place}: the ids of its images must differ")
        path = inside(directory, image.take("file_name", _is_name, "a path"))
        width, height = (image.take(side, _is_number, "a finite number", 0) for side in ("width", "height"))
        images[of_id] = Annotated(path, (width, height), [])
    for box in _entries(content, "annotations"):
        on = box.take("image_id", lambda x: _is_id(x) and x in images, "that of an image")
        category_id = box.take("category_id", lambda x: type(x) is int and x in named, "that of a category")
        x, y, width, height = box.take("bbox", _is_box, "[x, y, width, height], finite numbers")
        crowd = bool(box.take("iscrowd", lambda x: type(x) in (int, bool) and x in (0, 1), "0 or 1", 0))
        images[on].objects.append(Object((x, y, x + width, y + height), named[category_id], crowd))
    return list(images.values()), [named[of_id] for of_id in sorted(named)]


class _Entry(NamedTuple):
    """An object in a list of the JSON."""

    content: dict[str, Any]
    listed: str
    number: int

    @property
    def place(self) -> str:
        """Where it is, such as `images[3] of id 70`."""
        of_id = f" of id {json.dumps(self.content['id'])}" if "id" in self.content else ""
        return f"{self.listed}[{self.number}]{of_id}"

    def take(self, key: str, fits: Callable[[Any], bool], what: str, default: Any = None) -> Any:
        """Return a value, or the default if there is one and the entry lacks the key.

        Raises:
            ValueError: the value does not fit, or is missing.
        """
        if key not in self.content and default is None:
            raise ValueError(f"{self.place}: lacks {key}")
        if not fits(value := self.content.get(key, default)):
            raise ValueError(f"{self.place}: {key}={json.dumps(value)} must be {what}")
        return value


def _entries(content: Any, name: str) -> Iterator[_Entry]:
    listed = content.get(name) if isinstance(content, dict) else None
    if not isinstance(listed, list):
        raise ValueError(f"{name} must be a list")
    for i, entry in enumerate(listed):
        if not isinstance(entry, dict):
            raise ValueError(f"{name}[{i}] must be an object")
        yield _Entry(entry, name, i)


def _is_id(value: Any) -> bool:
    return type(value) in (int, str)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -1e9 < value < 1e9


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))
