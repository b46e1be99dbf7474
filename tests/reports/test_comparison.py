import itertools
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from longtail import runs
from longtail.reports import summary
from longtail.reports.cells import Cell, MeanDifference, difference
from longtail.reports.comparison import Comparison, compare
from longtail.reports.published import published
from longtail.runs import CLASSIFICATION, Task

from ..conftest import OPTIONS, write_run, write_sweep

SEEDS = "seed=0,1,2"


def read(*directories: Path) -> list[runs.Run]:
    return [runs.read(path) for directory in directories for path in runs.find(directory)]


def swept(tmp_path: Path, *overrides: str, **given: Any) -> Comparison:
    return compare(read(write_sweep(tmp_path / "sweep", *overrides, **given)))


def cell(compared: Comparison, **options: str) -> Cell:
    [found] = [c for c in compared.cells if all(c.options[name] == value for name, value in options.items())]
    return found


def options(compared: Comparison) -> list[dict[str, str]]:
    return [dict(c.options) for c in compared.cells]


def test_a_cell_has_the_seeds_of_its_options(tmp_path: Path) -> None:
    compared = swept(tmp_path, "reweight=none,class_balanced", SEEDS)
    assert options(compared) == [{"reweight": "none"}, {"reweight": "class_balanced"}]
    assert [[run.seed for run in c.runs] for c in compared.cells] == [[0, 1, 2], [0, 1, 2]]
    assert (compared.along, compared.differences, compared.dropped) == ([], [], [])


def test_an_augmentation_by_name_stands_for_its_settings(tmp_path: Path) -> None:
    groups = OPTIONS | {"augment": {"none": {}, "strong": {}}}
    write_run(tmp_path / "own", "dataset.augment.pad=4")
    write_run(tmp_path / "none", "dataset.augment=null", groups=groups)
    write_run(tmp_path / "strong", "augment=strong", "dataset.augment.auto.fill=0", groups=groups)
    compared = compare(read(tmp_path))
    assert compared.options == ["augment"]
    assert [name for name in compared.along if name.startswith("dataset")] == []
    assert sorted(c.options["augment"] for c in compared.cells) == ["", "none", "strong"]


def test_mean_and_spread_are_those_of_numpy(tmp_path: Path) -> None:
    compared = swept(tmp_path, SEEDS)
    values = [run.test["accuracy"] for run in compared.used]
    estimate = compared.cells[0].estimate("accuracy")
    assert estimate is not None
    assert estimate.mean == pytest.approx(np.mean(values), rel=1e-15)  # type: ignore[arg-type]
    assert estimate.spread == pytest.approx(np.std(values, ddof=1), rel=1e-12)  # type: ignore[arg-type]
    assert estimate.n == 3


def test_one_run_has_no_spread(tmp_path: Path) -> None:
    compared = compare(read(write_run(tmp_path / "run")))
    assert options(compared) == [{}]
    estimate = compared.cells[0].estimate("accuracy")
    assert estimate is not None
    assert (estimate.mean, estimate.spread, estimate.n) == (0.5, None, 1)
    assert compared.cells[0].estimate("accuracy_few") is None
    assert compared.best("accuracy") == []
    assert compared.default_baseline() == {}


@pytest.mark.parametrize("n", [2, 3, 10])
def test_a_paired_difference_is_that_of_scipy(tmp_path: Path, n: int) -> None:
    compared = swept(tmp_path, "reweight=none,class_balanced", f"seed={','.join(map(str, range(n)))}")
    ours, theirs = cell(compared, reweight="class_balanced"), cell(compared, reweight="none")
    a, b = ([run.test["accuracy"] for run in c.runs] for c in (ours, theirs))
    interval = stats.ttest_rel(a, b).confidence_interval(0.95)
    gain = difference(ours, theirs, "accuracy")
    assert gain is not None
    assert gain.mean == pytest.approx(np.mean(np.subtract(a, b)))  # type: ignore[arg-type]
    assert (gain.low, gain.high) == pytest.approx((interval.low, interval.high))
    assert gain.n == n


