"""`longtail-eval`: the rest of it is tested with the runs it evaluates, in `test_train.py`."""

import json
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from longtail.cli.evaluate import adapt, compare

from ..conftest import Cli, metrics

BEFORE = Path(__file__).parents[1] / "runs" / "before"


def write(path: Path, **scores: float | None) -> Path:
    path.write_text(json.dumps({"test": scores}))
    return path


def test_compare_names_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write(tmp_path / "run.json", accuracy=0.5, accuracy_few=None, loss=1.0)
    compare(run, write(tmp_path / "same.json", accuracy=0.5, accuracy_few=None, loss=1.0))
    assert capsys.readouterr().out == "the same numbers as the run\n"
    compare(run, write(tmp_path / "other.json", accuracy=0.5, accuracy_few=None, loss=1.5))
    assert capsys.readouterr().out == "differs from the run: loss 1.0 -> 1.5\n"


def test_a_run_of_an_earlier_version_gets_its_own_numbers_back(cli: Cli, run_dir: Path) -> None:
    shutil.copytree(BEFORE, run_dir)
    done = cli(f"run_dir={run_dir}", "accelerator=cpu", evaluation=True)
    assert done.code == 0, done.err
    for name, value in metrics(run_dir)["test"].items():  # in bfloat16, which not every processor has
        assert metrics(run_dir / "evaluation")["test"][name] == pytest.approx(value, abs=0.02, nan_ok=True), name


def test_a_setting_of_an_earlier_version_is_taken_by_its_present_name() -> None:
    run = OmegaConf.create({"sampler": {"epoch": "oversample"}, "dataset": {}, "trainer": {"callbacks": []}})
    cfg = OmegaConf.create({"data_dir": None, "root": None, "accelerator": "cpu"})
    adapted = adapt(run, cfg)
    assert adapted.sampler == {"epoch_length": "oversample"}
    assert adapted.method._target_ == "longtail.methods.Method"
    assert "callbacks" not in adapted.trainer
