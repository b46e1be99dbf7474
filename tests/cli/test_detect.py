"""Detection from the command line: a run, its evaluation, a sweep, what is refused, and boxes for a folder."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from longtail import runs
from longtail.cli import detect, evaluate, export, parts, predict, saved
from longtail.cli import report as report_command
from longtail.detection import prediction
from longtail.detection.prediction import Predictor
from longtail.detection.scenes import letterbox
from longtail.models.weights import are_left_out

from ..conftest import Finished, Outcome, enter, metrics, outcome

TINY = [
    "detection_data.objects_per_class=40",
    "detection_data.validation_images=6",
    "detection_data.test_images=10",
    "detection_data.image_size=64",
    "detection_data.digits_per_image=[1, 2]",
    "imbalance.ratio=10",
    "detector.channels=8",
    "detector.convs=1",
    "detector.prior=0.3",
    "detector.backbone.widths=[8, 8, 8, 8]",
    "epochs=2",
    "logger=none",
]


def call(program: Any, capfd: pytest.CaptureFixture[str], *overrides: str) -> Outcome:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", ["longtail-detect", *overrides])
        return outcome(program.main, capfd)


@pytest.fixture(scope="module")
def detected(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A finished training of a detector, to look at alone."""
    import contextlib
    import io

    place = tmp_path_factory.mktemp("detected")
    with pytest.MonkeyPatch.context() as monkeypatch, contextlib.redirect_stdout(io.StringIO()) as out:
        enter(place, monkeypatch)
        monkeypatch.setattr(sys, "argv", ["longtail-detect", f"hydra.run.dir={place}/run", *TINY])
        detect.main()
    return Finished(place / "run", out.getvalue())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    enter(tmp_path, monkeypatch)
    return tmp_path


def test_a_run_says_what_it_trains_and_leaves_what_a_run_leaves(detected: Finished) -> None:
    found = metrics(detected.directory)
    counts = found["fingerprint"]["class_counts"]
    assert (counts[0], counts[-1]) == (40, 4)
    assert f"{sum(counts)} boxes in " in detected.out
    assert "10 classes, 40 to 4 per class (ratio 10)" in detected.out
    assert "320 anchors an image of 64 x 64, anchor recall at IoU 0.5: 0." in detected.out
    assert found["task"]["primary"] == "mAP"
    assert found["task"]["counted"] == "boxes"
    assert "101-point" in found["task"]["convention"]
    rows = runs.read_per_class(detected.directory)
    scores = [row.score for row in rows]
    assert found["test"]["mAP"] == pytest.approx(sum(scores) / 10)
    assert found["test"]["mAP"] > 0
    assert found["test"]["mAP_50_95_large"] is None
    assert found["val"]["mAP"] is not None
    assert sum(row.test_count for row in rows) >= 10
    assert found["drawn_per_class"] == [2 * count for count in counts]
    assert found["fingerprint"]["boxes_seen"] == 2 * sum(counts)
    assert (found["options"]["detector"], found["options"]["detection_loss"]) == ("small", "alpha_focal")
    recall, precision = runs.read_precision_recall(detected.directory)
    assert len(recall) == 101
    assert {name: sum(curve) / 101 for name, curve in precision.items()} == pytest.approx(
        {row.class_name: row.score for row in rows}
    )
    shares = runs.read_loss_shares(detected.directory)
    assert shares["step"][0] == 1
    assert all(0 <= share <= 1 for share in [*shares["easy_negatives"], *shares["foreground"]])
    drawn = {path.stem for path in (detected.directory / "figures").glob("*.png")}
    assert drawn == {"classes", "by_count", "box", "examples", "precision_recall", "cumulative_loss", "loss_shares"}


def test_its_evaluation_gives_the_same_numbers(
    detected: Finished, here: Path, capfd: pytest.CaptureFixture[str], sketched: None
) -> None:
    run_dir = shutil.copytree(detected.directory, here / "run")
    done = call(evaluate, capfd, f"run_dir={run_dir}", "accelerator=cpu")
    assert done.code == 0, done.err
    assert "the same numbers as the run" in done.out
    assert (run_dir / "evaluation" / "precision_recall.csv").exists()


