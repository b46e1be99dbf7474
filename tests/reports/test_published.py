from pathlib import Path
from typing import Any

import pytest

from longtail import runs
from longtail.reports.comparison import Comparison, compare
from longtail.reports.published import published

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
    accuracy, spread = published(found).figures
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
    [figure] = published(compared(tmp_path, figures, NONE)).figures
    assert figure.value == 0.7  # with the ratio 50 of the runs, and not the focal loss


def test_of_several_cells_the_best_is_taken_where_the_paper_took_it(tmp_path: Path) -> None:
    methods = (("loss=softmax",), ("loss=focal",))
    figures = [{"reweight": "none", "accuracy": 0.7, "accuracy_std": 0.1, "best_over": ["loss"]}]
    found = compared(tmp_path, figures, *methods)
    accuracy, spread = published(found).figures
    assert (accuracy.ours, accuracy.candidates, accuracy.cell) == (0.6, 2, found.cells[1])
    assert spread.ours == min(run.test["accuracy_std"] for run in found.used if run.test["accuracy_std"] is not None)


def test_a_figure_that_fits_several_cells_stands_beside_none(tmp_path: Path) -> None:
    assert (
        published(
            compared(tmp_path, [{"reweight": "none", "accuracy": 0.7}], ("loss=softmax",), ("loss=focal",))
        ).figures
        == []
    )


def test_the_setting_decides_between_cells(tmp_path: Path) -> None:
    methods = (("imbalance.ratio=50",), ("imbalance.ratio=100",))
    figures = [{"reweight": "none", "accuracy": 0.7}]
    found = compared(tmp_path, figures, *methods, setting={"imbalance.ratio": 100})
    [figure] = published(found).figures
    assert figure.ours == 0.6
    assert published(found).sources == ["A paper"]


def test_a_deviation_of_another_experiments_runs_is_not_told(tmp_path: Path) -> None:
    figures = [{"reweight": "none", "accuracy": 0.7}]
    methods = (("reweight=none",), ("reweight=clipped_inverse", "reweight.low=2"))
    found = compared(tmp_path, figures, *methods, setting={"reweight.low": 1})
    assert published(found).sources == ["A paper"]


def test_a_difference_stands_beside_the_paired_one(tmp_path: Path) -> None:
    figures = [{"reweight": "class_balanced", "accuracy": 0.2, "over": {"sampler": "random", "reweight": "none"}}]
    [figure] = published(compared(tmp_path, figures, NONE, BALANCED)).figures
    assert figure.over == {"sampler": "random", "reweight": "none"}
    assert figure.ours == pytest.approx(0.1)


def test_a_difference_to_what_nobody_ran_is_left_out(tmp_path: Path) -> None:
    figures = [{"reweight": "class_balanced", "accuracy": 0.2, "over": {"sampler": "random", "reweight": "none"}}]
    methods = [("sampler=uniform_minibatch", *method) for method in (NONE, BALANCED)]
    assert published(compared(tmp_path, figures, *methods)).figures == []


def test_failed_runs_have_no_figure(tmp_path: Path) -> None:
    found = compared(tmp_path, [{"reweight": "class_balanced", "accuracy": 0.7}], NONE, BALANCED)
    (tmp_path / "1/metrics.json").unlink()
    assert published(compare([runs.read(path) for path in runs.find(tmp_path)])).figures == []
    assert published(found).figures


def test_without_an_experiment_there_are_none(tmp_path: Path) -> None:
    found = compare([runs.read(write_run(tmp_path / "run"))])
    assert (published(found).figures, published(found).sources) == ([], [])


def test_the_paper_is_named_once_with_what_is_not_its_setting(tmp_path: Path) -> None:
    assert published(compared(tmp_path / "a", [], NONE, BALANCED)).sources == ["A paper"]
    short = [(*NONE, "epochs=5"), (*BALANCED, "epochs=5")]
    assert published(compared(tmp_path / "b", [], *short)).sources == [
        "A paper; not the paper's setting: epochs 5 instead of 10"
    ]
    other = [(*NONE, "dataset=fashion"), (*BALANCED, "epochs=10.0")]
    assert published(compared(tmp_path / "c", [], *other)).sources == [
        "A paper; not the paper's setting: dataset fashion, cifar instead of cifar"
    ]


