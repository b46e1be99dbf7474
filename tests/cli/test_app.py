"""What the commands refuse: one line, exit code 1, and nothing left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import MissingConfigException
from hydra.types import RunMode
from omegaconf import OmegaConf

from longtail.cli import app
from longtail.cli.app import CONF
from longtail.errors import InputError, wants_traceback
from longtail.losses import Softmax

from ..conftest import Cli, outcome


def test_an_unwritable_output_directory_is_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = cli(f"hydra.run.dir={tmp_path}/file/run")
    assert done.code == 1
    assert done.error.startswith(f"hydra.run.dir={tmp_path}/file/run: must be a writable directory")
    done = cli("-m", "seed=0,1", f"hydra.sweep.dir={tmp_path}/file/sweep")
    assert done.code == 1
    assert done.error.startswith("hydra.sweep.dir=")


def test_full_error_shows_the_traceback(cli: Cli, quick: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(InputError, match=r"imbalance\.ratio=0"):
        cli(*quick, "imbalance.ratio=0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["experiment=nope"], "experiment=nope: must be one of "),
        (["-m", "experiment=nope", "seed=0,1"], "experiment=nope: must be one of "),
        (["-m", "reweight=none,nope"], "reweight=nope: must be one of class_balanced, class_balanced_sqrt"),
        (["-m", "seed=0,1", "hydra/launcher=nope"], "hydra/launcher=nope: must be one of basic, "),
        (["-m", "epoch=1,2"], "epoch=1: no such setting; did you mean epochs?"),
        (["-m", "seed=0,x"], "seed=x: must be a whole number >= 0"),
        (["-m", "seed=interval(0,1)"], "seed=interval(0,1): must be a list of values"),
        (["epoch=3"], "epoch=3: no such setting; did you mean epochs?"),
        (["-m", "+epoch=1,2"], "epoch=1: no such setting; did you mean epochs?"),
        (["-m", "epochs=0,1"], "epochs=0: must be a whole number >= 1"),
        (["+epoch=3"], "epoch=3: no such setting; did you mean epochs?"),
        (["epochs=0"], "epochs=0: must be a whole number >= 1"),
        (["seed=${nope}"], "seed: Interpolation key 'nope' not found"),
        (["loss=null"], "loss=null: must be one of alpha_balanced, alpha_focal, "),
        (["reweight=true"], "reweight=true: must be one of class_balanced, "),
        (["-m", "loss=softmax,nan"], "loss=nan: must be one of alpha_balanced, "),
        (["~epochs", "epochs=2"], "epochs=2: must not be deleted by ~ and set too"),
        (["-m", "imbalance.ratio=10,0"], "imbalance.ratio=0: must be a finite number >= 1"),
        (["-m", "reweight.beta=0.9,2"], "reweight.beta=2: must be a number in [0, 1)"),
        (["-m", "optimizer.lr=0.1,abc"], "optimizer.lr=abc: must be a finite number >= 0"),
        (["-m", "loss=focal", "loss.gamma=1,-1"], "loss.gamma=-1: must be a finite number >= 0"),
        (["dataset=[1]"], "dataset=[1]: must be one of arrays, "),
        (["~seed"], "seed: must not be deleted"),
        (["-m", "seed=range(0,0)"], "seed=range(0,0): must give at least one value"),
        (["seed=["], "seed=[: no viable alternative"),
        (["--config-name=nope"], "Cannot find primary config 'nope'."),
    ],
)
def test_what_cannot_be_composed_is_one_line_and_leaves_nothing(
    arguments: list[str], message: str, cli: Cli, tmp_path: Path
) -> None:
    done = cli(*arguments)
    assert done.code == 1
    assert done.error.startswith(message)
    assert done.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_line_lists_every_option(cli: Cli) -> None:
    options = ", ".join(sorted(path.stem for path in (CONF / "loss").glob("*.yaml")))
    assert cli("loss=nope").error == f"loss=nope: must be one of {options}"
    refused = cli("logger=[csv,nope]", wandb=True)
    assert refused.error == "logger=[csv, nope]: must be one of csv, mlflow, none, tensorboard, wandb"
    assert cli("logger=nope", evaluation=True, wandb=True).error.startswith("logger=nope: must be one of ")


@pytest.mark.parametrize("arguments", [["experiment=nope"], ["-m", "seed=0,1", "loss=nope,softmax"]])
def test_a_full_error_of_the_composition_shows_the_traceback(
    arguments: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(MissingConfigException):
        cli(*arguments)


@pytest.mark.parametrize("flag", ["-m", "--multirun"])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_sweep_is_asked_for_anywhere_on_the_line(flag: str, position: int, cli: Cli) -> None:
    arguments = ["seed=0,1", "hydra.launcher.at_once=none"]
    arguments.insert(position, flag)
    assert cli(*arguments).error.startswith("hydra.launcher.at_once=none: must be")


@pytest.mark.parametrize(
    "arguments",
    [
        ["seed=1", "--config-dir", "DIR", "loss=of_a_lab"],
        ["loss=of_a_lab", "--config-dir=DIR"],
        ["loss=of_a_lab", "-cd", "DIR", "seed=1"],
    ],
)
def test_a_flag_may_stand_among_the_overrides(arguments: list[str], cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "of_a_lab.yaml").write_text("_target_: mine.Own\n")
    done = cli(*(argument.replace("DIR", str(tmp_path)) for argument in arguments), "--cfg", "job", "epochs=7")
    assert done.code == 0, done.err
    assert "_target_: mine.Own" in done.out
    assert "epochs: 7" in done.out


def test_a_broken_file_of_the_users_is_named(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "broken.yaml").write_text("gamma: [\n")
    done = cli(f"--config-dir={tmp_path}", "loss=broken")
    assert done.code == 1
    assert done.error.startswith(f"{tmp_path}/loss/broken.yaml: must be YAML: ")


def test_what_is_interrupted_before_it_trains_stops_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(cfg: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(sys, "argv", ["longtail", "logger=none"])
    done = outcome(lambda: app.main("train", interrupted), capfd)
    assert (done.code, done.err) == (130, "stopped\n")


@pytest.mark.parametrize(
    ("code", "line"), [(3, "stopped (exit code 3)"), (143, "stopped by a signal (exit code 143)")]
)
def test_a_part_that_exits_is_not_taken_for_a_signal(
    code: int, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HydraConfig, "get", lambda: OmegaConf.create({"mode": RunMode.RUN}))
    with pytest.raises(SystemExit), app.report_errors(tmp_path):
        raise SystemExit(code)
    assert (tmp_path / "failure.txt").read_text() == f"{line}\n"


BROKEN = {"TypeError": "'<' not supported", "ValueError": "shapes do not fit", "AssertionError": ""}


def broken(class_counts: torch.Tensor, kind: str) -> Softmax:
    if kind == "none":
        return Softmax(class_counts)
    raise {"TypeError": TypeError, "ValueError": ValueError, "AssertionError": AssertionError}[kind](BROKEN[kind])


@pytest.mark.parametrize("kind", BROKEN)
def test_a_bug_in_a_part_shows_its_traceback_and_keeps_the_directory(
    kind: str, cli: Cli, quick: list[str], run_dir: Path
) -> None:
    done = cli(*quick, "loss._target_=tests.cli.test_app.broken", f"+loss.kind={kind}")
    assert done.code == 1
    assert done.err.count("Traceback") == 1
    assert "in broken" in done.err
    assert f"{kind}: {BROKEN[kind]}".strip(": ") in done.err
    assert "run_job" not in done.err
    assert (run_dir / "failure.txt").read_text().startswith(kind)
    assert (run_dir / ".hydra" / "config.yaml").exists()


def test_a_bug_in_a_part_fails_its_job_and_the_sweep_goes_on(cli: Cli, tmp_path: Path) -> None:
    jobs = ["loss._target_=tests.cli.test_app.broken", "+loss.kind=TypeError,none"]
    done = cli("-m", *jobs, "trainer=debug", "model.width=4", f"hydra.sweep.dir={tmp_path}/sweep")
    assert done.code == 1
    assert "Traceback" not in done.err
    (failure,) = (tmp_path / "sweep").glob("*/failure.txt")
    log = failure.with_name("output.log").read_text()
    assert "Traceback" in log
    assert "in broken" in log
    assert len(list((tmp_path / "sweep").glob("*/metrics.json"))) == 1


@pytest.mark.parametrize("wish", [None, "1"])
def test_hydra_raises_its_errors_whatever_the_user_wants_to_see(
    wish: str | None, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    if wish:
        monkeypatch.setenv("HYDRA_FULL_ERROR", wish)
    monkeypatch.setattr(sys, "argv", ["longtail"])
    seen = []
    app.main("train", lambda cfg: seen.append((os.environ["HYDRA_FULL_ERROR"], wants_traceback())))
    assert seen == [("1", wish == "1")]
    assert os.environ.get("HYDRA_FULL_ERROR") == wish
    assert "LONGTAIL_FULL_ERROR" not in os.environ


def test_python_runs_the_package() -> None:
    command = [sys.executable, "-m", "longtail", "--cfg", "job", "epochs=7"]
    assert "epochs: 7" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
