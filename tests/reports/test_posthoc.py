"""The tables of adjustments without training: means over seeds."""

import math
from pathlib import Path

import pytest

from longtail import runs
from longtail.reports import posthoc
from longtail.reports.comparison import compare
from longtail.reports.formats import text

from ..conftest import Report, write_sweep


def write_adjusted(sweep: Path, *jobs: int) -> None:
    """Write what `longtail-eval posthoc=...` leaves in jobs of a sweep."""
    for job in jobs:
        directory = sweep / str(job) / "evaluation"
        directory.mkdir()
        plain: runs.Line = {"adjustment": "as trained", "parameter": math.nan, "chosen_on": "", "accuracy": 0.5}
        chosen = plain | {"adjustment": "tau_norm", "parameter": 0.4 + job / 10, "chosen_on": "held-out images"}
        runs.write_lines(directory / "posthoc.csv", [plain, chosen | {"accuracy": 0.6 + job / 10}])
        shifted: runs.Line = {"test_prior": "forward", "ratio": 50, "images": 135, "accuracy": 0.7 + job / 10}
        runs.write_lines(directory / "prior_shift.csv", [shifted])


def test_each_adjustment_has_its_mean_over_seeds(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", "loss=softmax,focal", "seed=0,1,2")
    assert posthoc.tables(compare([runs.read(path) for path in runs.find(sweep)])) == []
    write_adjusted(sweep, 0, 1, 2, 4)
    adjusted, shifted = posthoc.tables(compare([runs.read(path) for path in runs.find(sweep)]))
    assert [column.key for column in adjusted.columns] == ["loss", "adjustment", "chosen_on", "parameter", "accuracy"]
    assert [list(map(text, row)) for row in adjusted.rows] == [
        ["softmax", "as trained", "", "", "0.500 ± 0.000"],
        ["softmax", "tau norm", "held-out images", "0.500 ± 0.100", "0.700 ± 0.100"],
        ["focal", "as trained", "", "", "0.500 (n = 1)"],
        ["focal", "tau norm", "held-out images", "0.800 (n = 1)", "1.000 (n = 1)"],
    ]
    assert list(map(text, shifted.rows[0])) == ["softmax", "forward", "50", "135", "0.800 ± 0.100"]


@pytest.mark.usefixtures("undrawn")
def test_a_report_has_them(tmp_path: Path, report: Report) -> None:
    write_adjusted(write_sweep(tmp_path / "sweep", "loss=softmax,focal"), 0, 1)
    (tmp_path / "sweep/1/evaluation/posthoc.csv").write_text("a,b\n1,2\n")  # as if there were none
    assert report("sweep").code == 0
    for name in ("table.md", "report.html", "table.tex"):
        content = (tmp_path / "sweep/report" / name).read_text()
        assert "Without further training" in content
        assert "tau norm" in content
