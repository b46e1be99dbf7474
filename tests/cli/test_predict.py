"""`longtail-predict` for classifiers: what it leaves, what it says, what it refuses."""

import csv
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import longtail
from longtail.cli import predict
from longtail.datasets import digits
from longtail.errors import InputError
from longtail.inference.folders import classify, images_in

from ..conftest import Cli, Finished, MakeImages, Outcome, enter, metrics, outcome

Call = Callable[..., Outcome]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    enter(tmp_path, monkeypatch)

    def run(*overrides: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["longtail-predict", "accelerator=cpu", *overrides])
        return outcome(predict.main, capfd)

    return run


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Five of the test images as files, the third one with the name of a formula."""
    folder = tmp_path / "images"
    (folder / "below").mkdir(parents=True)
    for name, image in zip(
        ["0.png", "1.png", "=2.png", "below/3.png", "4.bmp"], digits().test.batch(range(0, 500, 100)), strict=True
    ):
        Image.fromarray(image[..., 0].numpy()).save(folder / name)
    return folder


def rows_in(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_folder_is_classified(finished: Finished, images: Path, tmp_path: Path, call: Call) -> None:
    done = call(f"run_dir={finished.directory}", f"images={images}", "out=out", "top_k=3", "least_certain=2")
    assert done.code == 0, done.err
    assert done.out.endswith("5 images classified\nfiles in out\n")
    rows = rows_in(tmp_path / "out")
    assert [row["file"] for row in rows] == ["0.png", "1.png", "4.bmp", "'=2.png", "below/3.png"]
    assert list(rows[0]) == ["file", "class", "probability", "class_2", "probability_2", "class_3", "probability_3"]
    model, class_names, transform = longtail.load(finished.directory)
    test = digits().test.batch(range(0, 500, 100))[[0, 1, 4, 2, 3]]
    for row, wanted in zip(rows, model.probabilities(transform(test)), strict=True):
        values, classes = wanted.topk(3)
        assert [row["class"], row["class_2"], row["class_3"]] == [class_names[c] for c in classes]
        assert [float(row[f"probability{n}"]) for n in ("", "_2", "_3")] == pytest.approx(values.tolist(), abs=2e-6)
    with Image.open(tmp_path / "out" / "least_certain.png") as picture:
        assert picture.width > picture.height > 100
    again = call(f"run_dir={finished.directory}", f"images={images}", "out=out")
    assert again.error == "out=out: must not hold predictions, or overwrite=true"
    replaced = ["out=out", "overwrite=true", "top_k=99", "least_certain=0"]
    assert call(f"run_dir={finished.directory}", f"images={images}", *replaced).code == 0
    assert len(rows_in(tmp_path / "out")[0]) == 1 + 2 * 10
    assert not (tmp_path / "out" / "least_certain.png").exists()


def test_files_are_read_as_those_of_the_test(cli: Cli, make_images: MakeImages, run_dir: Path, call: Call) -> None:
    root = make_images({"a": 12, "b": 12, "c": 12}, {"a": 6, "b": 6, "c": 6}, size=(30, 22))
    asked = ["dataset=image_folder", f"dataset.root={root}", "dataset.image_size=16", "dataset.num_workers=0"]
    asked += ["imbalance=none", "model.width=4", "epochs=2", "batch_size=6", "trainer.precision=32-true"]
    assert cli(*asked, f"hydra.run.dir={run_dir}").code == 0
    assert call(f"run_dir={run_dir}", f"images={root / 'test'}", "top_k=3", "least_certain=0").code == 0
    rows = rows_in(run_dir / "predictions")
    likely = [
        float(next(row[f"probability{n}"] for n in ("", "_2", "_3") if row[f"class{n}"] == row["file"][0]))
        for row in rows
    ]
    assert len(rows) == 18
    assert -np.log(likely).mean() == pytest.approx(metrics(run_dir)["test"]["nll"], abs=1e-4)


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (["top_k=0"], "top_k=0: must be a whole number >= 1"),
        (["least_certain=-1"], "least_certain=-1: must be a whole number >= 0"),
        (["top_k=x"], "top_k=x: must be a whole number >= 1"),
        (["tok_k=1"], "tok_k=1: no such setting; did you mean top_k?"),
        (["out={images}/out"], "out={images}/out: must not lie in images={images}"),
        (["images=empty"], "images=empty: must be a folder of images ("),
        (
            [],
            "images={images}: 2 of 7 files are not readable images; repair or remove a.png (UnidentifiedImageError",
        ),
    ],
)
def test_what_cannot_be_predicted_leaves_nothing(
    asked: list[str], line: str, finished: Finished, images: Path, tmp_path: Path, call: Call
) -> None:
    (tmp_path / "empty").mkdir()
    (images / "a.png").write_text("no image")
    (images / "z.jpg").touch()
    asked = [one.replace("{images}", str(images)) for one in asked]
    done = call(f"run_dir={finished.directory}", f"images={images}", f"out={tmp_path}/new/out", *asked)
    assert done.code == 1
    assert done.error.startswith(line.replace("{images}", str(images))), done.error
    assert not (tmp_path / "new").exists()


def test_a_bad_file_leaves_earlier_predictions_alone(
    finished: Finished, images: Path, tmp_path: Path, call: Call
) -> None:
    asked = [f"run_dir={finished.directory}", f"images={images}", "out=out"]
    assert call(*asked, "least_certain=1").code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (images / "z.png").write_text("no image")
    assert call(*asked, "overwrite=true").code == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_name_that_is_no_utf_8_is_written_as_far_as_it_is(finished: Finished, images: Path, call: Call) -> None:
    os.rename(images / "1.png", os.fsencode(images) + b"/\xff.png")
    assert call(f"run_dir={finished.directory}", f"images={images}", "out=out", "least_certain=1").code == 0
    assert rows_in(Path("out"))[-1]["file"] == "\ufffd.png"


def test_a_folder_that_cannot_be_read_is_not_left_out(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(folder: Path, onerror: Callable[[OSError], None]) -> Iterator[tuple[str, list[str], list[str]]]:
        yield str(folder), ["below"], ["0.png"]
        onerror(PermissionError(13, "Permission denied", "below"))

    monkeypatch.setattr(os, "walk", walk)
    with pytest.raises(InputError, match=r"^images=.*: must be readable with all that is in it \(.*'below'\)"):
        images_in(images)


def test_weights_that_are_not_finite_are_refused(finished_run: Path, images: Path, call: Call) -> None:
    path = finished_run / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"]["method.model.head.bias"][0] = torch.nan
    torch.save(checkpoint, path)
    done = call(f"run_dir={finished_run}", f"images={images}")
    assert done.error == f"checkpoint={path}: must have finite weights, method.model.head.bias is not"


def test_batches_do_not_matter(finished: Finished, images: Path) -> None:
    loaded, paths = longtail.load(finished.directory), images_in(images)
    one, all_at_once = (list(classify(loaded, images, paths, 2, size)) for size in (2, 500))
    assert [p.path for p in one] == [p.path for p in all_at_once] == paths
    assert [p.classes for p in one] == [p.classes for p in all_at_once]
    values = (torch.tensor([p.probabilities for p in found]) for found in (one, all_at_once))
    torch.testing.assert_close(*values)
