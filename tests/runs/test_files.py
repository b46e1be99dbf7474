import csv
import json
import resource
from pathlib import Path

import numpy as np
import pytest

from longtail import runs

NAN, INF = float("nan"), float("inf")


def test_metrics_are_strict_json_in_which_nan_is_null(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    metrics = {
        "test": {"accuracy": 0.1 + 0.2, "accuracy_few": NAN, "loss": INF, "steps": 3},
        "list": [NAN, 1.0, (np.float64("nan"), -INF)],
        "fingerprint": {"revision": None, "name": "NaN", "flip": True},
    }
    runs.write_metrics(tmp_path, metrics)
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {
        "test": {"accuracy": 0.1 + 0.2, "accuracy_few": None, "loss": None, "steps": 3},
        "list": [None, 1.0, [None, None]],
        "fingerprint": {"revision": None, "name": "NaN", "flip": True},
    }


NAMES = ["cat", 'a, "b"', "日本", "", "two\nlines", "[red]"]


def some_rows() -> list[runs.Row]:
    accuracy = [0.1 + 0.2, NAN, 0.0, 1.0, 1 / 3, 0.5]
    return runs.class_rows(NAMES, [5000, 30, 2, 1, 1, 1], [100, 0, 7, 1, 3, 2], [1 / 3, 1e-9, 1, 2, 3, 4.5], accuracy)


def test_per_class_has_exactly_these_columns(tmp_path: Path) -> None:
    path = tmp_path / "per_class.csv"
    runs.write_per_class(tmp_path, some_rows())
    with path.open(newline="") as file:
        header, *lines = csv.reader(file)
    assert ",".join(header) == "class_index,class_name,train_count,test_count,weight,accuracy"
    assert lines[0] == ["0", "cat", "5000", "100", "0.3333333333333333", "0.30000000000000004"]
    assert lines[1] == ["1", 'a, "b"', "30", "0", "1e-09", ""]
    assert len(lines) == 6


def test_per_class_comes_back_as_it_was_written(tmp_path: Path) -> None:
    runs.write_per_class(tmp_path, some_rows())
    back = runs.read_per_class(tmp_path)
    assert [row[:-1] for row in back] == [row[:-1] for row in some_rows()]
    assert [row[-1] for row in back] == pytest.approx([row[-1] for row in some_rows()], rel=0, abs=0, nan_ok=True)


def test_classes_named_like_formulas_are_text_to_a_spreadsheet_and_come_back(tmp_path: Path) -> None:
    names = ["=1+1", "-1", "'@x", "a"]
    runs.write_per_class(tmp_path, runs.class_rows(names, *[[1, 1, 1, 1]] * 4))
    runs.write_precision_recall(tmp_path, [0.5], {name: [-0.5] for name in names})
    with (tmp_path / "per_class.csv").open(newline="") as file:
        assert [line[1] for line in csv.reader(file)] == ["class_name", "'=1+1", "-1", "''@x", "a"]
    assert [row.class_name for row in runs.read_per_class(tmp_path)] == names
    assert (tmp_path / "precision_recall.csv").read_text().splitlines() == [
        "recall,'=1+1,-1,''@x,a",
        "0.5,-0.5,-0.5,-0.5,-0.5",
    ]
    assert runs.read_precision_recall(tmp_path) == ([0.5], {name: [-0.5] for name in names})


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        runs.class_rows(["a", "b"], [1, 1], [1, 1], [1.0], [0.5, 0.5])


@pytest.mark.parametrize(
    "content", [None, "", '{"test": {"accuracy": 1', "{}", "[]", "null", '{"test": null}', "[" * 100_000]
)
def test_a_run_without_whole_metrics_has_not_finished(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    assert runs.read_metrics(tmp_path) is None
    runs.write_metrics(tmp_path, {"test": {"accuracy": 0.5}})
    assert runs.read_metrics(tmp_path) == {"test": {"accuracy": 0.5}}


def test_a_file_that_breaks_off_does_not_replace_the_one_before(tmp_path: Path) -> None:
    path, whole = tmp_path / "per_class.csv", some_rows()
    runs.write_per_class(tmp_path, whole)
    before = path.read_bytes()
    with pytest.raises(IndexError):
        runs.write_per_class(tmp_path, [*whole, ()])  # type: ignore[list-item]
    assert path.read_bytes() == before


def test_precision_recall_comes_back_as_it_was_written(tmp_path: Path) -> None:
    precision = {'a, "b"': [1.0, 1 / 3], "no box": [NAN, NAN], "recall": [0.5, 0.0]}
    runs.write_precision_recall(tmp_path, [0.0, 1.0], precision)
    assert (tmp_path / "precision_recall.csv").read_text().splitlines()[2] == "1.0,0.3333333333333333,,0.0"
    recall, back = runs.read_precision_recall(tmp_path)
    assert recall == [0.0, 1.0]
    assert back.keys() == precision.keys()
    for name, values in precision.items():
        assert back[name] == pytest.approx(values, rel=0, abs=0, nan_ok=True)


def test_loss_shares_come_back_and_must_have_their_step(tmp_path: Path) -> None:
    shares = {"step": [0.0, 10.0], "easy_negatives": [0.7, NAN]}
    runs.write_loss_shares(tmp_path, shares)
    back = runs.read_loss_shares(tmp_path)
    assert list(back) == list(shares)
    assert back["easy_negatives"] == pytest.approx(shares["easy_negatives"], nan_ok=True)
    runs.write_loss_shares(tmp_path, {"foreground": [0.5]})
    with pytest.raises(ValueError, match="must have a column step"):
        runs.read_loss_shares(tmp_path)


@pytest.mark.parametrize("content", ["", "step,a\n1\n", "step,a\n1,b\n"])
def test_columns_that_are_cut_off_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "loss_shares.csv").write_text(content)
    with pytest.raises(ValueError, match=r"loss_shares\.csv|not enough|could not convert"):
        runs.read_loss_shares(tmp_path)
    assert runs.Run(tmp_path, {}, {}, {}, "done").loss_shares == {}


def test_an_earlier_runs_curves_are_removed(tmp_path: Path) -> None:
    runs.write_loss_shares(tmp_path, {"step": [1.0]})
    runs.write_precision_recall(tmp_path, [0.5], {})
    runs.clear(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_note_that_does_not_fit_on_the_disk_leaves_no_empty_file(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        runs.write_failure(tmp_path, "no room")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
    runs.write_failure(tmp_path, "no room")
    assert runs.read_failure(tmp_path) == "no room"


def test_a_note_replaces_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("kept")
    (tmp_path / runs.FAILURE).symlink_to("own.txt")
    runs.write_failure(tmp_path, "stopped")
    assert (tmp_path / "own.txt").read_text() == "kept"
    assert runs.read_failure(tmp_path) == "stopped"
