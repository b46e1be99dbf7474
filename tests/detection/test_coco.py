"""COCO's JSON: what is read and refused."""

import json
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from longtail.detection.coco import coco_folder
from longtail.detection.scenes import Scenes
from longtail.imbalance import none

Make = Callable[..., Scenes]
CONTENT: dict[str, Any] = {
    "images": [{"id": 70, "file_name": "b.png", "width": 50, "height": 40}, {"id": 5, "file_name": "a.png"}],
    "categories": [{"id": 90, "name": "kite"}, {"id": 18, "name": "dog"}],
    "annotations": [
        {"image_id": 5, "category_id": 90, "bbox": [1.5, 2, 10, 20]},
        {"image_id": 70, "category_id": 18, "bbox": [0, 0, 50.4, 40], "iscrowd": 0, "area": 7},
        {"image_id": 5, "category_id": 18, "bbox": [3, 3, 4, 4], "iscrowd": 1},
    ],
}


def write_coco(
    root: Path,
    content: dict[str, Any],
    images: str = "images/{part}",
    parts: tuple[str, str] = ("train", "val"),
) -> None:
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for part in parts:
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))
        directory = root / images.format(part=part)
        directory.mkdir(parents=True)
        for name in ("a.png", "b.png"):
            Image.new("RGB", (50, 40), (9, 9, 9)).save(directory / name)


@pytest.fixture
def read(tmp_path: Path) -> Make:
    write_coco(tmp_path / "coco", CONTENT)
    return partial(coco_folder, none, root=str(tmp_path / "coco"), data_dir=str(tmp_path / "data"), num_workers=0)


def test_boxes_are_corners_and_categories_are_ordered_by_their_ids(read: Make) -> None:
    data = read()
    assert data.class_names == ["dog", "kite"]
    assert data.notes == []
    objects = data.train.targets
    assert objects.boxes.tolist() == [[[0, 0, 50, 40], [0] * 4], [[1.5, 2, 11.5, 22], [3, 3, 7, 7]]]
    assert objects.labels.tolist() == [[0, -1], [1, 0]]
    assert objects.crowd.tolist() == [[False, False], [False, True]]
    assert len(data.test) == 2


def change(path: str, value: Any) -> dict[str, Any]:
    """The content with one entry replaced, or without it."""
    content = deepcopy(CONTENT)
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    place: Any = content
    for key in parents:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("categories", None, r"^train=train: must have COCO annotations in .* \(categories must be a list\)"),
        ("annotations.0.bbox", None, r"\(annotations\[0\]: lacks bbox\)"),
        ("annotations.0.bbox", [1, 2, 3], r"annotations\[0\]: bbox=\[1, 2, 3\] must be \[x, y, width, height\]"),
        ("annotations.0.bbox", ["a", 2, 3, 4], r'annotations\[0\]: bbox=\["a", 2, 3, 4\] must be'),
        ("annotations.0.bbox", [float("nan"), 2, 3, 4], r"bbox=\[NaN, 2, 3, 4\] must be .* finite numbers"),
        ("annotations.0.bbox", [10**400, 2, 3, 4], "^train=train: must have COCO annotations"),
        ("annotations.0.category_id", 91, "^train=train: .*category_id=91 must be that of a category"),
        ("annotations.0.image_id", 1, "^train=train: .*image_id=1 must be that of an image"),
        ("categories.0.name", "dog", "^train=train: .*must differ"),
        ("images.0.file_name", "../../../a.png", "^train=train: .*leads out of"),
        ("images.0.file_name", "/etc/passwd", "^train=train: .*leads out of"),
        ("images.0.file_name", "c.png", "^root=.*1 images are missing: .*c.png"),
        ("images.0.width", 49, "^root=.*b.png must be 49 x 40 as it is annotated, not 50 x 40"),
        ("images", [], "^train=train: .*image_id=5 "),
        ("annotations.0.bbox", "1234", r'annotations\[0\]: bbox="1234" must be'),
        ("annotations.0.bbox", {"a": 1, "b": 2, "c": 3, "d": 4}, r"annotations\[0\]: bbox={.* must be"),
        ("annotations.1.iscrowd", "0", r'annotations\[1\]: iscrowd="0" must be 0 or 1'),
        ("annotations.0", {"id": 4, "image_id": []}, r"annotations\[0\] of id 4: image_id=\[\] must be that of an"),
        ("annotations.0", 3, r"\(annotations\[0\] must be an object\)"),
        ("annotations", {"a": 3}, r"\(annotations must be a list\)"),
        ("categories.0", {"id": 90, "name": None}, r"categories\[0\] of id 90: name=null must be a name"),
        ("categories.0.id", "90", r'categories\[0\] of id "90": id="90" must be a whole number'),
        ("images.1.id", 70, r"images\[1\] of id 70: the ids of its images must differ"),
        ("images.1.file_name", "b.png", "^root=.*must list each image once for train, not again .*b.png"),
        ("images.0.width", "50", r'images\[0\] of id 70: width="50" must be a finite number'),
        ("images.0.width", -50, "^root=.*b.png must be annotated with its size in pixels, not -50 x 40"),
        ("annotations", [], "^root=.*must have a training box"),
    ],
)
def test_what_cannot_be_read_is_one_line(read: Make, tmp_path: Path, path: str, value: Any, complaint: str) -> None:
    (tmp_path / "coco" / "annotations" / "instances_train.json").write_text(json.dumps(change(path, value)))
    with pytest.raises((ValueError, OSError), match=complaint):
        read()


@pytest.mark.parametrize("setting", ["train", "images"])
def test_null_is_no_name(read: Make, setting: str) -> None:
    with pytest.raises(ValueError, match=f"^{setting}=null: must be"):
        read(**{setting: None})


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000, None])
def test_a_json_that_is_none_is_one_line(read: Make, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "coco" / "annotations" / "instances_val.json"
    file.unlink()
    if content:
        file.write_text(content)
    with pytest.raises(ValueError, match=r"^test=val: must have COCO annotations in .*instances_val.json"):
        read()
