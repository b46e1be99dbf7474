import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from longtail import metrics, runs
from longtail.reports import requests, summary
from longtail.reports.comparison import Comparison, compare
from longtail.reports.formats import Entry, Number, Table, text
from longtail.reports.notes import repetitions, sentences, without_classes
from longtail.reports.pictures import panels_of
from longtail.reports.published import published

from ..conftest import write_run, write_sweep

SEEDS = "seed=0,1,2"


def read(directory: Path) -> Comparison:
    return compare([runs.read(path) for path in runs.find(directory)])


def swept(tmp_path: Path, *overrides: str, **given: Any) -> Comparison:
    return read(write_sweep(tmp_path / "sweep", *overrides, **given))


def notes(compared: Comparison, **baseline: str) -> list[str]:
    return sentences(compared, baseline, published(compared))


def column(table: Table, key: str) -> list[Entry]:
    [index] = [i for i, column in enumerate(table.columns) if column.key == key]
    return [row[index] for row in table.rows]


def texts(table: Table) -> list[list[str]]:
    return [[column.title for column in table.columns], *([text(entry) for entry in row] for row in table.rows)]


def keys(table: Table) -> list[str]:
    return [column.key for column in table.columns]


def test_a_row_per_combination(tmp_path: Path) -> None:
    compared = swept(tmp_path, "loss=softmax,focal", "reweight=none,class_balanced", SEEDS)
    table = summary.combinations(compared, {"reweight": "none"}, published(compared))
    assert keys(table) == [
        "loss", "reweight", "runs", "accuracy", "accuracy_std", "accuracy_min", "accuracy_many",
        "accuracy_difference", "accuracy_std_difference",
    ]  # fmt: skip
    assert column(table, "runs") == [3] * 4
    first, gains = column(table, "accuracy")[0], column(table, "accuracy_difference")
    estimate = compared.cells[0].estimate("accuracy")
    assert isinstance(first, Number)
    assert estimate is not None
    assert (first.mean, first.spread, first.n) == (estimate.mean, estimate.spread, None)
    assert [gain is None for gain in gains] == [True, False, True, False]
    assert isinstance(gains[1], Number)
    assert gains[1].signed
    assert gains[1].low is not None


def test_the_best_of_every_metric_is_bold(tmp_path: Path) -> None:
    compared = swept(tmp_path, "reweight=none,class_balanced", SEEDS)
    table = summary.combinations(compared, {}, published(compared))
    for metric in ("accuracy", "accuracy_min", "accuracy_many"):
        numbers = [entry for entry in column(table, metric) if isinstance(entry, Number)]
        assert [n.best for n in numbers] == [n.mean == max(m.mean for m in numbers) for n in numbers]
        assert sum(n.best for n in numbers) == 1


def test_one_run_alone_is_a_table_too(tmp_path: Path) -> None:
    write_run(tmp_path / "run", accuracy=0.5)
    compared = read(tmp_path)
    assert texts(summary.combinations(compared, {}, published(compared)))[1][:2] == ["1", "0.500"]
    assert requests.chosen_across(None, compared) == []
    assert len(notes(compared)) == 2
    assert notes(compared)[1] == f"Groups of classes by training images: {metrics.OLTR}, medium between."


def test_groups_of_classes_of_a_dataset_are_said_and_told_apart(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "dataset.many=100")
    write_run(tmp_path / "1", "seed=1", "dataset.many=50", facts={"groups": "many > 50, few < 20"})
    compared = read(tmp_path)
    said = "Groups of classes by training images: many > 100, few < 20; or many > 50, few < 20, medium between."
    assert said in notes(compared)
    assert compared.options == ["dataset.many"]


def test_seeds_that_are_missing_are_said(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "seed=0")
    write_run(tmp_path / "1", "seed=1", test={"accuracy": None})
    write_run(tmp_path / "2", "loss=focal", "seed=0", accuracy=0.6)
    write_run(tmp_path / "3", "loss=focal", "seed=1", accuracy=0.7)
    table = summary.combinations(read(tmp_path), {"loss": "softmax"}, published(read(tmp_path)))
    assert [text(entry) for entry in column(table, "accuracy")] == ["0.500 (n = 1)", "0.650 ± 0.071"]
    assert [text(entry) for entry in column(table, "accuracy_difference")] == ["", "+0.100 (n = 1)"]


