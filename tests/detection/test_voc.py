"""Pascal VOC trees: what is read, dropped, clipped, refused, and where boxes come to lie."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from longtail.datasets import ArrayImages
from longtail.detection.boxes import BACKGROUND
from longtail.detection.scenes import GREY, FileScenes, Scenes
from longtail.detection.voc import voc_folder
from longtail.imbalance import exponential, none

Boxes = list[tuple[str, float, float, float, float]]
Make = Callable[..., Scenes]


def write_voc(root: Path, images: dict[str, Boxes], size: tuple[int, int] = (60, 40)) -> None:
    """Write images, their boxes (name, xmin, ymin, xmax, ymax), and lists by the first part of their names."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, boxes in images.items():
        pixels = np.random.default_rng(len(name)).integers(0, 255, (size[1], size[0], 3), np.uint8)
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.png")
        sides = ("xmin", "ymin", "xmax", "ymax")
        objects = "".join(
            f"<object><name>{what.removesuffix('?')}</name><difficult>{int(what.endswith('?'))}</difficult><bndbox>"
            + "".join(f"<{side}>{at}</{side}>" for side, at in zip(sides, box, strict=True))
            + "</bndbox></object>"
            for what, *box in boxes
        )
        told = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{told}{objects}</annotation>")
        with (root / "ImageSets" / "Main" / f"{name.split('_')[0]}.txt").open("a") as listed:
            listed.write(f"{name}\n")


