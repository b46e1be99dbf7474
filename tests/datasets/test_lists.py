"""Text lists of images: what is read, warned of and refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from longtail.datasets import ImageData, image_list

Lists = Callable[..., Path]
Read = Callable[..., ImageData]
TRAIN = "train/k/cat/a b.png 1\ntrain/k/cat/1.png 1\n\ntrain/z/dog/2.png 0\ntrain/z/dog/3.png 0\n"
TEST = "val/4.png 0\nval/5.png 1"


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write lists, and the images that they name, each of a colour of its own; read them."""

    def call(train: str = TRAIN, test: str = TEST, validation: str | None = None, **options: Any) -> ImageData:
        root, given = tmp_path / "images", {"train": train, "test": test, "validation": validation}
        for part, content in given.items():
            if content is not None:
                root.mkdir(exist_ok=True)
                (root / f"{part}.txt").write_text(content)
                for line in content.splitlines():
                    if path := line.rpartition(" ")[0]:
                        (root / path).parent.mkdir(parents=True, exist_ok=True)
                        Image.new("RGB", (12, 10), (sum(path.encode()) % 256, 7, 9)).save(root / path)
        files: dict[str, Any] = {part: f"{part}.txt" for part, content in given.items() if content is not None}
        return image_list(str(root), data_dir=str(tmp_path / "data"), num_workers=0, **{**files, **options})

    return call


def test_each_line_is_an_image_of_its_class(read: Read) -> None:
    data = read()
    assert data.class_names == ["z/dog", "k/cat"]
    assert data.train.targets.tolist() == [1, 1, 0, 0]
    assert data.test.targets.tolist() == [0, 1]
    named = [sum(path.encode()) % 256 for path in ("train/k/cat/a b.png", "train/z/dog/3.png")]
    assert data.train.batch([0, 3])[:, 0, 0, 0].tolist() == named
    assert data.validation is None


def test_a_third_list_is_held_out(read: Read) -> None:
    data = read(validation="train/k/cat/9.png 1\n", image_size=8)
    assert data.validation is not None
    assert data.validation.targets.tolist() == [1]
    assert data.validation.batch([0])[0, 0, 0].tolist() == [sum(b"train/k/cat/9.png") % 256, 7, 9]
    assert not data.validation.in_memory
    assert np.array_equal(data.validation.batch([0]), data.validation.batch([0]))


@pytest.mark.parametrize(("train", "names"), [
    ("a/1.png 0\nb/2.png 0\nc/3.png 1\n", ["0", "1"]),  # of two folders
    ("a/1.png 0\na/2.png 1\n", ["0", "1"]),  # one folder for both
    ("1.png 0\na/2.png 1\n", ["0", "1"]),  # one within the other
    ("t/x/in/1.png 0\nt/y/in/2.png 1\n", ["x/in", "y/in"]),
])  # fmt: skip
def test_classes_are_called_after_folders_of_their_own(train: str, names: list[str], read: Read) -> None:
    assert read(train).class_names == names


