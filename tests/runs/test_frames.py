import builtins
import math
from pathlib import Path
from typing import Any

import pytest

from longtail import runs

from ..conftest import write_run, write_sweep


def test_a_row_per_run_with_options_settings_and_metrics(tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep", "loss=softmax,focal", "seed=0,1")
    write_run(tmp_path / "sweep/4", "loss=focal", "seed=2", accuracy=None)
    frame = runs.frame(tmp_path / "sweep")
    assert list(frame["options.loss"]) == ["softmax", "softmax", "focal", "focal", "focal"]
    assert list(frame["seed"]) == [0, 1, 0, 1, 2]
    assert list(frame["status"]) == ["done"] * 4 + ["unfinished"]
    assert frame["settings.loss.gamma"].isna().tolist() == [True, True, False, False, False]
    assert list(frame["settings.epochs"]) == [10] * 5
    assert list(frame["test/loss"][:4]) == [1.0] * 4
    assert math.isnan(frame["test/accuracy_few"][0])
    assert frame.columns.is_unique
    assert frame.groupby("options.loss")["test/accuracy"].mean().between(0.5, 0.7).all()


def test_without_pandas_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def missing(name: str, *arguments: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return imported(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"pip install 'longtail\[pandas\]'"):
        runs.frame(write_run(tmp_path / "run"))