def test_one_common_seed_gives_a_difference_without_an_interval(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", accuracy=0.75), write_run(tmp_path / "b", "loss=focal", accuracy=0.5)
    first, second = compare(read(a, b)).cells
    gain = difference(first, second, "accuracy")
    assert gain == MeanDifference(0.25, None, None, 1, paired=True)


def test_only_common_seeds_are_paired(tmp_path: Path) -> None:
    for name, method, seeds in (("a", "none", (0, 1, 2)), ("b", "class_balanced", (2, 1, 5))):
        for seed in seeds:
            write_run(
                tmp_path / f"{name}{seed}",
                f"reweight={method}",
                f"seed={seed}",
                accuracy=0.1 * seed + 0.01 * len(name),
            )
    compared = compare(read(tmp_path))
    gain = difference(compared.cells[1], compared.cells[0], "accuracy")
    assert gain is not None
    assert gain.mean == pytest.approx(0, abs=1e-12)
    assert (gain.low, gain.high, gain.n, gain.constant) == (None, None, 2, True)  # equal but for rounding


@pytest.mark.parametrize("say_seed", [True, False])
def test_without_a_common_seed_the_difference_is_welchs_of_scipy(tmp_path: Path, say_seed: bool) -> None:
    scores = {"softmax": [0.5, 0.56, 0.51, 0.7], "focal": [0.6, 0.61, 0.65]}
    for seed, (loss, accuracy) in enumerate((loss, score) for loss, found in scores.items() for score in found):
        write_run(tmp_path / str(seed), f"loss={loss}", f"seed={seed if say_seed else 'null'}", accuracy=accuracy)
    theirs, ours = compare(read(tmp_path)).cells
    interval = stats.ttest_ind(scores["focal"], scores["softmax"], equal_var=False).confidence_interval(0.95)
    gain = difference(ours, theirs, "accuracy")
    assert gain is not None
    assert gain.mean == pytest.approx(np.mean(scores["focal"]) - np.mean(scores["softmax"]))
    assert (gain.low, gain.high) == pytest.approx((interval.low, interval.high))
    assert (gain.n, gain.paired) == (3, False)


def test_of_other_seeds_neither_one_run_nor_equal_ones_give_an_interval(tmp_path: Path) -> None:
    for seed, loss in enumerate(("softmax", "softmax", "focal", "focal")):
        write_run(tmp_path / str(seed), f"loss={loss}", f"seed={seed}", accuracy=0.5 if loss == "softmax" else 0.75)
    theirs, ours = compare(read(tmp_path)).cells
    assert difference(ours, theirs, "accuracy") == MeanDifference(0.25, None, None, 2, paired=False, constant=True)
    [*_, ours] = compare(read(*(tmp_path / name for name in "012"))).cells
    assert difference(ours, theirs, "accuracy") == MeanDifference(0.25, None, None, 1, paired=False)


def test_a_run_without_a_value_counts_for_the_other_metrics_alone(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "seed=0", test={"accuracy_few": 0.2})
    write_run(tmp_path / "b", "seed=1", test={"accuracy": None, "accuracy_few": 0.4})
    [only] = compare(read(tmp_path)).cells
    accuracy, few = only.estimate("accuracy"), only.estimate("accuracy_few")
    assert accuracy is not None
    assert few is not None
    assert (accuracy.n, accuracy.spread, few.n, few.mean) == (1, None, 2, pytest.approx(0.3))


# Which options are compared


def test_settings_that_some_options_have_are_compared_where_they_tell_runs_apart(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "imbalance=none")
    for name, ratio in (("1", 10), ("2", 50)):
        write_run(tmp_path / name, f"imbalance.ratio={ratio}", "loss=focal")
    compared = compare(read(tmp_path))
    assert [list(found.values()) for found in options(compared)] == [
        ["none", "", "softmax"], ["exponential", "10", "focal"], ["exponential", "50", "focal"],
    ]  # fmt: skip
    assert compared.conditions == ["imbalance", "imbalance.ratio"]
    assert compared.methods == ["loss"]
    assert not compared.differences


def test_a_setting_that_comes_with_an_option_is_not_shown(tmp_path: Path) -> None:
    compared = swept(tmp_path, "reweight=none,class_balanced", "loss=softmax,focal")
    assert compared.options == ["loss", "reweight"]
    assert compared.along == []


def test_what_varies_within_a_sweep_is_compared_whatever_it_is(tmp_path: Path) -> None:
    compared = swept(
        tmp_path, "eval_batch_size=100,500", "epochs=10,20", "trainer.precision=32-true,bf16-mixed", SEEDS
    )
    assert set(compared.options) == {"eval_batch_size", "epochs", "trainer.precision"}
    assert [len(c.runs) for c in compared.cells] == [3] * 8
    assert not compared.differences
    assert not compared.dropped


@pytest.mark.parametrize("order", [*itertools.permutations(("scheduler", "optimizer.lr", "batch_size"), 2)])
def test_what_changes_along_is_named(tmp_path: Path, order: tuple[str, str]) -> None:
    values = {"scheduler": ("multistep", "cosine"), "optimizer.lr": ("0.1", "0.2"), "batch_size": ("64", "128")}
    for job, method in enumerate(("random", "uniform_minibatch")):
        write_run(tmp_path / str(job), f"sampler={method}", *(f"{name}={values[name][job]}" for name in order))
    (tmp_path / "multirun.yaml").touch()
    compared = compare(read(tmp_path))
    assert compared.options == ["sampler"]
    assert set(compared.along) == set(order)


def test_a_setting_of_an_option_that_all_have_is_along(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "loss=softmax", "model.depth=32")
    write_run(tmp_path / "1", "loss=focal", "model.depth=20")
    assert compare(read(tmp_path)).along == ["model.depth"]


def test_by_compares_a_further_setting(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "epochs=10")
    write_run(tmp_path / "1", "epochs=20")
    assert [d.what for d in compare(read(tmp_path)).differences] == ["epochs", "steps", "images_seen"]
    compared = compare(read(tmp_path), by=["epochs"])
    assert options(compared) == [{"epochs": "10"}, {"epochs": "20"}]
    assert not compared.differences


@pytest.mark.parametrize("name", ["seed", "epoch"])
def test_by_must_be_a_setting(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"^--by={name}: must be a setting of the runs, and not the seed$"):
        compare(read(write_run(tmp_path / "run")), by=[name])


def test_two_sweeps_of_one_protocol_make_one_table(tmp_path: Path) -> None:
    a = write_sweep(tmp_path / "a", "sampler=random", "reweight=none,class_balanced", SEEDS)
    b = write_sweep(tmp_path / "b", "sampler=uniform_minibatch", "reweight=none", SEEDS)
    compared = compare(read(a, b))
    assert [tuple(found.values()) for found in options(compared)] == [
        ("random", "none"), ("random", "class_balanced"), ("uniform_minibatch", "none"),
    ]  # fmt: skip
    assert not compared.differences


def test_two_sweeps_of_other_epochs_differ(tmp_path: Path) -> None:
    a = write_sweep(tmp_path / "a", "reweight=none", "epochs=10", SEEDS)
    b = write_sweep(tmp_path / "b", "reweight=class_balanced", "epochs=20", "seed=0")
    compared = compare(read(a, b))
    assert [d.what for d in compared.differences] == ["epochs", "steps", "images_seen"]
    assert compared.unusual == {b / "0"}


def test_a_directory_of_images_of_another_name_is_another_condition(tmp_path: Path) -> None:
    for name, root in (("0", "/a/cifar"), ("1", "/b/cifar"), ("2", "/b/mnist")):
        write_run(tmp_path / name, f"dataset.root={root}", f"seed={name}")
    assert compare(read(tmp_path / "0", tmp_path / "1")).options == []
    assert compare(read(tmp_path)).options == ["dataset.root"]


# What is incomplete, or there twice


def test_incomplete_jobs_are_counted_in_their_cell(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", "reweight=none,class_balanced", "seed=0,1")
    for job, status in (("1", "failure.txt"), ("3", None)):
        (sweep / job / "metrics.json").unlink()
        if status:
            (sweep / job / status).write_text("out of memory")
    compared = compare(read(sweep))
    assert options(compared) == [{"reweight": "none"}, {"reweight": "class_balanced"}]
    assert [(len(c.runs), c.incomplete) for c in compared.cells] == [(1, 1), (1, 1)]
    assert len(compared.used) == 2
    assert len(compared.runs) == 4


def test_a_cell_of_failures_alone_stays(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", "reweight=none,class_balanced")
    (sweep / "1/metrics.json").unlink()
    compared = compare(read(sweep))
    failed = cell(compared, reweight="class_balanced")
    assert (failed.runs, failed.incomplete, failed.per_class(), failed.rows) == ([], 1, [], [])
    assert difference(failed, compared.cells[0], "accuracy") is None


def test_a_precision_that_was_found_out_at_run_time_does_not_set_a_failure_apart(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", "seed=0,1", facts={"precision": "bf16-mixed"})
    (sweep / "1/metrics.json").unlink()
    assert compare(read(sweep)).options == []


def test_nothing_complete_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "run", accuracy=None)
    with pytest.raises(ValueError, match=r"^none of the runs is complete$"):
        compare(read(tmp_path))


def test_of_two_runs_alike_the_newer_is_used_unless_told(tmp_path: Path) -> None:
    for age, name in enumerate(("new", "old")):
        write_run(tmp_path / name, accuracy=0.5 - 0.1 * age)
        os.utime(tmp_path / name / "metrics.json", (1000 - age, 1000 - age))
    compared = compare(read(tmp_path))
    assert [(a.directory.name, b.directory.name) for a, b in compared.dropped] == [("old", "new")]
    assert [run.directory.name for run in compared.cells[0].runs] == ["new"]
    older = compare(read(tmp_path), use_older=True)
    assert [run.directory.name for run in older.cells[0].runs] == ["old"]
    assert [(a.directory.name, b.directory.name) for a, b in older.dropped] == [("new", "old")]


@pytest.mark.parametrize(
    "override", ["trainer.precision=bf16-mixed", "epochs=20", "dataset.root=/b/other", "loss._target_=x"]
)
def test_runs_that_may_differ_are_not_taken_for_alike(tmp_path: Path, override: str) -> None:
    write_run(tmp_path / "a", "dataset.root=/a/images")
    write_run(tmp_path / "b", "dataset.root=/a/images", override)
    compared = compare(read(tmp_path))
    assert not compared.dropped
    assert len(compared.cells) == 2 or compared.differences


def test_a_newer_run_of_another_version_replaces_the_older(tmp_path: Path) -> None:
    write_run(tmp_path / "a", facts={"git_revision": "1" * 40})
    write_run(tmp_path / "b", facts={"git_revision": "2" * 40})
    compared = compare(read(tmp_path))
    assert len(compared.dropped) == 1
    assert not compared.differences


def test_runs_without_a_seed_are_not_of_the_same_seed(tmp_path: Path) -> None:
    for job, loss in enumerate(["softmax", "softmax", "focal"]):
        write_run(tmp_path / str(job), f"loss={loss}", "seed=null")
    compared = compare(read(tmp_path))
    assert not compared.dropped
    assert [len(c.runs) for c in compared.cells] == [2, 1]
    gain = difference(cell(compared, loss="focal"), cell(compared, loss="softmax"), "accuracy")
    assert gain is not None
    assert not gain.paired


def test_what_each_dataset_has_for_itself_goes_along_with_it(tmp_path: Path) -> None:
    a = write_sweep(tmp_path / "a", "dataset=cifar", "validation_per_class=25", "loss=softmax,focal")
    b = write_sweep(tmp_path / "b", "dataset=fashion", "validation_per_class=100", "epochs=20", "loss=softmax,focal")
    compared = compare(read(a, b))
    assert not compared.differences
    assert (compared.options, compared.along) == (["dataset", "loss"], ["epochs", "validation_per_class"])
    c = write_run(tmp_path / "c", "dataset=fashion", "validation_per_class=50", "epochs=20", "loss=sigmoid")
    compared = compare(read(a, b, c))
    assert [difference.what for difference in compared.differences] == ["validation_per_class"]


# Cells of an experiment by their name

CELLS = {
    "cross_entropy": (),
    "class_balanced": ("reweight=class_balanced",),
    "drw": ("reweight=class_balanced", "epochs=20"),
}
BY_NAME = OPTIONS | {"experiment/methods": {name: {} for name in CELLS}}


def write_cells(directory: Path, *overrides: str) -> Path:
    """Write a sweep over the cells of an experiment, two seeds of each."""
    for job, (cell, seed) in enumerate(itertools.product(CELLS, (0, 1))):
        given = (f"experiment/methods={cell}", *CELLS[cell], f"seed={seed}", *overrides)
        write_run(directory / str(job), *given, groups=BY_NAME, accuracy=0.5 + 0.01 * job, experiment="methods")
    (directory / "multirun.yaml").write_text("")
    return directory


def test_cells_by_name_replace_the_options_that_follow_from_them(tmp_path: Path) -> None:
    compared = compare(read(write_cells(tmp_path)))
    assert options(compared) == [{"experiment/methods": name} for name in CELLS]
    assert (compared.meant, compared.along, compared.differences) == (["reweight", "epochs"], [], [])
    assert [c.label(compared.methods) for c in compared.cells] == list(CELLS)
    assert compared.default_baseline() == {"experiment/methods": "cross_entropy"}
    gains = [difference(c, compared.cells[0], "accuracy") for c in compared.cells]
    assert [gain and gain.mean for gain in gains] == pytest.approx([0, 0.02, 0.04])
    named = summary.named(compared)
    assert named is not None
    assert [column.title for column in named.columns] == ["experiment/methods", "reweight", "epochs"]
    assert [tuple(row) for row in named.rows] == [
        ("cross_entropy", "none", "10"), ("class_balanced", "class_balanced", "10"), ("drw", "class_balanced", "20"),
    ]  # fmt: skip


def test_cells_by_name_stand_beside_conditions_and_what_else_varies(tmp_path: Path) -> None:
    for ratio in ("10", "50"):
        write_cells(tmp_path / ratio, f"imbalance.ratio={ratio}")
    compared = compare(read(tmp_path))
    assert compared.options == ["imbalance.ratio", "experiment/methods"]
    assert compared.conditions == ["imbalance.ratio"]
    assert compare(read(tmp_path), by=["reweight"]).options == ["imbalance.ratio", "experiment/methods", "reweight"]
    write_run(tmp_path / "a", "loss=focal", "imbalance.ratio=10")  # by none of the names
    write_run(tmp_path / "b", "loss=softmax", "imbalance.ratio=10")
    assert compare(read(tmp_path)).options == ["imbalance.ratio", "experiment/methods", "loss"]


def test_a_name_that_says_no_more_than_the_conditions_is_left_out(tmp_path: Path) -> None:
    groups = OPTIONS | {"experiment/table": {"balanced": {}, "long_tailed": {}}}
    for job, (cell, imbalance) in enumerate((("balanced", "none"), ("long_tailed", "exponential"))):
        write_run(tmp_path / str(job), f"experiment/table={cell}", f"imbalance={imbalance}", groups=groups)
    found = read(tmp_path)
    assert compare(found).options == ["imbalance"]
    assert compare(found).along == []
    assert "experiment/table" in compare(found, by=["experiment/table"]).options


def test_the_name_of_the_experiment_is_compared_where_it_is_asked_for(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / name, f"reweight={'none' if name == 'a' else 'class_balanced'}", experiment=name)
    assert compare(read(tmp_path)).options == ["reweight"]
    compared = compare(read(tmp_path), by=["experiment"])
    assert options(compared) == [{"experiment": "a"}, {"experiment": "b"}]


# Best, baseline, classes


def test_the_best_is_chosen_for_each_condition(tmp_path: Path) -> None:
    scores = {
        ("10", "none"): 0.6,
        ("10", "class_balanced"): 0.7,
        ("50", "none"): 0.5,
        ("50", "class_balanced"): 0.5001,
        ("50", "inverse_frequency"): 0.4,
    }  # a tie in three digits is nobody's
    for job, ((ratio, method), accuracy) in enumerate(scores.items()):
        write_run(tmp_path / str(job), f"imbalance.ratio={ratio}", f"reweight={method}", accuracy=accuracy)
    best = [tuple(found.options.values()) for found in compare(read(tmp_path)).best("accuracy")]
    assert best == [("10", "class_balanced")]


def test_the_best_standard_deviation_is_the_lowest(tmp_path: Path) -> None:
    write_run(tmp_path / "a", test={"accuracy_std": 0.3})
    write_run(tmp_path / "b", "loss=focal", test={"accuracy_std": 0.2})
    [best] = compare(read(tmp_path)).best("accuracy_std")
    assert best.options == {"loss": "focal"}


def test_nothing_is_the_best_where_all_look_equal_or_have_other_numbers_of_seeds(tmp_path: Path) -> None:
    write_run(tmp_path / "a", accuracy=0.5, test={"accuracy_many": 0.7})
    write_run(tmp_path / "b", "loss=focal", accuracy=0.5004, test={"accuracy_many": 0.8})
    compared = compare(read(tmp_path))
    assert compared.best("accuracy") == []
    assert [dict(found.options) for found in compared.best("accuracy_many")] == [{"loss": "focal"}]
    write_run(tmp_path / "c", "seed=1", accuracy=0.9, test={"accuracy_many": 0.9})
    assert compare(read(tmp_path)).best("accuracy_many") == []


def test_a_cell_without_rival_is_not_the_best(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", "loss=focal", accuracy=None)
    assert compare(read(tmp_path)).best("accuracy") == []


def test_the_baseline_has_the_same_other_options(tmp_path: Path) -> None:
    compared = swept(tmp_path, "imbalance.ratio=10,50", "loss=softmax,focal", "reweight=none,class_balanced")
    of = compared.baseline(compared.default_baseline())
    assert compared.default_baseline() == {"reweight": "none"}
    for found in compared.cells:
        assert of(found) is cell(compared, **{**found.options, "reweight": "none"})


@pytest.mark.parametrize(
    ("overrides", "baseline"),
    [
        (
            ("sampler=random,uniform_minibatch", "reweight=none,class_balanced"),
            {"sampler": "random", "reweight": "none"},
        ),
        (("sampler=random,uniform_minibatch", "reweight=none"), {"sampler": "random"}),
        (("loss=softmax,focal",), {"loss": "softmax"}),
        (("loss=softmax,focal", "reweight=none,class_balanced"), {"reweight": "none"}),
        (("model=resnet20,resnet32",), {}),
        (("reweight=class_balanced,inverse_frequency",), {}),
    ],
)
def test_the_baseline_that_nobody_chose(tmp_path: Path, overrides: tuple[str, ...], baseline: dict[str, str]) -> None:
    assert swept(tmp_path, *overrides).default_baseline() == baseline


def test_a_default_baseline_must_be_among_the_runs(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "sampler=random", "reweight=class_balanced")
    write_run(tmp_path / "b", "sampler=uniform_minibatch", "reweight=none")
    assert compare(read(tmp_path)).default_baseline() == {"reweight": "none"}


def test_settings_of_the_replaced_option_need_not_agree(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "reweight=none")
    for name, beta in (("1", 0.9), ("2", 0.99)):
        write_run(tmp_path / name, "reweight=class_balanced", f"reweight.beta={beta}")
    compared = compare(read(tmp_path))
    none, *others = compared.cells
    assert [compared.baseline({"reweight": "none"})(found) for found in others] == [none, none]
    several = compared.baseline({"reweight": "class_balanced"})
    assert several(none) is None  # which beta?
    assert several(others[0]) is others[0]
    assert compared.baseline({"reweight.beta": "0.90"})(others[1]) is others[0]


def test_other_settings_must_agree(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "loss=focal", "loss.gamma=1.0", "reweight=none")
    write_run(tmp_path / "1", "loss=focal", "loss.gamma=2.0", "reweight=class_balanced")
    of = compare(read(tmp_path)).baseline({"reweight": "none"})
    assert of(compare(read(tmp_path)).cells[1]) is None


def test_a_condition_can_be_the_baseline(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "imbalance=none")
    for name, ratio in (("1", 10), ("2", 50)):
        write_run(tmp_path / name, f"imbalance.ratio={ratio}")
    balanced, *tailed = (compared := compare(read(tmp_path))).cells
    assert [compared.baseline({"imbalance": "none"})(found) for found in tailed] == [balanced, balanced]


def test_a_baseline_that_is_not_among_the_runs_is_none(tmp_path: Path) -> None:
    compared = swept(tmp_path, "sampler=uniform_minibatch", "reweight=none,class_balanced")
    assert compared.baseline({"sampler": "random", "reweight": "none"})(compared.cells[1]) is None


def without_accuracy(path: Path, index: int) -> None:
    """Make a class of `per_class.csv` one without test images."""
    lines = path.read_text().splitlines()
    lines[index + 1] = lines[index + 1].rpartition(",")[0] + ","
    path.write_text("\n".join(lines))


def test_classes_are_means_over_the_seeds_that_have_them(tmp_path: Path) -> None:
    for seed, accuracy in enumerate((0.4, 0.6, 0.1, 0.2)):
        write_run(tmp_path / str(seed), f"seed={seed}", accuracy=accuracy, num_classes=3)
    without_accuracy(tmp_path / "0/per_class.csv", 2)
    (tmp_path / "2/per_class.csv").unlink()
    write_run(tmp_path / "other", num_classes=2)
    (tmp_path / "other/per_class.csv").rename(tmp_path / "3/per_class.csv")
    [only] = compare([runs.read(tmp_path / name) for name in "0123"]).cells
    assert only.per_class() == pytest.approx([0.6, 0.5, 0.5])
    assert only.rows == only.runs[0].rows


def test_a_class_that_no_run_tested_is_not_a_number(tmp_path: Path) -> None:
    without_accuracy(write_run(tmp_path / "run", num_classes=2) / "per_class.csv", 1)
    accuracy = compare(read(tmp_path)).cells[0].per_class()
    assert accuracy[0] == 0.6
    assert math.isnan(accuracy[1])


def test_labels_name_settings_but_not_options(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "imbalance=none")
    write_run(tmp_path / "1", "imbalance.ratio=10")
    write_run(tmp_path / "2", "imbalance.ratio=50", "optimizer=adam")
    write_run(tmp_path / "3", "imbalance.ratio=50")
    compared = compare(read(tmp_path), by=["optimizer"])
    assert not compared.differences
    assert [c.label(compared.options) for c in compared.cells] == [
        "none, optimizer sgd", "exponential, ratio 10, optimizer sgd",
        "exponential, ratio 50, optimizer adam", "exponential, ratio 50, optimizer sgd",
    ]  # fmt: skip


def test_a_seed_that_ran_twice_in_mixed_runs_counts_once(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "epochs=10", accuracy=0.4)
    write_run(tmp_path / "1", "epochs=20", accuracy=0.6)
    [only] = compare(read(tmp_path)).cells
    assert only.by_seed("accuracy") == {0: 0.5}


def precision(**given: Any) -> dict[str, Any]:
    test = {"AP": 0.25, "AP_std": 0.125, "AP_min": 0.0, "AP_few": None}
    return {"test": test, "task": Task("AP", "AP", ("AP_std",)).as_json(), **given}


def test_another_task_has_its_own_metrics(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "seed=0", **precision())
    write_run(tmp_path / "1", "seed=1", **precision())
    compared = read(tmp_path)[0].task, compare(read(tmp_path))
    assert compared[1].task == compared[0] == Task("AP", "AP", ("AP_std",))
    table = summary.combinations(compared[1], {}, published(compared[1]))
    assert [column.title for column in table.columns] == ["runs", "AP", "std over classes", "worst class"]
    assert [column.key for column in table.columns] == ["runs", "AP", "AP_std", "AP_min"]


def test_runs_of_different_tasks_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "0", **precision())
    write_run(tmp_path / "1", task=CLASSIFICATION.as_json())
    write_run(tmp_path / "2", "seed=1")
    with pytest.raises(ValueError, match=r"measure different things.*: AP \(.*0\), accuracy \(.*1\)$"):
        compare(read(tmp_path))
    assert len(compare(read(tmp_path / "1", tmp_path / "2")).used) == 2, "one that names no task is of classification"


def test_a_precision_that_is_not_text_is_compared_too(tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", "seed=0,1", facts={"precision": [1]})
    assert len(compare([runs.read(path) for path in runs.find(tmp_path / "sweep")]).used) == 2