PLAIN: dict[str, Boxes] = {
    "trainval_1": [("dog", 1, 1, 60, 40), ("cat", 11, 21, 30, 40)],
    "trainval_2": [],
    "test_1": [("cat", 3, 3, 9, 9), ("dog?", 5, 5, 20, 20)],
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_voc(tmp_path / "voc", PLAIN)
    return tmp_path / "voc"


@pytest.fixture
def read(tree: Path, tmp_path: Path) -> Make:
    """Read the tree, whatever a test has made of it."""
    return partial(voc_folder, none, root=str(tree), data_dir=str(tmp_path / "data"), num_workers=0)


def test_boxes_are_counted_from_zero_and_hold_their_last_pixel(read: Make) -> None:
    data = read()
    assert data.class_names == ["cat", "dog"]
    assert data.image_shape == (3, 40, 60)
    assert data.validation is None
    assert data.flip
    train, test = data.train.targets, data.test.targets
    assert train.boxes.tolist() == [[[0, 0, 60, 40], [10, 20, 30, 40]], [[0] * 4] * 2]
    assert train.labels.tolist() == [[1, 0], [BACKGROUND] * 2]
    assert test.crowd.tolist() == [[False, True]]
    assert test.class_counts(2).tolist() == [1, 0]
    assert data.notes == ["images without a box: 1 (trainval_2.png)"]


def test_an_image_lies_in_the_corner_of_its_canvas_with_its_boxes(read: Make, tree: Path) -> None:
    write_voc(tree, {"test_tall": [("dog", 1, 21, 20, 60)]}, size=(40, 120))
    data = read(image_size=[60, 80])
    assert data.test.targets.scale.tolist() == pytest.approx([4 / 3, 0.5])  # 80 / 60 wide, 60 / 120 high
    assert data.test.targets.boxes[1, 0].tolist() == [0, 10, 10, 30]
    pixels = data.test.batch([1])[0].numpy()
    assert pixels.shape == (60, 80, 3)
    assert (pixels[:, 20:] == GREY).all()
    assert not (pixels[:, :20] == GREY).all(2).any()


def test_what_does_not_fit_into_memory_is_streamed_and_the_same(read: Make) -> None:
    whole, streamed = read(image_size=[32, 64]), read(image_size=[32, 64], memory_limit=1)
    assert isinstance(whole.train, ArrayImages)
    assert isinstance(streamed.train.for_evaluation(), FileScenes)
    assert not streamed.train.in_memory
    assert len(streamed.train) == len(whole.train) == 2
    assert torch.equal(streamed.train.batch([1, 0]), whole.train.batch([1, 0]))
    assert torch.equal(streamed.train.targets.boxes, whole.train.targets.boxes)


def test_wrong_boxes_are_dropped_or_clipped_and_named_once(read: Make, tree: Path) -> None:
    boxes: Boxes = [("dog", 5, 5, 5, 9), ("dog", 70, 5, 90, 9), ("dog", 51, 31, 80, 40), ("cat", 0, 1, 61, 40)]
    write_voc(tree, {"trainval_bad": boxes, "test_bad": [("cat", 9, 9, 8, 12)]})
    data = read()
    assert data.train.targets.boxes[2].tolist() == [
        [50, 30, 60, 40],
        [0, 0, 60, 40],
    ]  # a pixel of rounding is no case
    assert data.notes == [
        "images without a box: 2 (trainval_2.png, test_bad.png)",
        "boxes without an area, dropped: 2 (trainval_bad.png, test_bad.png)",
        "boxes outside their image, dropped: 1 (trainval_bad.png)",
        "boxes partly outside their image, clipped: 1 (trainval_bad.png)",
    ]


def test_more_boxes_than_detections_are_told(read: Make, tree: Path) -> None:
    write_voc(tree, {"test_full": [("dog", 1, 1, 9, 9)] * 101})
    assert read().notes[-1] == "images with more boxes than the 100 detections that count: 1 (test_full.png)"


def test_a_class_without_a_training_box_is_left_out(read: Make, tree: Path) -> None:
    write_voc(tree, {"test_2": [("emu", 1, 1, 9, 9), ("dog", 1, 1, 9, 9)]})
    data = read(classes=["dog", "emu", "cat"])
    assert data.class_names == ["dog", "cat"]
    assert data.test.targets.labels.tolist() == [[1, 0], [0, BACKGROUND]]
    assert "classes without a training box, left out, with 1 boxes elsewhere: 1 of 3 (emu)" in data.notes


def test_validation_is_a_list_of_its_own(read: Make, tree: Path) -> None:
    write_voc(tree, {"val_1": [("cat", 1, 1, 9, 9)]})
    data = read(validation="val")
    assert data.validation is not None
    assert data.validation.targets.boxes.tolist() == [[[0, 0, 9, 9]]]


def test_images_in_two_parts_are_told(read: Make) -> None:
    note = "images used for both train and test: 2 (trainval_1.png, trainval_2.png)"
    assert read(test="trainval").notes[-1] == note


def test_the_list_of_a_class_names_images_too(read: Make, tree: Path) -> None:
    write_voc(tree, {"test 1": [("cat", 1, 1, 9, 9)]})
    (tree / "ImageSets" / "Main" / "dog_test.txt").write_text("trainval_1  1\ntest_1 -1\ntest 1\n")
    data = read(test="dog_test")
    assert [image.shape for image in data.test.batch([0, 1, 2])] == [(40, 60, 3)] * 3
    assert data.test.targets.class_counts(2).tolist() == [3, 1]


BOMB = "<!DOCTYPE a [<!ENTITY b 'bbbbbbbbbb'><!ENTITY c '&b;&b;&b;&b;'>]><annotation>&c;</annotation>"
SIZED = "<a><size><width>{}</width><height>40</height></size></a>"


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("Annotations/test_1.xml", "<annotation><object>", r"^root=.*Annotations/test_1.xml \(.*line 1"),
        ("Annotations/test_1.xml", '<?xml version="1.0" encoding="utf-9"?><a/>', r"^root=.*test_1.xml \(.*encoding"),
        ("Annotations/test_1.xml", BOMB, r"^root=.*Annotations/test_1.xml \(it has a DOCTYPE\)"),
        ("Annotations/test_1.xml", "<a><object><name>cat</name></object></a>", r"\(lacks bndbox/xmin\)"),
        ("Annotations/test_1.xml", "<a><size><width>61</width><height>40</height></size></a>", "must be 61 x 40 as"),
        ("Annotations/test_1.xml", None, r"^root=.*Annotations/test_1.xml \(.*No such file"),
        ("JPEGImages/test_1.png", None, r"^root=.*1 images are missing: .*test_1"),
        ("JPEGImages/test_1.png", "no image", r"^root=.*1 of 3 files are not readable images.*test_1.png"),
        ("ImageSets/Main/test.txt", "../../../test_1\n", r"^root=.*leads out of"),
        ("ImageSets/Main/test.txt", None, "^test=test: must be a list of images"),
        ("ImageSets/Main/trainval.txt", "\n", "^root=.*must have an image to be used for train"),
        ("ImageSets/Main/trainval.txt", "trainval_2\n", "^root=.*must have a training box"),
        ("ImageSets/Main/test.txt", "test_1\ntest_1\n", "^root=.*must list each image once for test.*test_1.png"),
        (
            "Annotations/test_1.xml",
            SIZED.format("nan"),
            "^root=.*test_1.png must be annotated with .*nan x 40",
        ),
        ("Annotations/test_1.xml", SIZED.format(-60), "^root=.*test_1.png must be annotated with .*-60 x 40"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    read: Make, tree: Path, file: str, content: str | None, complaint: str
) -> None:
    (tree / file).unlink()
    if content is not None:
        (tree / file).write_text(content)
    with pytest.raises((ValueError, OSError), match=complaint):
        read()


@pytest.mark.parametrize(
    ("box", "complaint"),
    [
        (("cat", "nan", 1, 9, 9), "^root=.*trainval_3.png must have boxes of finite numbers"),
        (("cat", "1e999", 1, 9, 9), "^root=.*trainval_3.png must have boxes of finite numbers"),
        (("cat", "left", 1, 9, 9), "^root=.*Annotations/trainval_3.xml .*left"),
    ],
)
def test_coordinates_are_finite_numbers(read: Make, tree: Path, box: Any, complaint: str) -> None:
    write_voc(tree, {"trainval_3": [box]})
    with pytest.raises(ValueError, match=complaint):
        read()


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"root": "nowhere"}, "^root=nowhere: must be a directory"),
        ({"root": None}, "^root=null: must be a directory"),
        ({"image_size": 8}, "^image_size=8: must be a number of pixels >= 32"),
        ({"image_size": [64, 64, 3]}, r"^image_size=.*or \[height, width\]"),
        ({"num_workers": -1}, "^num_workers=-1: must be a whole number in"),
        ({"num_workers": "x"}, "^num_workers=x: must be a whole number in"),
        ({"memory_limit": None}, "^memory_limit=null: must be a finite number >= 0"),
        ({"flip": "maybe"}, "^flip=maybe: must be true or false"),
        ({"train": "mine"}, "^train=mine: must be a list of images"),
        ({"train": None}, "^train=null: must be the name of a part"),
        ({"classes": ["dog", "cat", "dog"]}, r"^classes=\[dog, cat, dog\]: must be null or a list of different"),
        ({"classes": 3}, "^classes=3: must be null or"),
        ({"classes": ["dog"]}, "^root=.*must have none but training classes, has cat"),
    ],
)
def test_a_setting_outside_its_range_is_refused(read: Make, setting: dict[str, Any], complaint: str) -> None:
    with pytest.raises((ValueError, OSError), match=complaint):
        read(**setting)


def test_boxes_cannot_be_thinned(tree: Path, tmp_path: Path) -> None:
    boxes: Boxes = [("cat", 1, 1, 9, 9), ("dog", 1, 1, 9, 9)]
    write_voc(tree, {"trainval_3": boxes * 5})
    profile = partial(exponential, ratio=3)
    with pytest.raises(ValueError, match=r"^must be used with imbalance=none: boxes cannot"):
        voc_folder(profile, root=str(tree), data_dir=str(tmp_path), num_workers=0)