def test_names_of_classes_in_a_file(read: Read, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("dogs\ncats\n")
    assert read(names=str(tmp_path / "names.txt")).class_names == ["dogs", "cats"]
    (tmp_path / "names.txt").write_text("dogs\ndogs\n")
    with pytest.raises(ValueError, match=r"^names=.*names.txt: must have 2 different names, a line each, has 1$"):
        read(names=str(tmp_path / "names.txt"))


def test_other_numbers_than_are_known_are_told(read: Read, capsys: pytest.CaptureFixture[str]) -> None:
    read(expected={"classes": 2, "train": 4, "test": 2, "validation": 20})
    assert capsys.readouterr().err == ""
    read(expected={"classes": 3, "train": 5000})
    said = "the lists have other numbers than those that are known: 2 classes, not 3, 4 train, not 5,000"
    assert capsys.readouterr().err == f"warning: dataset.expected: {said}\n"


def test_images_used_twice_are_told(read: Read, capsys: pytest.CaptureFixture[str]) -> None:
    read(test=TEST + "\ntrain/z/dog/3.png 0")
    assert capsys.readouterr().err == "warning: dataset.test: 1 of its images are trained on: 3.png\n"


@pytest.mark.parametrize(("train", "test", "message"), [
    ("a.png 0\nb.png\n", TEST, r"^train=train.txt: line 2 must be `relative/path label`, .*, not `b.png`$"),
    ("a.png 0\n\n \nb.png\n", TEST, r"^train=train.txt: line 4 must be"),
    ("a.png 0\n../b.png 1\n", TEST, r"^train=train.txt: line 2 must be .*, the path below root, not `../b.png 1`$"),
    ("a.png 0\nb.png " + "9" * 5000, TEST, r"^train=train.txt: line 2 must be .{100,200}$"),
    ("a.png -1\nb.png 0\n", TEST, r"^train=train.txt: line 1 must be"),
    ("a.png 0\nb.png 2\n", TEST, r"^train=train.txt: must have images of every class, has none of 1$"),
    (TRAIN, "c.png 0\n", r"^test=test.txt: must have images of every class, has none of 1$"),
    (TRAIN, TEST + "\nc.png 2", r"^test=test.txt: must have classes 0 to 1, as in train, has 2$"),
    (
        "a.png 0\nb.png 99999999999\n",
        TEST,
        r"^train=train.txt: must have images of every class, has none of 1, 2, 3, 4, 5 and 99,999,999,993 more$",
    ),
    ("a.png 0\n", "b.png 0\n", r"^train=train.txt: must have images of at least 2 classes$"),
    ("\n", TEST, r"^train=train.txt: must not be empty$"),
])  # fmt: skip
def test_lists_of_another_form_are_refused(train: str, test: str, message: str, read: Read) -> None:
    with pytest.raises(ValueError, match=message):
        read(train, test)


def test_a_mark_at_the_start_of_a_list_and_windows_line_ends_are_left_out(read: Read, tmp_path: Path) -> None:
    own = read()
    (tmp_path / "images" / "train.txt").write_bytes(b"\xef\xbb\xbf" + TRAIN.replace("\n", "\r\n").encode())
    other = image_list(str(tmp_path / "images"), "train.txt", "test.txt", str(tmp_path / "data"), num_workers=0)
    assert other.class_names == own.class_names
    assert other.train.targets.tolist() == own.train.targets.tolist()


def test_what_is_expected_of_lists_has_a_known_name(read: Read) -> None:
    with pytest.raises(ValueError, match=r"^expected.klasses=2: must be of classes, train, test, validation$"):
        read(expected={"klasses": 2})


def test_what_is_missing_is_named(read: Read, tmp_path: Path) -> None:
    read()
    cases: list[tuple[dict[str, Any], str]] = [
        ({"train": None}, r"^train=null: must be a text file"),
        ({"test": "no.txt"}, r"^test=no.txt: must be a text file, absolute or below root=.*images$"),
    ]
    for options, message in cases:
        with pytest.raises(FileNotFoundError, match=message):
            image_list(
                str(tmp_path / "images"), **{"train": "train.txt", "test": "test.txt", **options}, data_dir="d"
            )
    with pytest.raises(FileNotFoundError, match=r"^root=null: must be a directory"):
        image_list(None, "train.txt", "test.txt", "d")
    (tmp_path / "images" / "val" / "4.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"must have all 6 images that are listed, lacks 1: val/4.png$"):
        image_list(str(tmp_path / "images"), "train.txt", "test.txt", str(tmp_path / "data"))
    (tmp_path / "images" / "train.txt").write_text("val/5.png 0\nval/5.png/6.png 1\nval/\0.png 1\n")
    with pytest.raises(FileNotFoundError, match=r"lacks 3: val/5.png/6.png, val/\x00.png, val/4.png$"):
        image_list(str(tmp_path / "images"), "train.txt", "test.txt", str(tmp_path / "data"))
    (tmp_path / "images" / "train.txt").write_text("/etc/1.png 0\n")
    with pytest.raises(ValueError, match=r"line 1 must be `relative/path label`"):
        image_list(str(tmp_path / "images"), "train.txt", "test.txt", str(tmp_path / "data"))
