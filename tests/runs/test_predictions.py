"""Predictions that are kept, and the tables made of them."""

import math
from pathlib import Path

import numpy as np
import pytest

from longtail import runs

ARRAYS = {"logits": np.arange(6, dtype=np.float32).reshape(2, 3), "targets": np.array([0, 2])}


def test_predictions_are_read_back_if_they_are_those_of_the_digest(tmp_path: Path) -> None:
    assert runs.read_predictions(tmp_path, "a") is None
    runs.write_predictions(tmp_path, "a", ARRAYS)
    found = runs.read_predictions(tmp_path, "a")
    assert found is not None
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
    assert runs.read_predictions(tmp_path, "b") is None
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.npz"]


def test_damaged_predictions_are_none(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "predictions.npz", digest=np.array("a"), logits=np.arange(10_000))
    written = bytearray((tmp_path / "predictions.npz").read_bytes())
    written[2000:2400] = bytes(400)
    (tmp_path / "predictions.npz").write_bytes(written)
    assert runs.read_predictions(tmp_path, "a") is None


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half of it", b"text"])
def test_broken_predictions_are_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "predictions.npz").write_bytes(content)
    assert runs.read_predictions(tmp_path, "a") is None


def test_predictions_run_no_code(tmp_path: Path) -> None:
    np.savez(tmp_path / "predictions.npz", digest=np.array("a"), logits=np.array([print], dtype=object))
    assert runs.read_predictions(tmp_path, "a") is None


def test_lines_are_read_back(tmp_path: Path) -> None:
    lines: list[runs.Line] = [
        {"adjustment": "as trained", "chosen_on": "", "parameter": math.nan, "accuracy": 0.25},
        {"adjustment": "=tau", "chosen_on": "fixed", "parameter": 1.0, "accuracy": 1 / 3},
    ]
    path = tmp_path / "posthoc.csv"
    runs.write_lines(path, lines)
    found = runs.read_lines(path)
    assert math.isnan(float(found[0].pop("parameter")))
    assert found == [{name: value for name, value in lines[0].items() if name != "parameter"}, lines[1]]


@pytest.mark.parametrize("text", ["adjustment,chosen_on,accuracy\na,b\n", "adjustment,accuracy\na,1\n", "a\n\n1,2\n"])
def test_other_tables_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "posthoc.csv").write_text(text)
    with pytest.raises(ValueError, match=r"^posthoc.csv: must have adjustment, chosen_on, and a value"):
        runs.read_lines(tmp_path / "posthoc.csv")
