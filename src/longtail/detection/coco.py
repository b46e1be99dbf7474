"""COCO: one JSON with the boxes of all images of a folder (Lin et al. 2014)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from longtail.detection.folders import Annotated, Folder, Object, inside, named_parts
from longtail.detection.scenes import Scenes
from longtail.runs import text_of


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
        except (OSError, LookupError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
            reason = f"an entry lacks {error}" if isinstance(error, LookupError) else error
            raise ValueError(f"{part}={name}: must have COCO annotations in {where} ({reason})") from error
    return tree.scenes(profile, classes["train"], parts)


def _parse(content: dict[str, Any], directory: Path) -> tuple[list[Annotated], list[str]]:
    """Return the images with their boxes, and the names of all categories."""
    categories = sorted(content["categories"], key=lambda category: category["id"])
    names = {category["id"]: str(category["name"]) for category in categories}
    if len(set(names.values())) < len(categories):
        raise ValueError("the ids and the names of its categories must differ")
    images = {
        image["id"]: Annotated(
            inside(directory, image["file_name"]), (float(image.get("width", 0)), float(image.get("height", 0))), []
        )
        for image in content["images"]
    }
    for entry in content["annotations"]:
        image, category = entry["image_id"], entry["category_id"]
        if image not in images or category not in names:
            raise ValueError(f"a box is on image_id={image} of category_id={category}: one of them is not listed")
        x, y, width, height = map(float, entry["bbox"])
        box = (x, y, x + width, y + height)
        images[image].objects.append(Object(box, names[category], bool(entry.get("iscrowd", 0))))
    return list(images.values()), list(names.values())
