"""`longtail-eval`: the rest of it is tested with the runs it evaluates, in `test_train.py`."""

import json
from pathlib import Path

import pytest

from longtail.cli.evaluate import compare


def write(path: Path, **scores: float | None) -> Path:
    path.write_text(json.dumps({"test": scores}))
    return path


def test_compare_names_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write(tmp_path / "run.json", accuracy=0.5, accuracy_few=None, loss=1.0)
    compare(run, write(tmp_path / "same.json", accuracy=0.5, accuracy_few=None, loss=1.0))
    assert capsys.readouterr().out == "the same numbers as the run\n"
    compare(run, write(tmp_path / "other.json", accuracy=0.5, accuracy_few=None, loss=1.5))
    assert capsys.readouterr().out == "differs from the run: loss 1.0 -> 1.5\n"
