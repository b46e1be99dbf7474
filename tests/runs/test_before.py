"""A run directory of the version before tasks, methods and stages, in `before/`, is read like any other."""

import shutil
from pathlib import Path

import pytest

from longtail import runs
from longtail.reports.comparison import compare

from ..conftest import Report

BEFORE = Path(__file__).parent / "before"


def test_it_has_a_result_and_measured_accuracy() -> None:
    run = runs.read(BEFORE)
    assert (run.status, run.task) == ("done", runs.CLASSIFICATION)
    assert run.test["accuracy"] == 0.1
    assert len(run.rows) == 10
    assert run.confusion is not None


def test_it_has_the_settings_that_have_been_added_since() -> None:
    settings = runs.read(BEFORE).settings
    assert (settings["method"], settings["model.head"], settings["model.width"]) == ("ordinary", "linear", "2")
    assert (settings["dataset.many"], settings["dataset.few"]) == ("100", "20")
    assert "published" not in settings


ADDED = """method:
  _target_: longtail.methods.Method
callbacks:
  stop_on_non_finite_loss:
    _target_: longtail.training.callbacks.StopOnNonFiniteLoss
    every_n_steps: 50
  curves:
    _target_: longtail.training.callbacks.Curves
  progress_bar:
    _target_: longtail.training.callbacks.ProgressBar
    lines: 10
"""


def later(directory: Path, seed: int) -> Path:
    """Write the same run as a later version would leave it, with another seed."""
    shutil.copytree(BEFORE, directory)
    for path, old, new in (
        (
            ".hydra/config.yaml",
            "published: null\n",
            ADDED,
        ),
        (".hydra/config.yaml", "  width: 2\n", "  width: 2\n  head: linear\n"),
        (".hydra/config.yaml", "\nseed: 0\n", f"\nseed: {seed}\n"),
        (".hydra/hydra.yaml", "    choices:\n", "    choices:\n      method: ordinary\n      callbacks: default\n"),
    ):
        text = (directory / path).read_text()
        assert old in text
        (directory / path).write_text(text.replace(old, new))
    metrics = runs.read_metrics(directory) or {}
    runs.write_metrics(directory, metrics | {"task": runs.CLASSIFICATION.as_json()})
    return directory


def test_with_a_later_seed_it_makes_one_cell(tmp_path: Path) -> None:
    found = compare([runs.read(BEFORE), runs.read(later(tmp_path / "later", seed=1))])
    [cell] = found.cells
    assert [run.seed for run in cell.runs] == [0, 1]
    assert found.differences == []


@pytest.mark.usefixtures("undrawn")
def test_a_report_has_both(tmp_path: Path, report: Report) -> None:
    later(tmp_path / "later", seed=1)
    done = report(BEFORE, tmp_path / "later", "--out", "out")
    assert done.code == 0, done.err
    assert "0.100 ± 0.000" in done.out
