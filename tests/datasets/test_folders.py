"""Folders of images: what is found, decoded, resized, cached, streamed and refused."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from longtail import decoding
from longtail.datasets import ArrayImages, FileImages, image_folder
from longtail.datasets.files import common_size

from ..conftest import MakeImages


def test_a_folder_of_small_images_is_one_array(make_images: MakeImages, tmp_path: Path) -> None:
    root = make_images({"cat": 4, "ant": 3}, {"cat": 2, "ant": 1})
    data = image_folder(str(root), str(tmp_path / "data"), num_workers=2)
    assert isinstance(data.train, ArrayImages)
    assert data.class_names == ["ant", "cat"]
    assert data.image_shape == (3, 10, 12)
    assert data.train.targets.tolist() == [0] * 3 + [1] * 4
    expected = np.asarray(Image.open(root / "train" / "cat" / "002.png"))
    assert np.array_equal(data.train.batch([5])[0].numpy(), expected)
    assert np.array_equal(data.test.batch([0])[0].numpy(), np.asarray(Image.open(root / "test" / "ant" / "000.png")))


def test_decoding_happens_once_until_the_folder_changes(
    make_images: MakeImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_images({"a": 3, "b": 3}, {"a": 1, "b": 1}, name="images v1.0")
    read: list[Path] = []
    original = decoding.pixels

    def pixels(path: Path) -> NDArray[np.uint8]:
        read.append(path)
        return original(path)

    monkeypatch.setattr(decoding, "pixels", pixels)
    arguments = {"root": str(root), "data_dir": str(tmp_path / "data"), "num_workers": 0}
    first = image_folder(**arguments)  # type: ignore[arg-type]
    assert len(read) == 8
    second = image_folder(**arguments)  # type: ignore[arg-type]
    assert len(read) == 8
    assert torch.equal(first.train.batch([0, 5]), second.train.batch([0, 5]))
    changed = root / "train" / "a" / "001.png"
    Image.fromarray(np.full((10, 12, 3), 7, np.uint8)).save(changed)
    os.utime(changed, ns=(1, 1))
    third = image_folder(**arguments)  # type: ignore[arg-type]
    assert len(read) == 16
    assert third.train.batch([1]).unique().tolist() == [7]
    assert len(list((tmp_path / "data" / "cache").glob("images v1.0-*.npy"))) == 2


@pytest.mark.parametrize("case", ["sizes differ", "memory limit", "image_size"])
def test_other_folders_are_streamed(case: str, make_images: MakeImages, tmp_path: Path) -> None:
    root = make_images({"a": 3, "b": 3}, {"a": 2, "b": 1})
    options: dict[str, float] = {}
    if case == "sizes differ":
        Image.new("L", (40, 30), 99).save(root / "train" / "a" / "000.png")
        size = 224
    elif case == "memory limit":
        options, size = {"memory_limit": 9 * 12 * 10 * 3 - 1}, 224
    else:
        options, size = {"image_size": 16}, 16
    data = image_folder(str(root), str(tmp_path), num_workers=0, **options)
    assert isinstance(data.train, FileImages)
    assert data.image_shape == (3, size, size)
    assert data.train.batch([0, 4]).shape == (2, size, size, 3)
    assert torch.equal(data.test.batch([1]), data.test.batch([1]))
    centred = data.train.for_evaluation()
    assert torch.equal(centred.batch([2]), centred.batch([2]))


def test_resized_once_they_are_as_evaluated_when_streamed(
    make_images: MakeImages, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_images({"a": 3, "b": 3}, {"a": 2, "b": 1}, size=(40, 30))
    Image.new("L", (25, 61), 99).save(root / "train" / "a" / "000.png")
    arguments = {"root": str(root), "data_dir": str(tmp_path), "image_size": 16, "num_workers": 0}
    streamed = image_folder(**arguments)  # type: ignore[arg-type]
    kept = image_folder(**arguments, in_memory=True)  # type: ignore[arg-type]
    assert isinstance(kept.train, ArrayImages)
    assert kept.image_shape == streamed.image_shape == (3, 16, 16)
    assert kept.train.targets.tolist() == streamed.train.targets.tolist()
    for ours, theirs in ((kept.train, streamed.train), (kept.test, streamed.test)):
        every = range(len(ours))
        assert torch.equal(ours.batch(every), theirs.for_evaluation().batch(every))
    said = [*filter(None, capsys.readouterr().out.splitlines())]  # beside the progress bars
    assert said[0].startswith("dataset.image_size=16: 9 images are streamed, resized and cropped to 16 x 16")
    assert said[1].startswith("dataset.image_size=16: 9 images are resized once")
    with pytest.raises(ValueError, match=r"^memory_limit=6911: must be at least 6912 for in_memory=true"):
        image_folder(**arguments, in_memory=True, memory_limit=6911)  # type: ignore[arg-type]


def test_in_memory_needs_a_size(make_images: MakeImages, tmp_path: Path) -> None:
    root = make_images({"a": 1, "b": 1}, {"a": 1, "b": 1})
    assert image_folder(str(root), str(tmp_path / "d"), in_memory=True, num_workers=0).train.in_memory
    Image.new("L", (40, 30), 99).save(root / "train" / "a" / "000.png")
    with pytest.raises(ValueError, match=r"^in_memory=true: must have an image_size .* they have 2 sizes$"):
        image_folder(str(root), str(tmp_path / "d"), in_memory=True, num_workers=0)


def test_a_few_that_differ_by_some_pixels_are_resized_to_the_size_of_the_others(
    make_images: MakeImages, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_images({"a": 19, "b": 19}, {"a": 1, "b": 1}, size=(40, 30))
    for name, size in (("000", (42, 30)), ("001", (39, 33))):
        Image.new("RGB", size, (9, 8, 7)).save(root / "train" / "b" / f"{name}.png")
    data = image_folder(str(root), str(tmp_path / "data"), num_workers=0)
    assert data.train.in_memory
    assert data.image_shape == (3, 30, 40)
    assert data.train.batch([19, 20]).view(-1, 3).unique(dim=0).tolist() == [[9, 8, 7]]
    assert torch.equal(data.train.batch([0])[0], torch.from_numpy(np.array(Image.open(root / "train/a/000.png"))))
    said = capsys.readouterr().err
    assert said.startswith("warning: dataset.image_size=null: 2 images are resized by at most 10% to the size of")
    assert said.endswith("40 x 30: train/b/000.png, train/b/001.png\n")


@pytest.mark.parametrize(("sizes", "common"), [
    ([(40, 30)] * 19 + [(44, 27)], (40, 30)),
    ([(40, 30)] * 18 + [(44, 27)], None),  # 94.7 %
    ([(40, 30)] * 99 + [(45, 30)], None),
    ([(40, 30)] * 99 + [(30, 40)], None),
    ([(40, 30)], (40, 30)),
])  # fmt: skip
def test_the_common_size(sizes: list[tuple[int, int]], common: tuple[int, int] | None) -> None:
    assert common_size(sizes) == common


def test_files_that_are_not_taken_are_counted_and_named(
    make_images: MakeImages, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_images({"a": 2, "b": 2}, {"a": 1, "b": 1})
    for name in ("a/x.gif", "a/.hidden", "b/notes.txt", "loose.png"):
        (root / "train" / name).write_bytes(b"")
    image_folder(str(root), str(tmp_path / "data"), num_workers=0)
    named = "train/loose.png, train/a/x.gif, train/b/notes.txt"
    assert capsys.readouterr().err == f"warning: dataset.root={root}: 3 files are no images of a class: {named}\n"


@pytest.mark.parametrize("image_size", [None, 16])
def test_corrupt_files_are_named(image_size: int | None, make_images: MakeImages, tmp_path: Path) -> None:
    root = make_images({"a": 3, "b": 3}, {"a": 1, "b": 1}, size=(64, 64))
    whole = (root / "train" / "b" / "001.png").read_bytes()
    (root / "train" / "b" / "001.png").write_bytes(whole[: len(whole) // 2])
    (root / "test" / "a" / "000.png").write_text("no image at all")
    with pytest.raises(OSError, match=r"2 of 8 files|1 of 8 files") as caught:
        image_folder(str(root), str(tmp_path / "data"), image_size=image_size, num_workers=0)
    assert "test/a/000.png" in str(caught.value)
    (root / "test" / "a" / "000.png").write_bytes(whole)
    with pytest.raises(OSError, match=r"1 of 8 files .*train/b/001.png"):
        image_folder(str(root), str(tmp_path / "data"), image_size=image_size, num_workers=0)
    (root / "train" / "b" / "001.png").write_bytes(whole)
    assert len(image_folder(str(root), str(tmp_path / "data"), image_size=image_size, num_workers=0).train) == 6


def test_a_truncated_jpeg_is_found(make_images: MakeImages, tmp_path: Path) -> None:
    root = make_images({"a": 2, "b": 2}, {"a": 1, "b": 1}, size=(64, 64))
    target = root / "train" / "a" / "photo.jpg"
    Image.open(root / "train" / "a" / "000.png").save(target)
    target.write_bytes(target.read_bytes()[:-400])
    with pytest.raises(OSError, match=r"train/a/photo.jpg"):
        image_folder(str(root), str(tmp_path / "data"), image_size=16, num_workers=0)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ({"a": 0, "b": 0}, {"a": 1}, r"train/<class>/ must hold images"),
        ({"a": 1, "b": 1}, {"a": 0}, r"test/<class>/ must hold images"),
        ({"a": 1, "b": 1}, {"a": 1, "z": 1}, r"every class in test must be in train, which lacks z"),
        (
            {"a": 1, "b": 0, "c": 1},
            {"a": 1, "b": 1, "c": 1},
            r"^root=.*: must have images in train/ of every class.* b$",
        ),
        ({"a": 1, "b": 1}, {"a": 1, "b": 0}, r"^root=.*: must have images in test/ of every class, has none of b$"),
        (
            {"a": 1, "b": 1, "c": 1},
            {"b": 1},
            r"^root=.*: must have images in test/ of every class, has none of a, c$",
        ),
    ],
)
def test_incomplete_folders_are_refused(
    train: dict[str, int], test: dict[str, int], message: str, make_images: MakeImages, tmp_path: Path
) -> None:
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        image_folder(str(make_images(train, test)), str(tmp_path / "data"))


def test_missing_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"root=null: must be a directory"):
        image_folder(None, str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"root=.*nowhere: must be a directory"):
        image_folder(str(tmp_path / "nowhere"), str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"must have a directory train"):
        image_folder(str(tmp_path), str(tmp_path))
    (tmp_path / "train").mkdir()
    with pytest.raises(FileNotFoundError, match=r"must have a directory test"):
        image_folder(str(tmp_path), str(tmp_path))


def test_an_unwritable_cache_is_refused(make_images: MakeImages, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    root = make_images({"a": 1, "b": 1}, {"a": 1, "b": 1})
    with pytest.raises(OSError, match=r"data_dir=.*file: must be a writable directory"):
        image_folder(str(root), str(tmp_path / "file"), num_workers=0)
