import csv
import json
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
