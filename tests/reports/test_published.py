from pathlib import Path
from typing import Any

import pytest

from longtail import runs
from longtail.reports import published
from longtail.reports.comparison import Comparison, compare

from ..conftest import write_run

PAPER = {"source": "A paper", "setting": {"dataset": "cifar", "epochs": 10}}


def compared(
    tmp_path: Path, figures: Any, *methods: tuple[str, ...], setting: Any = PAPER["setting"], **given: Any
) -> Comparison:
    """Runs with accuracies 0.5, 0.6, ... of an experiment that gives a paper's figures."""
    entry = {"source": PAPER["source"], "setting": setting, "figures": figures}
    for job, overrides in enumerate(methods):
        write_run(tmp_path / str(job), *overrides, accuracy=0.5 + 0.1 * job, published=entry, **given)
    return compare([runs.read(path) for path in runs.find(tmp_path)])


NONE, BALANCED = ("reweight=none",), ("reweight=class_balanced",)


def test_a_figure_stands_beside_the_cell_with_its_options(tmp_path: Path) -> None:
    found = compared(tmp_path, [{"reweight": "class_balanced", "accuracy": 0.7, "accuracy_std": 0.2}], NONE, BALANCED)
    accuracy, spread = published.figures(found)
    assert (accuracy.metric, accuracy.value, accuracy.ours) == ("accuracy", 0.7, 0.6)
    assert (accuracy.candidates, accuracy.n) == (1, 1)
    assert accuracy.cell is found.cells[1]
    assert (spread.metric, spread.value, spread.ours) == (
        "accuracy_std",
        0.2,
        found.cells[1].runs[0].test["accuracy_std"],
    )


def test_options_that_no_run_varies_count_too(tmp_path: Path) -> None:
    figures = [{"loss": "softmax", "imbalance.ratio": 50.0, "accuracy": 0.7}, {"loss": "focal", "accuracy": 0.8}]
    [figure] = published.figures(compared(tmp_path, figures, NONE))
    assert figure.value == 0.7  # with the ratio 50 of the runs, and not the focal loss


def test_of_several_cells_the_best_is_taken_where_the_paper_took_it(tmp_path: Path) -> None:
    methods = (("loss=softmax",), ("loss=focal",))
    figures = [{"reweight": "none", "accuracy": 0.7, "accuracy_std": 0.1, "best_over": ["loss"]}]
    found = compared(tmp_path, figures, *methods)
    accuracy, spread = published.figures(found)
    assert (accuracy.ours, accuracy.candidates, accuracy.cell) == (0.6, 2, found.cells[1])
    assert spread.ours == min(run.test["accuracy_std"] for run in found.used if run.test["accuracy_std"] is not None)


def test_a_figure_that_fits_several_cells_stands_beside_none(tmp_path: Path) -> None:
    assert (
        published.figures(
            compared(tmp_path, [{"reweight": "none", "accuracy": 0.7}], ("loss=softmax",), ("loss=focal",))
        )
        == []
    )


def test_the_setting_decides_between_cells(tmp_path: Path) -> None:
    methods = (("imbalance.ratio=50",), ("imbalance.ratio=100",))
    figures = [{"reweight": "none", "accuracy": 0.7}]
    found = compared(tmp_path, figures, *methods, setting={"imbalance.ratio": 100})
    [figure] = published.figures(found)
    assert figure.ours == 0.6
    assert published.sources(found) == ["A paper"]


def test_a_deviation_of_another_experiments_runs_is_not_told(tmp_path: Path) -> None:
    figures = [{"reweight": "none", "accuracy": 0.7}]
    methods = (("reweight=none",), ("reweight=clipped_inverse", "reweight.low=2"))
    found = compared(tmp_path, figures, *methods, setting={"reweight.low": 1, "reweight": "none"})
    assert published.sources(found) == ["A paper"]


def test_a_difference_stands_beside_the_paired_one(tmp_path: Path) -> None:
    figures = [{"reweight": "class_balanced", "accuracy": 0.2, "over": {"sampler": "random", "reweight": "none"}}]
    [figure] = published.figures(compared(tmp_path, figures, NONE, BALANCED))
    assert figure.over == {"sampler": "random", "reweight": "none"}
    assert figure.ours == pytest.approx(0.1)


def test_a_difference_to_what_nobody_ran_is_left_out(tmp_path: Path) -> None:
    figures = [{"reweight": "class_balanced", "accuracy": 0.2, "over": {"sampler": "random", "reweight": "none"}}]
    methods = [("sampler=uniform_minibatch", *method) for method in (NONE, BALANCED)]
    assert published.figures(compared(tmp_path, figures, *methods)) == []


def test_failed_runs_have_no_figure(tmp_path: Path) -> None:
    found = compared(tmp_path, [{"reweight": "class_balanced", "accuracy": 0.7}], NONE, BALANCED)
    (tmp_path / "1/metrics.json").unlink()
    assert published.figures(compare([runs.read(path) for path in runs.find(tmp_path)])) == []
    assert published.figures(found)


def test_without_an_experiment_there_are_none(tmp_path: Path) -> None:
    found = compare([runs.read(write_run(tmp_path / "run"))])
    assert (published.figures(found), published.sources(found)) == ([], [])


def test_the_paper_is_named_once_with_what_is_not_its_setting(tmp_path: Path) -> None:
    assert published.sources(compared(tmp_path / "a", [], NONE, BALANCED)) == ["A paper"]
    short = [(*NONE, "epochs=5"), (*BALANCED, "epochs=5")]
    assert published.sources(compared(tmp_path / "b", [], *short)) == [
        "A paper; not the paper's setting: epochs 5 instead of 10"
    ]
    other = [(*NONE, "dataset=fashion"), (*BALANCED, "epochs=10.0")]
    assert published.sources(compared(tmp_path / "c", [], *other)) == [
        "A paper; not the paper's setting: dataset fashion, cifar instead of cifar"
    ]


@pytest.mark.parametrize(
    "figure", [{"reweight": "none", "accuracy": "high"}, "accuracy", {"reweight": "none"}, {"accuracy": 1, "over": 2}]
)
def test_a_figure_that_cannot_be_read_is_said_and_the_others_stay(tmp_path: Path, figure: Any) -> None:
    found = compared(tmp_path, [figure, {"reweight": "none", "accuracy": 0.7}], NONE)
    assert [f.value for f in published.figures(found)] == [0.7]
    assert published.sources(found)[1] == f"A paper: {figure}: must be OPTION: VALUE, ..., METRIC: NUMBER"