@pytest.mark.parametrize(
    "figure", [{"reweight": "none", "accuracy": "high"}, "accuracy", {"reweight": "none"}, {"accuracy": 1, "over": 2}]
)
def test_a_figure_that_cannot_be_read_is_said_and_the_others_stay(tmp_path: Path, figure: Any) -> None:
    found = compared(tmp_path, [figure, {"reweight": "none", "accuracy": 0.7}], NONE)
    assert [f.value for f in published(found).figures] == [0.7]
    assert published(found).sources[1] == f"A paper: {figure}: must be OPTION: VALUE, ..., METRIC: NUMBER"


# The papers' own


def of_experiment(tmp_path: Path, *overrides: str, name: str = "park2022_table2", **given: Any) -> Comparison:
    augment = ("_target_=longtail.augment.PadCropFlip", "pad=4", "flip=true")
    papers = ("dataset=cifar10", "epochs=200", *(f"dataset.augment.{setting}" for setting in augment))
    write_run(tmp_path / name, *papers, *overrides, experiment=name, **given)
    return compare([runs.read(path) for path in runs.find(tmp_path)])


def test_they_are_found_by_the_name_of_the_experiment(tmp_path: Path) -> None:
    said = published(of_experiment(tmp_path, "reweight=class_balanced_sqrt"))
    [figure] = said.figures
    assert (figure.value, figure.digits) == (0.7692, 4)
    assert said.sources[0].startswith("Park and Hwang 2022, Table 2")


def test_they_win_over_those_in_the_config_of_a_run(tmp_path: Path) -> None:
    earlier = {"source": "An earlier state", "figures": [{"reweight": "none", "accuracy": 0.1}]}
    said = published(of_experiment(tmp_path, "reweight=none", published=earlier))
    assert [figure.value for figure in said.figures] == [0.769]


@pytest.mark.parametrize("name", ["unheard_of", "../published/cui2019", "__init__"])
def test_an_experiment_without_a_paper_has_none(tmp_path: Path, name: str) -> None:
    write_run(tmp_path / "run", experiment=name)
    assert published(compare([runs.read(tmp_path / "run")])).figures == []


def test_the_schedule_and_the_augmentation_belong_to_the_papers_setting(tmp_path: Path) -> None:
    schedule = ("scheduler=warmup_multistep", "scheduler.milestones=[0.8, 0.9]", "scheduler.gamma=0.01")
    [line] = published(of_experiment(tmp_path / "a", *schedule)).sources
    assert not any(name in line for name in ("milestones", "gamma 0.01", "augment"))
    others = (
        "scheduler=warmup_multistep",
        "scheduler.milestones=[0.5]",
        "scheduler.gamma=0.1",
        "dataset.augment.flip=false",
        "optimizer=adam",
    )
    [line] = published(of_experiment(tmp_path / "b", *others)).sources
    assert "scheduler.milestones [0.5] instead of [0.8, 0.9]" in line
    assert "scheduler.gamma 0.1 instead of 0.01" in line
    assert "dataset.augment.flip false instead of true" in line
    assert "optimizer adam instead of sgd" in line
    [line] = published(of_experiment(tmp_path / "c", *schedule, "dataset.augment._target_=lab.Cutout")).sources
    assert "dataset.augment._target_ lab.Cutout instead of longtail.augment.PadCropFlip" in line


def test_what_was_taken_away_from_a_part_of_the_paper_is_told(tmp_path: Path) -> None:
    write_run(tmp_path / "run", "dataset=cifar10", experiment="cui2019")
    [line] = published(compare([runs.read(tmp_path / "run")])).sources
    assert "dataset.augment.pad not set instead of 4" in line


def test_a_figure_may_have_a_setting_of_its_own(tmp_path: Path) -> None:
    figures = [{"imbalance": "none", "setting": {"epochs": 5}, "accuracy": 0.7}]
    assert published(compared(tmp_path / "a", figures, ("imbalance=none",))).sources == [
        "A paper; not the paper's setting: epochs 10 instead of 5"
    ]
    assert published(compared(tmp_path / "b", figures, ("imbalance=none", "epochs=5"))).sources == ["A paper"]
