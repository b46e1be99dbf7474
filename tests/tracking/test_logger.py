"""A W&B run: how it starts and ends, what it is sent, and what happens when W&B fails."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
import yaml
from lightning.pytorch.utilities.exceptions import SIGTERMException
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from longtail.cli.app import CONF
from longtail.errors import InputError
from longtail.runs import read_per_class
from longtail.tracking.logger import GuardedWandbLogger, RunDescription, Staging, finishing, start

from ..conftest import Cli, WandbServer, metrics
from .conftest import Trained

OFFLINE = {"mode": "offline", "project": "p"}
WANDB = str(Path(sys.executable).with_name("wandb"))


def described(directory: Path, **given: Any) -> RunDescription:
    return RunDescription(directory, "train", "a run", **given)


def test_an_offline_run_reads_back_whole(offline_run: Trained) -> None:
    (log,) = offline_run.directory.glob("wandb/offline-run-*/*.wandb")
    assert f"W&B is offline; send this run later with: wandb sync run/wandb/{log.parent.name}" in offline_run.out
    command = [WANDB, "leet", "inspect", "--json", str(log)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    records = [json.loads(line) for line in printed.splitlines()]
    run = next(r["run"] for r in records if r["type"] == "run")
    config = run["config"]["update"]
    assert config["imbalance"]["ratio"] == 50
    assert config["class_counts"] == metrics(offline_run.directory)["fingerprint"]["class_counts"]
    assert len(config["weights"]) == 10
    assert {"loss=softmax", "reweight=class_balanced", "model=small_cnn"} <= set(run["tags"])
    logged: dict[str, Any] = {}
    for record in records:
        if record["type"] == "history":
            logged |= {key.partition(".")[0]: value for key, value in record["history"]["item"].items()}
    expected = {"train/loss", "train/lr", "val/accuracy", "val/accuracy_std", "val/accuracy_min", "val/class/_0"}
    expected |= {"test/accuracy", "test/accuracy_std", "test/class/_9", "test/classes", "test/confusion_matrix"}
    assert expected <= set(logged), sorted(logged)
    assert logged["test/accuracy"] == pytest.approx(metrics(offline_run.directory)["test"]["accuracy"])


def test_the_loggers_beside_wandb_get_curves_scores_and_settings(offline_run: Trained) -> None:
    expected = metrics(offline_run.directory)["test"]
    logs = offline_run.directory / "logs"
    with (logs / "csv" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = {key: value for row in rows for key, value in row.items() if value}
    assert {"train/loss", "val/class/_0", "sampler/share_few"} <= set(found)
    assert float(found["test/accuracy"]) == pytest.approx(expected["accuracy"])
    classes = [row.score for row in read_per_class(offline_run.directory)]
    assert [float(found[f"test/class/_{c}"]) for c in range(10)] == pytest.approx(classes)
    settings = yaml.safe_load((logs / "csv" / "version_0" / "hparams.yaml").read_text())
    assert (settings["imbalance"]["ratio"], settings["options"]["loss"]) == (50, "softmax")
    events = EventAccumulator(str(logs / "tensorboard" / "version_0")).Reload()
    assert {"train/loss", "val/class/_0"} <= set(events.Tags()["scalars"])
    assert events.Scalars("test/accuracy")[-1].value == pytest.approx(expected["accuracy"])
    assert events.Scalars("test/class/_9")[-1].value == pytest.approx(classes[9])


def test_wandb_stages_its_files_in_its_own_folder(
    offline_run: Trained, online_run: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for trained in (offline_run, online_run):
        assert not (trained.directory / "artifacts").exists()
    monkeypatch.setenv("WANDB_DATA_DIR", "own")
    staging = Staging(tmp_path)
    used = Path(os.environ["WANDB_DATA_DIR"], "artifacts", "staging")
    assert used.is_relative_to(tmp_path / "wandb")
    used.mkdir(parents=True)
    (used / "table").touch()
    staging.end()
    assert os.environ["WANDB_DATA_DIR"] == "own"
    assert (used / "table").exists()
    (used / "table").unlink()
    staging.end()
    assert list(tmp_path.iterdir()) == [tmp_path / "wandb"]
    assert not used.parent.exists()


def test_an_online_run_sends_config_curves_and_results(online_run: Trained) -> None:
    assert f"W&B: {online_run.server.url}" in online_run.out
    assert "warning" not in online_run.err
    (run,) = online_run.server.runs.values()
    assert (run["exitcode"], run["jobType"]) == (0, "train")
    assert run["displayName"] == "longtail-digits-exponential-uniform_minibatch-softmax-none-ordinary-small_cnn-seed0"
    assert run["config"]["sampler"]["value"]["samples_per_class"] is None
    assert run["summary"]["test/accuracy"] == pytest.approx(metrics(online_run.directory)["test"]["accuracy"])
    assert any("val/class/_3" in row for row in run["history"])


def test_a_run_fills_five_sections_and_shows_what_its_sampler_drew(online_run: Trained) -> None:
    (run,) = online_run.server.runs.values()
    shown = {key.partition("/")[0] for row in run["history"] for key in row if not key.startswith("_")}
    assert shown - {"epoch", "trainer"} == {"train", "val", "test", "sampler", "figures"}
    defined = {metric.get("1"): metric["6"] for metric in run["config"]["_wandb"]["value"]["m"]}
    hidden = 2  # the number of this option in what W&B sends
    assert hidden in defined["epoch"]
    assert hidden in defined["trainer/global_step"]
    drawn = [row for row in run["history"] if "sampler/share_few" in row]
    assert len(drawn) == 2
    assert drawn[0]["sampler/share_few"] == pytest.approx(0.5, abs=0.01)
    assert drawn[0]["sampler/share_std"] < 0.01


def test_each_job_of_a_sweep_is_a_run_of_its_group(cli: Cli, tmp_path: Path, logged_in: WandbServer) -> None:
    sweep = ["-m", f"hydra.sweep.dir={tmp_path}/my_sweep", "hydra/launcher=basic", "reweight=none,class_balanced"]
    assert cli(*sweep, "trainer=debug", "model.width=4", wandb=True).code == 0
    wandb.teardown()
    assert len(logged_in.runs) == 2
    assert {run["groupName"] for run in logged_in.runs.values()} == {"my_sweep"}
    options = {run["config"]["options"]["value"]["reweight"] for run in logged_in.runs.values()}
    assert options == {"none", "class_balanced"}


def test_an_agent_runs_a_job_of_a_wandb_sweep(
    tmp_path: Path, logged_in: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    shipped = yaml.safe_load((CONF / "wandb" / "sweep.yaml").read_text())
    shipped["command"] += ["trainer=debug", "model.width=4"]  # what all jobs share
    assert wandb.sweep(shipped) == "sweep1"
    at_once = "import wandb.wandb_agent; wandb.wandb_agent.Agent.POLL_INTERVAL = 0.1"  # seconds, instead of 5
    program = f"{at_once}; wandb.agent('lab/longtail/sweep1', count=1)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "locked" not in done.stderr
    (run,) = logged_in.runs.values()
    assert run["displayName"] == "longtail-digits-exponential-random-softmax-none-ordinary-small_cnn-seed0"
    assert run["sweep"] == run["groupName"] == "sweep1"
    assert run["exitcode"] == 0
    assert run["summary"]["test/accuracy"] >= 0
    config = {key: entry["value"] for key, entry in run["config"].items()}
    assert config["reweight"] == "none"  # the sweep's word
    assert config["settings"]["reweight"]["_target_"] == "longtail.reweight.none"
    assert config["options"]["reweight"] == "none"
    assert config["imbalance"] == config["settings"]["imbalance"]


def test_settings_are_in_the_config_once_without_a_wandb_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"reweight": {"beta": 0.5}, "seed": 1}
    run = described(Path(), settings=settings, options={"loss": "focal"}, facts={"weights": [1.0] * 10_001, "n": 3})
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    assert run.config == {**settings, "options": {"loss": "focal"}, "n": 3}  # without the long list
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    assert run.config["settings"] == settings


def test_a_tag_fits_into_what_wandb_takes() -> None:
    assert described(Path(), options={"loss": "focal", "model": "m" * 80}).tags == ["loss=focal", f"model={'m' * 58}"]


@pytest.mark.parametrize(
    ("error", "code"),
    [(ArithmeticError, None), (SIGTERMException, 143), (KeyboardInterrupt, None), (SystemExit, None)],
)
def test_a_run_that_ends_by_an_exception_is_marked_failed(
    error: type[BaseException], code: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger, ended = GuardedWandbLogger(None, Staging(tmp_path)), list[int]()
    logger.staging.end()
    monkeypatch.setattr(logger, "finish", ended.append)
    with pytest.raises(SystemExit if code else error) as raised, finishing(logger):
        raise error
    assert ended == [1]
    assert getattr(raised.value, "code", None) == code


def test_wandb_is_told_that_a_run_failed(tmp_path: Path, logged_in: WandbServer) -> None:
    logger = start({"mode": "online", "project": "p"}, described(tmp_path))
    with pytest.raises(ArithmeticError), finishing(logger):
        raise ArithmeticError
    wandb.teardown()
    (run,) = logged_in.runs.values()
    assert run["exitcode"] == 1
    assert "WANDB_DATA_DIR" not in os.environ


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_online_without_a_key_does_not_ask_in_a_terminal(tmp_path: Path) -> None:
    import pty

    program = (
        "from pathlib import Path; from longtail.tracking.logger import *;\n"
        "logger = start({'mode': 'online', 'project': 'p'}, RunDescription(Path('run'), 'train', 'a'))\n"
        "with finishing(logger): print('started')"
    )
    controller, terminal = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    environment["NETRC"] = str(tmp_path / "netrc")
    streams: dict[str, Any] = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    run = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, env=environment, **streams)
    os.close(terminal)
    shown = b""
    try:
        while b"choice" not in shown and (text := os.read(controller, 4096)):
            shown += text
    except OSError:  # the other side is closed: the run has ended
        pass
    run.kill()
    run.wait()
    os.close(controller)
    assert b"choice" not in shown
    assert b"there is no API key" in shown
    assert b"started" in shown
    assert len(list(tmp_path.glob("run/wandb/offline-run-*"))) == 1


def test_after_wandbs_process_died_the_next_attempt_gets_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []
    original = wandb.init

    def broken_once(*args: Any, **kwargs: Any) -> Any:
        calls.append(kwargs["mode"])
        if len(calls) == 1:
            raise ConnectionResetError("gone")
        return original(*args, **kwargs)

    monkeypatch.setattr(wandb, "init", broken_once)
    with finishing(start(OFFLINE, described(tmp_path))):
        pass
    assert calls == ["offline", "offline"]
    assert "could not start offline: ConnectionResetError: gone" in capsys.readouterr().err
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 1


def test_there_is_no_logger_when_wandb_cannot_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise wandb.errors.CommError("no")

    monkeypatch.setattr(wandb, "init", refuse)
    logger = start(OFFLINE, described(tmp_path))
    assert logger is None
    assert "W&B could not start offline: CommError: no" in capsys.readouterr().err
    with finishing(logger):
        pass


def test_a_logger_that_fails_warns_once_and_goes_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls = []

    def broken(*args: Any, **kwargs: Any) -> None:
        calls.append(args)
        raise ConnectionError("the server is gone")

    logger = GuardedWandbLogger(SimpleNamespace(log=broken), Staging(tmp_path))
    logger.staging.end()
    for step in range(3):
        logger.log_metrics({"train/loss": 1.0}, step)
    logger.log_table("test/classes", columns=["a"], data=[[1]])
    assert len(calls) == 1
    line = "warning: W&B failed and is off for the rest of this run: ConnectionError: the server is gone\n"
    assert capsys.readouterr().err == line


def test_a_disabled_run_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert start({"mode": "auto"}, described(tmp_path)) is None
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_mode_names_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^logger.mode=sometimes: must be"):
        start({"mode": "sometimes"}, described(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "shared")
    with pytest.raises(InputError, match=r"^WANDB_MODE=shared: must be one of"):
        start({"mode": "auto"}, described(tmp_path))
