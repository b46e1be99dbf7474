"""Reports on detectors: the same tables and page, in boxes and mAP, with their curves and pictures."""

import math
from base64 import b64encode
from pathlib import Path

import pytest

from longtail import figures, runs
from longtail.reports import summary
from longtail.reports.cells import Cell
from longtail.reports.comparison import Comparison, compare
from longtail.reports.notes import incomplete, sentences
from longtail.reports.pictures import MOST_EXAMPLES, Picture, panels_of, pictures
from longtail.reports.protocol import differences
from longtail.reports.published import published

from ..conftest import CONVENTION, DETECTION, Report, write_detection_run, write_run

LOSSES = ("cross_entropy", "focal", "alpha_focal")


def swept(directory: Path, *overrides: str, losses: tuple[str, ...] = LOSSES, seeds: int = 2) -> Comparison:
    """Compare detectors by loss, with 0.1 more mAP from loss to loss and 0.01 from seed to seed."""
    for at, loss in enumerate(losses):
        for seed in range(seeds):
            given = (f"detection_loss={loss}", f"seed={seed}", *overrides)
            write_detection_run(directory / f"{loss}-{seed}", *given, mAP=0.5 + 0.1 * at + 0.01 * seed)
    return compare([runs.read(path) for path in runs.find(directory)])


def shown(compared: Comparison) -> dict[str, Picture]:
    baseline = compared.default_baseline()
    return {picture.name: picture for picture in pictures(compared, baseline, panels_of(compared, baseline))}


def test_losses_stand_in_a_table_beside_cross_entropy(tmp_path: Path) -> None:
    compared = swept(tmp_path)
    assert compared.options == ["detection_loss"]
    assert compared.differences == []
    assert compared.default_baseline() == {"detection_loss": "cross_entropy"}
    table = summary.combinations(compared, compared.default_baseline(), published(compared))
    assert [c.title for c in table.columns[:6]] == [
        *("detection_loss", "runs", "mAP", "std over classes", "worst class", "many"),
    ]
    every = summary.every_run(compared)
    assert {"mAP_75", "mAP_50_95"} <= {column.title for column in every.columns}
    notes = sentences(compared, {}, published(compared))
    assert [CONVENTION in note for note in notes].count(True) == 1
    assert any("std over classes is the population standard deviation of the AP" in note for note in notes)


def test_a_run_of_a_detector_has_no_method_and_no_setting_of_one(tmp_path: Path) -> None:
    settings = runs.read(write_detection_run(tmp_path / "run")).settings
    assert not [name for name in settings if name.startswith(("method", "model", "callbacks"))]
    assert settings["detection_loss.alpha"] == "0.25"


@pytest.mark.parametrize(
    ("override", "facts"),
    [
        ("detector=faster_rcnn", {"anchors": None, "parameters": 457_000}),
        ("imbalance=none", {"train_boxes_sha256": "b" * 64, "class_counts": [9] * 4, "boxes_seen": 5, "steps": 5}),
        ("detection_data=voc_folder", {"train_boxes_sha256": "b" * 64, "anchors": 6320, "augmentation": {"x": 1}}),
        ("epochs=20", {"steps": 20, "boxes_seen": 99}),
        ("box_weight=2", {"box_weight": 2}),
    ],
)
def test_what_an_option_must_change_is_no_difference(tmp_path: Path, override: str, facts: dict[str, object]) -> None:
    name = override.partition("=")[0]
    write_detection_run(tmp_path / "a")
    write_detection_run(tmp_path / "b", override, facts=facts)
    pair = [runs.read(tmp_path / run) for run in "ab"]
    settings = {setting for run in pair for setting in run.settings if setting.partition(".")[0] == name}
    assert differences(pair, settings) == []
    told = {difference.what.partition(".")[0] for difference in differences(pair, [])}
    assert {name, *facts} <= told


def test_a_detector_has_its_own_pictures(tmp_path: Path) -> None:
    found = shown(swept(tmp_path))
    assert list(found) == [
        *("methods", "by_class", "classes", "by_count", "weights", "boundary", "precision_recall", "loss_shares"),
        *("examples-0", "examples-1", "examples-2", "focal"),
    ]
    assert "training boxes" in found["by_count"].caption.lower()
    assert found["examples-1"].caption == "Boxes of test images: cross_entropy."
    assert found["examples-1"].draw() == tmp_path / "cross_entropy-0" / "figures" / "examples.png"