def test_incomplete_and_mixed_runs_are_marked(tmp_path: Path) -> None:
    write_run(tmp_path / "0")
    write_run(tmp_path / "1", "seed=1", accuracy=None)
    write_run(tmp_path / "2", "loss=focal", "epochs=20")
    compared = read(tmp_path)
    table = summary.combinations(compared, {"loss": "softmax"}, published(compared))
    assert column(table, "incomplete") == [1, None]
    assert column(table, "mixed") == [None, "†"]
    pivot = summary.pivot(compared, "accuracy", ["loss"])
    assert texts(pivot)[1:] == [["0.500", "0.500 †"]]
    told = notes(compared)
    assert "† Mixed: these runs differ in more than the options compared and the seed." in told
    assert any(line.startswith("epochs: ") for line in told)
    assert any("mixed" in str(note) for note in column(summary.every_run(compared), "note"))


def test_methods_against_conditions(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "imbalance=none", accuracy=0.9)
    for job, (ratio, method) in enumerate([("10", "none"), ("10", "class_balanced"), ("50", "none")], 1):
        write_run(tmp_path / str(job), f"imbalance.ratio={ratio}", f"reweight={method}", accuracy=0.5 + 0.1 * job)
    compared = read(tmp_path)
    across = requests.chosen_across(None, compared)
    assert across == ["imbalance", "imbalance.ratio"]
    table = summary.pivot(compared, "accuracy", across)
    assert table.title == "Test accuracy by imbalance, imbalance.ratio (higher is better), n = 1"
    assert texts(table) == [
        ["reweight", "none", "exponential, ratio 10", "exponential, ratio 50"],
        ["none", "0.900", "0.600", "0.800"],
        ["class_balanced", "", "0.700", ""],
    ]


def test_without_conditions_the_last_option_stands_across(tmp_path: Path) -> None:
    compared = swept(tmp_path, "loss=softmax,focal", "reweight=none,class_balanced")
    assert requests.chosen_across(None, compared) == ["reweight"]
    table = summary.pivot(compared, "accuracy_std", ["loss"])
    assert keys(table) == ["reweight", "softmax", "focal"]
    assert "lower is better" in table.title


@pytest.mark.parametrize(
    ("overrides", "across"),
    [
        (["imbalance.ratio=10,50"], []),
        (["dataset=cifar,fashion", "imbalance.ratio=10,50"], ["imbalance.ratio"]),
        (["imbalance.ratio=10,50", "loss=softmax,focal"], ["imbalance.ratio"]),
        (["loss=softmax,focal"], []),
    ],
)
def test_something_must_be_left_for_the_rows(tmp_path: Path, overrides: list[str], across: list[str]) -> None:
    assert requests.chosen_across(None, swept(tmp_path, *overrides)) == across