def test_its_predictions_are_not_adjusted(detected: Finished, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = call(evaluate, capfd, f"run_dir={detected.directory}", "posthoc=temperature")
    assert done.error == "posthoc=[temperature]: must be null for a detector, which has no logits per image"


def test_the_same_seed_gives_the_same_detector(
    detected: Finished, here: Path, capfd: pytest.CaptureFixture[str], sketched: None
) -> None:
    done = call(detect, capfd, *TINY, f"hydra.run.dir={here}/again")
    assert done.code == 0, done.err
    assert metrics(here / "again")["test"] == metrics(detected.directory)["test"]


def test_what_goes_with_a_classifier_goes_with_a_detector(
    here: Path, capfd: pytest.CaptureFixture[str], sketched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[str] = []

    def compiled(call: object, mode: str) -> object:
        modes.append(mode)
        return call

    monkeypatch.setattr(torch, "compile", compiled)
    asked = ["callbacks=ema", "reweight=deferred", "reweight.start=0.5", "selection=best_validation"]
    asked += ["compile=default", "trainer=debug", f"hydra.run.dir={here}/run"]
    done = call(detect, capfd, *TINY, *asked)
    assert done.code == 0, done.err
    assert modes == ["default"]
    assert runs.read_loss_shares(here / "run")["step"] == [1, 2, 3, 4]
    assert (here / "run" / "checkpoints" / "best.ckpt").is_file()
    assert len({row.weight for row in runs.read_per_class(here / "run")}) > 1


def test_a_sweep_is_completed_and_reported(here: Path, capfd: pytest.CaptureFixture[str], sketched: None) -> None:
    sweep = ["-m", *TINY, "epochs=1", f"hydra.sweep.dir={here}/sweep", "hydra.launcher.at_once=1", "seed=0"]
    done = call(detect, capfd, *sweep, "detection_loss=cross_entropy,hard_negative_mining")
    assert done.code == 0, done.err
    assert "mAP" in done.out
    again = call(detect, capfd, *sweep, "detection_loss=cross_entropy,hard_negative_mining,focal")
    assert again.code == 0, again.err
    assert sorted(run.choices["detection_loss"] for run in map(runs.read, runs.find(here / "sweep"))) == [
        "cross_entropy",
        "focal",
        "hard_negative_mining",
    ]
    said = outcome(lambda: report_command.main([str(here / "sweep")]), capfd)
    assert said.code == 0, said.err
    assert "hard_negative_mining" in said.out
    assert "boxes" in (here / "sweep" / "report" / "report.html").read_text()


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["detection_loss.alpha=1.5"], "detection_loss.alpha=1.5: must be"),
        (["detection_loss.gamma=-1"], "detection_loss.gamma=-1: must be"),
        (["box_weight=-1"], "box_weight=-1.0: must be a finite number >= 0"),
        (["box_weight=inf"], "box_weight=inf: must be a finite number >= 0"),
        (["loss=focal"], "loss: a group of longtail alone; longtail-detect has detection_loss"),
        (["detector.anchors.octaves=100000"], "detector.anchors.octaves=100000: must give 1,000,000 anchors"),
        (["detector.prior=1"], "detector.prior=1: must be in (0, 1)"),
        (["detector.norm=frozen"], "detector.norm=frozen: must be"),
        (["reweight=class_balanced", "reweight.beta=2"], "reweight.beta=2: must be"),
        (["batch_size=9999"], "batch_size=9999: must be in [1,"),
        (["detector.anchors.levels=[3, 9]"], "detector.anchors.levels=[3, 9]: must be consecutive"),
        (["detection_data=voc_folder", "imbalance=none"], "detection_data.root=null: must be a directory"),
        (["selection=best_validation", "detection_data.validation_images=0"], "selection=best_validation: must have"),
        (["reduction=batch_mean"], "reduction=batch_mean: no such setting"),
        (["detector=faster_rcnn"], "detector: must have detection_loss=cross_entropy and reweight=none"),
        (["detection_data.digits_per_image=3"], "detection_data.digits_per_image=3: must be a list of numbers"),
        (["detection_loss=nope"], "detection_loss=nope: must be one of"),
    ],
)
def test_bad_input_is_one_line(
    overrides: list[str], line: str, here: Path, capfd: pytest.CaptureFixture[str], sketched: None
) -> None:
    chosen = tuple(override.partition("=")[0] for override in overrides if "." not in override.partition("=")[0])
    own = [given for given in TINY if not given.startswith(tuple(f"{group}." for group in chosen))]
    done = call(detect, capfd, *own, *overrides, f"hydra.run.dir={here}/run")
    assert done.code == 1
    assert done.error.startswith(line), done.error
    assert not (here / "run").exists()


def test_anchors_that_do_not_fit_are_warned_of(here: Path, capfd: pytest.CaptureFixture[str], sketched: None) -> None:
    done = call(detect, capfd, *TINY, "trainer=debug", "detector.anchors.sizes=[4, 6]", f"hydra.run.dir={here}/run")
    assert done.code == 0, done.err
    assert "warning: detector=small: its anchors cover only 0." in done.err


