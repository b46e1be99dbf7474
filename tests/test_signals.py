"""A signal ends a command in good order, whatever it is at: one line, exit code 128 + its number, and a note."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import wandb

from longtail import runs
from longtail.signals import Stopped, ending

from .conftest import Cli, WandbServer

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("command", ["longtail", "report"])
def test_a_command_that_is_stopped_while_it_imports_says_one_line(
    number: signal.Signals, command: str, tmp_path: Path
) -> None:
    for library in ("hydra", "rich"):  # the first that the commands import
        (tmp_path / library).mkdir()
        (tmp_path / library / "__init__.py").write_text(f"import os; os.kill(os.getpid(), {int(number)})")
    start = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from longtail.__main__ import {command}; {command}()"
    done = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "stopped\n")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_run_that_is_stopped_before_it_begins_notes_it(
    number: signal.Signals, cli: Cli, quick: list[str], run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(name: str, directory: str) -> None:
        Path(directory).mkdir()
        signal.raise_signal(number)

    monkeypatch.setattr("longtail.sweeps.jobs.refuse_unwritable", make)
    done = cli(*quick)
    assert done.code == 128 + number
    assert [line.partition(";")[0] for line in done.err.splitlines()] == ["stopped"]
    assert runs.read_failure(run_dir) == f"stopped by a signal (exit code {128 + number})"


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("longtail.training.build.build", signal.SIGTERM),
        ("wandb.Run.define_metric", signal.SIGTERM),
        ("longtail.training.module.TrainingModule.test_step", signal.SIGHUP),
        ("longtail.training.results.write_results", signal.SIGINT),
    ],
)
def test_a_run_that_is_stopped_outside_of_training_notes_it_and_finishes_at_wandb(
    moment: str,
    number: signal.Signals,
    cli: Cli,
    quick: list[str],
    run_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    logged_in: WandbServer,
) -> None:
    monkeypatch.setattr(moment, lambda *_, **__: signal.raise_signal(number))
    done = cli(*quick, wandb=True)
    assert done.code == 128 + number
    assert "Traceback" not in done.err
    assert [line.partition(";")[0] for line in done.err.splitlines() if not line.startswith("warning")] == ["stopped"]
    assert runs.read_failure(run_dir) == f"stopped by a signal (exit code {128 + number})"
    assert runs.read_metrics(run_dir) is None
    wandb.teardown()
    assert all(run["exitcode"] == 1 for run in logged_in.runs.values())
    assert bool(logged_in.runs) == (moment != "longtail.training.build.build")
    assert "WANDB_DATA_DIR" not in os.environ


def test_a_stop_that_a_library_swallows_is_not_lost(
    cli: Cli, quick: list[str], run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swallowing(*_: object) -> None:
        with contextlib.suppress(SystemExit):
            signal.raise_signal(signal.SIGTERM)
        raise AttributeError("partially initialized module")

    monkeypatch.setattr("longtail.training.build.build", swallowing)
    done = cli(*quick)
    assert (done.code, len(done.err.splitlines())) == (143, 1)
    assert runs.read_failure(run_dir) == "stopped by a signal (exit code 143)"


def test_what_is_ignored_stays_ignored_and_handlers_come_back() -> None:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    with pytest.raises(Stopped, match="143"), ending(), ending():  # noqa: PT012
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGTERM)
    signal.signal(signal.SIGHUP, hangup)
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


def test_a_batch_job_of_slurm_goes_back_into_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    command = tmp_path / "scontrol"
    command.write_text("#!/bin/sh\necho scontrol $*\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with pytest.raises(Stopped, match=str(128 + signal.SIGUSR1)), ending():
        signal.raise_signal(signal.SIGUSR1)
    assert capfd.readouterr() == ("scontrol requeue 7\n", "stopped\n")
    monkeypatch.setenv("SLURM_PROCID", "1")  # leaves it to the first
    with ending():
        signal.raise_signal(signal.SIGUSR1)
    assert capfd.readouterr() == ("", "")