def test_a_pivot_says_where_there_are_fewer_seeds(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", "imbalance.ratio=10,50", "loss=softmax,focal", "seed=0,1")
    (sweep / "3/metrics.json").unlink()
    for job in ("4", "5"):
        (sweep / job / "metrics.json").unlink()
    table = summary.pivot(read(sweep), "accuracy", ["imbalance.ratio"])
    assert table.title.endswith("n = 2 where not said")
    [softmax, focal] = [[text(entry) for entry in row] for row in table.rows]
    assert softmax[2] == ""
    assert focal[1].endswith("(n = 1)")
    assert "(n" not in softmax[1] + focal[2]


PUBLISHED = {
    "source": "A paper",
    "figures": [
        {"reweight": "none", "accuracy": 0.45, "best_over": ["loss"]},
        {"loss": "focal", "accuracy": 0.7},
        {"loss": "focal", "reweight": "class_balanced", "accuracy": 0.1, "over": {"reweight": "none"}},
    ],
}


def test_published_figures_stand_beside_ours(tmp_path: Path) -> None:
    for job, (loss, method) in enumerate([("softmax", "none"), ("focal", "class_balanced"), ("focal", "none")]):
        accuracy = 0.5 + 0.1 * job
        write_run(tmp_path / str(job), f"loss={loss}", f"reweight={method}", accuracy=accuracy, published=PUBLISHED)
    compared = read(tmp_path)
    papers = summary.papers(compared, published(compared))
    assert papers is not None
    assert texts(papers) == [
        ["options", "test", "paper", "ours", "ours - paper", "n", "ours is"],
        ["reweight none", "accuracy", "0.45", "0.700", "+0.250", "1", "focal (best of 2)"],
                [
            "loss focal, reweight class_balanced - reweight none",
            "accuracy", "+0.1", "-0.100", "-0.200", "1", "",
        ],
    ]  # fmt: skip
    rows = summary.combinations(compared, {}, published(compared))
    assert "accuracy_published" not in keys(rows)  # of no row alone
    assert "A paper" in notes(compared)


def test_a_figure_of_one_row_stands_in_it(tmp_path: Path) -> None:
    compared = swept(tmp_path, "reweight=none,class_balanced", published=PUBLISHED)
    table = summary.combinations(compared, {}, published(compared))
    assert column(table, "accuracy_published") == [Number(0.45, digits=2), None]
    difference, ours = column(table, "accuracy_over_published")[0], column(table, "accuracy")[0]
    assert isinstance(difference, Number)
    assert isinstance(ours, Number)
    assert difference.mean == ours.mean - 0.45


def test_without_figures_there_is_no_such_table(tmp_path: Path) -> None:
    compared = swept(tmp_path, "loss=softmax,focal")
    assert summary.papers(compared, published(compared)) is None


def test_every_run_is_listed(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", "reweight=none,class_balanced", "seed=0,1")
    (sweep / "2/metrics.json").write_text("{")
    (sweep / "3/metrics.json").unlink()
    (sweep / "3/failure.txt").write_text("a | b")
    write_run(sweep / "4", "reweight=none", "seed=1")
    table = summary.every_run(read(sweep))
    assert column(table, "directory") == [sweep / str(job) for job in range(5)]
    assert column(table, "seed") == [0, 1, 0, 1, 1]
    assert column(table, "status") == ["done", "done", "unreadable", "failed", "done"]
    notes = column(table, "note")
    assert notes[3] == "a | b"
    assert sum(str(note).startswith("not used: ") for note in notes) == 1
    assert "test/loss" in keys(table)


def test_the_notes_say_what_the_numbers_are(tmp_path: Path) -> None:
    compared = swept(tmp_path, "reweight=none,class_balanced", SEEDS)
    first, second, third, *_ = sentences(compared, {"reweight": "none"}, published(compared))
    assert "over seeds of the test metrics of the last epoch;" in first
    assert first.endswith(
        "std over classes is the population standard deviation of the accuracy of each class within one run."
    )
    assert second.startswith("Bold is the best mean under the same conditions;")
    assert third.startswith("Differences are to reweight=none with the same other options, paired by seed")
    assert "unpaired" not in third
    assert "--baseline" in notes(compared)[2]


def test_without_common_seeds_the_differences_are_not_called_paired(tmp_path: Path) -> None:
    for job, (method, seed) in enumerate([("none", 0), ("none", 1), ("class_balanced", 2), ("class_balanced", 3)]):
        write_run(tmp_path / str(job), f"reweight={method}", f"seed={seed}", accuracy=0.5 + 0.01 * job**2)
    told = notes(read(tmp_path), reweight="none")
    assert told[2] == (
        "Differences are to reweight=none with the same other options, unpaired, for they have no seed in common,"
        " with the 95 % interval of Welch's t where there is more than one seed."
    )
    table = summary.combinations(read(tmp_path), {"reweight": "none"}, published(read(tmp_path)))
    assert text(column(table, "accuracy_difference")[1]).endswith("] (unpaired, n = 2)")
    write_run(tmp_path / "4", "reweight=inverse_frequency", "seed=0")
    assert (
        "paired by seed, with the 95 % interval of Student's t, or where" in notes(read(tmp_path), reweight="none")[2]
    )


@pytest.mark.parametrize(("seeds", "marked"), [("seed=0,1", True), (SEEDS, False), ("seed=0", False)])
def test_an_interval_of_two_seeds_is_marked(tmp_path: Path, seeds: str, marked: bool) -> None:
    compared = swept(tmp_path, "reweight=none,class_balanced", seeds)
    table = summary.combinations(compared, {"reweight": "none"}, published(compared))
    assert text(column(table, "accuracy_difference")[1]).endswith("(n = 2)") == marked
    told = notes(compared, reweight="none")
    assert any(line.startswith("An interval from n = 2 is wide") for line in told) == marked


def test_a_baseline_without_a_counterpart_is_said(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "loss=focal", "loss.gamma=1.0", "reweight=none")
    write_run(tmp_path / "1", "loss=focal", "loss.gamma=2.0", "reweight=class_balanced")
    assert notes(read(tmp_path), reweight="none")[2].endswith("; no other row has such a one.")


def test_the_notes_say_which_epoch_was_tested(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "selection=best_validation")
    assert "the epoch that was best on held-out images;" in notes(read(tmp_path))[0]


def test_the_notes_name_what_changed_along(tmp_path: Path) -> None:
    write_run(tmp_path / "0", "loss=softmax", "model.depth=32")
    write_run(tmp_path / "1", "loss=focal", "model.depth=20")
    assert "Changed along with the options: model.depth (32, 20)." in notes(read(tmp_path))


def test_repetitions_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, loss in (("a", "focal"), ("b", "focal"), ("c", "softmax")):
        write_run(tmp_path / name, f"loss={loss}")
    os.utime("a/metrics.json", (5, 5))
    found = [runs.read(path) for path in runs.find(tmp_path)]
    line = "{} and {} have the same options and seed; the {} one, {}, is used."
    assert repetitions(compare(found)) == [line.format("a", "b", "newer", "b")]
    assert repetitions(compare(found, use_older=True)) == [line.format("b", "a", "older", "a")]
    assert repetitions(compare(found))[0] in sentences(compare(found), {}, published(compare(found)))


@pytest.mark.parametrize("seeds", [3, 4])
def test_many_repetitions_are_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: int) -> None:
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate("ab"):
        for seed in range(seeds):
            path = write_run(tmp_path / name / str(seed), f"seed={seed}") / "metrics.json"
            os.utime(path, (100 + age, 100 + age))
    line = "4 runs of {} repeat runs of {} (same options and seed); the {} ones are used."
    found = [runs.read(path) for path in runs.find(tmp_path)]
    for use_older, order in ((False, ("a", "b", "newer")), (True, ("b", "a", "older"))):
        said = repetitions(compare(found, use_older=use_older))
        assert said == [line.format(*order)] if seeds > 3 else len(said) == 3


@pytest.mark.parametrize(("jobs", "number"), [((1,), "1 run"), ((1, 2), "2 runs")])
def test_runs_without_classes_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: tuple[int, ...], number: str
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = write_sweep(tmp_path / "sweep", SEEDS)
    assert without_classes(panels_of(read(sweep), {})) == []
    for job in jobs:
        (sweep / str(job) / "per_class.csv").write_text("class_index,accuracy\nx,y\n")
    [line] = without_classes(panels_of(read(sweep), {}))
    assert f"in {number} (sweep/1{', ...' if len(jobs) > 1 else ''}): not in the figures" in line


def test_the_short_table_has_what_matters(tmp_path: Path) -> None:
    compared = swept(tmp_path, "reweight=none,class_balanced", SEEDS)
    table = summary.short(compared, summary.combinations(compared, {"reweight": "none"}, published(compared)))
    assert [c.title for c in table.columns] == ["reweight", "runs", "accuracy", "std over classes", "difference"]


def test_a_ratio_that_the_images_do_not_have_is_told(tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", "imbalance.ratio=100,500", facts={"class_counts": [118, 20, 1]})
    found = compare([runs.read(path) for path in runs.find(tmp_path / "sweep")], by=["imbalance.ratio"])
    told = [line for line in notes(found) if "realised" in line]
    assert told == [
        f"imbalance.ratio {ratio} is realised as 118 on cifar (118 to 1 images per class)." for ratio in (100, 500)
    ]


@pytest.mark.parametrize(
    ("ratio", "told"),
    [("0", True), ("1" + "0" * 400, True), ("abc", False), ("[1]", False), ("${nope}", False), ("null", False)],
)
def test_a_ratio_that_no_run_can_have_is_told_if_it_is_a_number(ratio: str, told: bool, tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", "seed=0,1", facts={"class_counts": [118, 20, 1]})
    for path in (tmp_path / "sweep").glob("*/.hydra/config.yaml"):
        config = yaml.safe_load(path.read_text())
        config["imbalance"]["ratio"] = yaml.safe_load(ratio)
        path.write_text(yaml.safe_dump(config))
    assert any("realised" in line for line in notes(read(tmp_path / "sweep"))) == told
