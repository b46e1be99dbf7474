"""Pascal VOC: a list of images, and an XML with the boxes of each (Everingham et al. 2010)."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from torch import Tensor

from longtail.datasets import passes_on
from longtail.decoding import SUFFIXES
from longtail.detection.folders import Annotated, Folder, Object, inside, named_parts
from longtail.detection.scenes import Scenes
from longtail.errors import text_of


@passes_on(Folder)
def voc_folder(
    profile: Callable[[Tensor], Tensor],
    train: str = "trainval",
    validation: str | None = None,
    test: str = "test",
    classes: Sequence[str] | None = None,
    **folder: Any,
) -> Scenes:
    """Read any tree of `ImageSets/Main/<list>.txt`, `Annotations/<image>.xml` and `JPEGImages/<image>.jpg`.

    VOC counts pixels from 1, and a box includes its last ones: xmin, xmax = 1, 10 are here x1, x2 = 0, 10. A box
    whose xmax is not above its xmin is dropped all the same. What is difficult is a crowd. All images of a class's
    own list are read, with -1, 0 or 1 after their names.

    Args:
        profile: the imbalance, which must keep all boxes.
        train: name of the list of training images.
        validation: that of the images to choose an epoch by; None for none.
        test: that of the test images.
        classes: their names; None for those of the training boxes, sorted.
        folder: the settings of `Folder`.

    Raises:
        ValueError: an annotation cannot be read, or does not fit the images.
        OSError: a file is missing or cannot be decoded.
    """
    tree = Folder(**folder)
    lists = named_parts(train, validation, test)
    parts = {part: _read(tree.path, part, name) for part, name in lists.items()}
    found = sorted({one.name for image in parts["train"] for one in image.objects})
    return tree.scenes(profile, found if classes is None else _different(classes), parts)


def _different(classes: Any) -> list[str]:
    names = list(map(str, classes)) if isinstance(classes, list | tuple) else []
    if len(set(names)) < max(len(names), 1):
        raise ValueError(f"classes={text_of(classes)}: must be null or a list of different names")
    return names


def _read(root: Path, part: str, name: str) -> list[Annotated]:
    listed, where = root / "ImageSets" / "Main" / f"{name}.txt", ""
    try:
        images = [_named(root, line.strip()) for line in listed.read_text().split("\n") if line.strip()]
    except (OSError, ValueError) as error:
        raise ValueError(f"{part}={name}: must be a list of images ({error})") from error
    try:
        return [_parse(root, where := image) for image in images]
    except (OSError, ElementTree.ParseError, LookupError, ValueError) as error:  # LookupError: unknown encoding
        raise ValueError(f"root={root}: must have a VOC annotation in Annotations/{where}.xml ({error})") from error


def _named(root: Path, line: str) -> str:
    """Return the image that a line names; in the list of a class, -1, 0 or 1 follows."""
    known = Path(root, "Annotations", f"{line}.xml").is_file()  # a name may have a space
    return line if known else re.sub(r"\s+(-1|0|1)$", "", line)


class _Builder(ElementTree.TreeBuilder):
    """Refuse a DOCTYPE, and with it entities that grow."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise ValueError("it has a DOCTYPE")


def _parse(root: Path, name: str) -> Annotated:
    path = inside(root / "Annotations", f"{name}.xml")
    top = ElementTree.parse(path, ElementTree.XMLParser(target=_Builder())).getroot()

    def text(node: ElementTree.Element, where: str) -> str:
        if not (found := node.findtext(where, "").strip()):
            raise ValueError(f"lacks {where}")
        return found

    objects = []
    for node in top.iterfind("object"):
        x1, y1, x2, y2 = (float(text(node, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax"))
        box = (x1 - (x1 < x2), y1 - (y1 < y2), x2, y2)
        objects.append(Object(box, text(node, "name"), node.findtext("difficult", "").strip() == "1"))
    candidates = (root / "JPEGImages" / f"{name}{suffix}" for suffix in (".jpg", *sorted(SUFFIXES)))
    image = next(filter(Path.is_file, candidates), root / "JPEGImages" / f"{name}.jpg")
    width, height = (float(top.findtext(f"size/{side}") or 0) for side in ("width", "height"))
    return Annotated(image, (width, height), objects)
