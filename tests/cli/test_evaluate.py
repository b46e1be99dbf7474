"""`longtail-eval`: the rest of it is tested with the runs it evaluates, in `test_train.py`."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from longtail.cli.evaluate import compare
from longtail.cli.saved import adapt, read
from longtail.errors import InputError

from ..conftest import Cli, metrics

BEFORE = Path(__file__).parents[1] / "runs" / "before"


def test_compare_names_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    scores = {"accuracy": 0.5, "accuracy_few": None, "loss": 1.0}
    compare(scores, dict(scores))
    assert capsys.readouterr().out == "the same numbers as the run\n"
    compare(scores, scores | {"loss": 1.5})
    assert capsys.readouterr().out == "differs from the run: loss 1.0 -> 1.5\n"


def test_a_run_of_an_earlier_version_gets_its_own_numbers_back(cli: Cli, run_dir: Path) -> None:
    shutil.copytree(BEFORE, run_dir)
    done = cli(f"run_dir={run_dir}", "accelerator=cpu", evaluation=True)
    assert done.code == 0, done.err
    for name, value in metrics(run_dir)["test"].items():  # in bfloat16, which not every processor has
        assert metrics(run_dir / "evaluation")["test"][name] == pytest.approx(value, abs=0.02, nan_ok=True), name


@pytest.mark.parametrize("content", ['{"test": {"accu', "[]", "[" * 100_000])
def test_a_run_whose_metrics_are_broken_did_not_finish(content: str, cli: Cli, run_dir: Path) -> None:
    shutil.copytree(BEFORE, run_dir)
    (run_dir / "metrics.json").write_text(content)
    done = cli(f"run_dir={run_dir}", "accelerator=cpu", evaluation=True)
    assert done.code == 0
    assert f"run_dir={run_dir}: the run did not finish" in done.err


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("config.yaml", "a: [", "cannot be read"),
        ("config.yaml", "5", "cannot be read"),
        ("config.yaml", "[1]", "cannot be read"),
        ("config.yaml", "seed: ${nope", "cannot be read"),
        ("config.yaml", "seed: 5", "has no epochs"),
        ("config.yaml", "", "has no seed"),
        ("hydra.yaml", "", "has no hydra.mode"),
        ("hydra.yaml", "hydra: {mode: RUN, sweep: {dir: a}}", "has no hydra.runtime.choices"),
        ("hydra.yaml", None, "is missing"),
    ],
)
def test_a_broken_config_is_one_line(name: str, content: str | None, reason: str, tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    if content is not None:
        (tmp_path / ".hydra" / name).write_text(content)
    with pytest.raises(InputError) as refused:
        read(tmp_path, name)
    line = f"run_dir={tmp_path}: must be the directory of a run, its .hydra/{name} {reason}"
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("name", "value"), [("drawn", None), ("drawn", 3), ("scores", None), ("epoch", "x")])
def test_a_checkpoint_without_what_a_run_records_is_refused(name: str, value: Any, cli: Cli, run_dir: Path) -> None:
    shutil.copytree(BEFORE, run_dir)
    path = run_dir / "checkpoints" / "last.ckpt"
    torch.save(torch.load(path, weights_only=True) | {name: value}, path)
    done = cli(f"run_dir={run_dir}", "accelerator=cpu", evaluation=True)
    assert done.error == f"checkpoint={path}: must be one of a run: its {name} is missing or wrong"
    assert not (run_dir / "evaluation").exists()


def test_a_setting_of_an_earlier_version_is_taken_by_its_present_name() -> None:
    run = OmegaConf.create({"sampler": {"epoch": "oversample"}, "dataset": {}, "trainer": {"callbacks": []}})
    adapted = adapt(run, "cpu")
    assert adapted.sampler == {"epoch_length": "oversample"}
    assert adapted.method._target_ == "longtail.methods.Method"
    assert "callbacks" not in adapted.trainer