def to_predict(detected: Finished, here: Path, *names: str, size: tuple[int, int] = (64, 64)) -> list[str]:
    """Make images of noise, and return the overrides with which boxes are found in them."""
    for name in names:
        (here / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise(size, 80).convert("RGB").save(here / "images" / name)
    return [f"run_dir={detected.directory}", f"images={here}/images", f"out={here}/out", "accelerator=cpu"]


def test_a_detector_is_not_exported(detected: Finished, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done = call(export, capfd, f"run_dir={detected.directory}", "out=out")
    assert done.error == f"run_dir={detected.directory}: must be a run of a classifier, not of a detector"
    assert not (here / "out").exists()


def pictures_in(out: Path) -> set[str]:
    return {str(path.relative_to(out / "drawn")) for path in (out / "drawn").rglob("*.png")}


def test_boxes_for_a_folder(detected: Finished, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    to_predict(detected, here, "a.png")
    asked = [*to_predict(detected, here, "below/b.jpg", size=(200, 100)), "score=0.05"]
    (here / "images" / "below" / "notes.txt").touch()
    done = call(predict, capfd, *asked)
    assert done.code == 0, done.err
    assert f"warning: images={here}/images: 1 files are no images: below/notes.txt\n" in done.err
    found = json.loads((here / "out" / "boxes.json").read_text())
    assert [image["file"] for image in found["images"]] == ["a.png", "below/b.jpg"]
    boxes = [one for image in found["images"] for one in image["boxes"]]
    assert boxes
    assert {one["class"] for one in boxes} <= set(map(str, range(10)))
    x1, y1, x2, y2 = torch.tensor([one["box"] for one in found["images"][1]["boxes"]] or [[0, 0, 1, 1]]).T
    assert bool(((x1 >= 0) & (y1 >= 0) & (x2 <= 200) & (y2 <= 100) & (x1 < x2) & (y1 < y2)).all())
    assert Image.open(here / "out" / "drawn" / "below" / "b.jpg.png").size == (200, 100)
    assert call(predict, capfd, *asked).error.startswith(f"out={here}/out: must not hold predictions")
    assert call(predict, capfd, *asked, "overwrite=true").code == 0


def test_boxes_are_those_of_the_canvas_in_pixels_of_the_image(detected: Finished, tmp_path: Path) -> None:
    cfg = saved.read(detected.directory, "config.yaml")
    made = parts.parts(cfg)
    canvases = made["detection_data"](made["imbalance"]).test.batch(range(3))
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path, canvas in zip(paths, canvases[[0, 1, 2, 2]], strict=True):
        Image.fromarray(canvas[..., 0].numpy()).save(path)
    Image.open(paths[3]).resize((128, 128)).save(paths[3])
    large = torch.from_numpy(letterbox(paths[3], (64, 64))[0])[None, ..., :1]
    left_out = []  # the weights that a backbone would start from: a checkpoint has them all

    def detector(*arguments: Any, **facts: Any) -> Any:
        left_out.append(are_left_out())
        return made["detector"](*arguments, **facts)

    predictor = Predictor.of_run(detected.directory, {**made, "detector": detector}, cfg.selection)
    assert left_out == [True]
    with torch.inference_mode():
        wanted = predictor.module.method.predict(predictor.module.normalize(torch.cat((canvases, large))))
    found = predictor.find(paths, 0.0, batch_size=3)
    for own, one, scale in zip(found, wanted, (1, 1, 1, 2), strict=True):
        assert [box["score"] for box in own] == pytest.approx(one.scores.tolist(), abs=1e-4)
        torch.testing.assert_close(torch.tensor([box["box"] for box in own]), one.boxes * scale, atol=0.02, rtol=0)
        assert [box["class"] for box in own] == [str(label) for label in one.labels.tolist()]


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (["images=null"], "images=null: must be a folder of images"),
        (["images=images"], "images=images: must be a folder of images ("),
        (["images=broken"], "images=broken/a.png: must be a readable image"),
        (["images=5"], "images=5: must be a folder of images"),
        (["images=.", "score=2"], "score=2: must be in [0, 1]"),
        (["images=.", "score=true"], "score=true: must be in [0, 1]"),
        (["images=.", "drawn=-1"], "drawn=-1: must be a whole number >= 0"),
        (["images=.", "overwrite=maybe"], "overwrite=maybe: must be true or false"),
        (["images=.", "scor=0.1"], "scor=0.1: no such setting; did you mean score?"),
        (["images=images", "out=broken/a.png"], "out=broken/a.png: must be a writable directory"),
        (["images=images", "out=broken/a.png/below"], "out=broken/a.png/below: must be a writable directory"),
        (["images=images", "out=/proc/longtail"], "out=/proc/longtail: must be a writable directory"),
        (["images=images", "run_dir=null"], "run_dir=null: must be the directory of a run"),
        (["images=broken", "-m"], "images=broken/a.png: must be a readable image"),
        (["images=images", "accelerator=abacus"], "accelerator=abacus: must be one that this machine has"),
    ],
)
def test_predictions_that_cannot_be_made_leave_nothing(
    asked: list[str], line: str, detected: Finished, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (here / "images" / "folder.png").mkdir(parents=True)
    if {"broken", "broken/a.png", "broken/a.png/below"} & {value.partition("=")[2] for value in asked}:
        (here / "broken").mkdir()
        (here / "broken" / "a.png").write_text("no image")
    done = call(predict, capfd, f"run_dir={detected.directory}", f"out={here}/out", *asked)
    assert done.code == 1
    assert done.error.startswith(line), done.error
    assert not (here / "out").exists()


def test_predictions_are_replaced_with_their_pictures_and_nothing_else(
    detected: Finished, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    long = [f"{'x' * 248}{end}.png" for end in "12"]
    asked = [*to_predict(detected, here, "a.png", *long), "score=1"]
    done = call(predict, capfd, *asked)
    assert done.code == 0, done.err
    assert "0 boxes of score 1 or more (score= lowers that) in 3 images" in done.out
    assert len(pictures_in(here / "out")) == 3
    for name in long:
        (here / "images" / name).unlink()
    (here / "out" / "drawn" / "mine.png").write_text("")
    to_predict(detected, here, "b.png")
    assert call(predict, capfd, *asked, "overwrite=true", "drawn=1").code == 0
    assert pictures_in(here / "out") == {"a.png.png", "mine.png"}


def test_a_prediction_that_is_stopped_is_not_taken_for_a_whole_one(
    detected: Finished, here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = prediction.draw

    def stopped(path: Path, found: Any) -> Image.Image:
        if path.name == "b.png":
            os.kill(os.getpid(), signal.SIGTERM)
        return draw(path, found)

    asked = to_predict(detected, here, "a.png", "b.png")
    with monkeypatch.context() as within:
        within.setattr(prediction, "draw", stopped)
        done = call(predict, capfd, *asked)
    assert (done.code, done.err) == (143, "stopped\n")
    assert not (here / "out" / "boxes.json").exists()
    assert pictures_in(here / "out") == set()
    (here / "images" / "a.png").unlink()
    assert call(predict, capfd, *asked).code == 0
    assert pictures_in(here / "out") == {"b.png.png"}


def edited(entry: str, value: object) -> Callable[[Path], object]:
    """Return what sets an entry of a run's metrics, or of their fingerprint."""

    def edit(run_dir: Path) -> None:
        found = metrics(run_dir)
        (found if entry in found else found["fingerprint"])[entry] = value
        (run_dir / "metrics.json").write_text(json.dumps(found))

    return edit


def rewritten(line: str, damaged: str) -> Callable[[Path], object]:
    """Return what rewrites a line of a run's settings."""

    def rewrite(run_dir: Path) -> None:
        config = run_dir / ".hydra" / "config.yaml"
        config.write_text(config.read_text().replace(f"\n{line}", f"\n{damaged}"))

    return rewrite


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda run: (run / "metrics.json").unlink(), "its metrics.json is missing"),
        (lambda run: (run / "per_class.csv").unlink(), "its per_class.csv cannot be read"),
        (lambda run: (run / "per_class.csv").write_bytes(b"\xff\0"), "its per_class.csv cannot be read"),
        (lambda run: (run / "per_class.csv").write_text("a,b\n"), "its per_class.csv cannot be read"),
        (edited("fingerprint", None), "its metrics.json"),
        (edited("fingerprint", "image_shape"), "its metrics.json"),
        (edited("image_shape", [1, 64]), "its metrics.json"),
        (edited("image_shape", [1, 0, "64"]), "its metrics.json"),
        (rewritten("eval_batch_size: 50", "eval_batch_size: 0"), "its eval_batch_size=0 must be a whole number >= 1"),
        (rewritten("selection: last", "selection: [1]"), "its selection=[1] must be one of last, best_validation"),
    ],
)
def test_a_damaged_run_is_refused(
    damage: Callable[[Path], object], reason: str, detected: Finished, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run_dir = shutil.copytree(detected.directory, here / "run")
    damage(run_dir)
    done = call(predict, capfd, *to_predict(detected, here, "a.png"), f"run_dir={run_dir}")
    assert done.code == 1
    assert done.error.startswith(f"run_dir={run_dir}: must be a finished run of longtail-detect: {reason}")
    assert not (here / "out").exists()