def test_curves_are_of_a_run_and_shares_of_all_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {}
    for name in ("precision_recall", "loss_shares"):
        monkeypatch.setattr(figures, name, lambda values, name=name: given.update({name: values}))
    found = shown(swept(tmp_path, losses=("focal",)))
    found["precision_recall"].draw()
    found["loss_shares"].draw()
    assert given["precision_recall"] == {"": runs.read_precision_recall(tmp_path / "focal-0")}
    one, other = (runs.read_loss_shares(tmp_path / f"focal-{seed}")["easy_negatives"] for seed in (0, 1))
    means = [(a + b) / 2 for a, b in zip(one, other, strict=True)]
    assert given["loss_shares"][""][0]["easy_negatives"] == pytest.approx(means)


def test_runs_that_diverged_are_drawn_with_those_that_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, list[dict[str, list[float]]]] = {}
    monkeypatch.setattr(figures, "loss_shares", given.update)
    for seed in (0, 1):
        broken = write_run(
            tmp_path / f"z{seed}", "detection_loss=gone", f"seed={seed}", accuracy=None, groups=DETECTION
        )
        (broken / "failure.txt").write_text("train/loss is not finite at step 6")
        runs.write_loss_shares(broken, {"step": [5, 6], "loss": [9.0, math.nan if seed else 8.0]})
    compared = swept(tmp_path, losses=("focal",), seeds=1)
    shown(compared)["loss_shares"].draw()
    assert {loss: len(columns) for loss, columns in given.items()} == {"focal": 1, "gone": 1}
    assert math.isnan(given["gone"][0]["loss"][-1])
    assert [cell.incomplete for cell in compared.cells] == [0, 2]
    assert sum("not finite at step 6" in line for line in incomplete(compared.runs)) == 2


def test_what_a_run_has_not_left_is_left_out(tmp_path: Path) -> None:
    compared = swept(tmp_path, losses=("focal",), seeds=1)
    for name in ("precision_recall.csv", "loss_shares.csv", "figures/examples.png"):
        (tmp_path / "focal-0" / name).unlink()
    assert not {"precision_recall", "loss_shares", "examples-0"} & set(shown(compared))


def test_shares_of_other_steps_are_not_mixed(tmp_path: Path) -> None:
    for seed, foreground in enumerate(([0.5, math.nan], [9.0])):
        columns: dict[str, list[float]] = {"step": [0.0, 10.0][: len(foreground)], "foreground": foreground}
        runs.write_loss_shares(write_detection_run(tmp_path / f"{seed}"), columns)
    shares = Cell({}, [runs.read(tmp_path / "0"), runs.read(tmp_path / "1")]).loss_shares()
    assert shares["step"] == [0, 10]
    assert shares["foreground"] == pytest.approx([0.5, math.nan], nan_ok=True)


def test_of_many_methods_some_examples_are_shown(tmp_path: Path) -> None:
    losses = tuple(f"loss_{i}" for i in range(MOST_EXAMPLES + 1))
    found = shown(swept(tmp_path, losses=losses, seeds=1))
    assert len([name for name in found if name.startswith("examples")]) == MOST_EXAMPLES
    assert f"The first {MOST_EXAMPLES} of {MOST_EXAMPLES + 1} methods" in found["examples-0"].caption


@pytest.mark.usefixtures("sketched")
def test_the_page_has_the_picture_of_a_run_as_it_is(tmp_path: Path, report: Report) -> None:
    swept(tmp_path / "sweep", losses=("focal",), seeds=1)
    done = report("sweep")
    assert done.code == 0, done.err
    picture = (tmp_path / "sweep/focal-0/figures/examples.png").read_bytes()
    out = tmp_path / "sweep/report"
    assert (out / "figures/examples-0.png").read_bytes() == picture
    assert f"data:image/png;base64,{b64encode(picture).decode()}" in (out / "report.html").read_text()
    assert report("sweep", "--force").code == 0


def test_the_papers_figures_stand_beside_the_three_detectors(tmp_path: Path) -> None:
    jobs = {
        "0": ("detector=small", "detection_loss=cross_entropy"),
        "1": ("detector=faster_rcnn", "detection_loss=cross_entropy"),
        "2": ("detector=small", "detection_loss=alpha_focal"),
    }
    for name, overrides in jobs.items():
        write_detection_run(tmp_path / name, *overrides, experiment="hong2021")
    compared = compare([runs.read(path) for path in runs.find(tmp_path)])
    found = published(compared)
    assert {figure.cell.runs[0].directory.name: figure.value for figure in found.figures} == {
        **{"0": 0.54, "1": 0.597, "2": 0.611},
    }
    [source] = found.sources
    assert "other data" in source
    table = summary.combinations(compared, compared.default_baseline(), found)
    differences = [column.title for column in table.columns].index("mAP: difference")
    assert [row[differences] is not None for row in table.rows] == [False, True, True]
