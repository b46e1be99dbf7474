"""A run of several processes: it leaves what a run of one leaves, and ends in all when it ends in one."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra.core.hydra_config import HydraConfig

from longtail.cli import processes, train
from longtail.cli.processes import ProcessLostError

from ..conftest import SHORT, Cli, metrics

Others = list[subprocess.Popen[bytes]]
Start = Callable[[str], AbstractContextManager[Others]]
UNANSWERED = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer")


def ending_with(others: Others, place: Path) -> AbstractContextManager[None]:
    return processes.ending_with(processes.lost_of(others, place), place)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Run a program in a process beside this one."""
    monkeypatch.setattr(HydraConfig, "get", lambda: SimpleNamespace(runtime=SimpleNamespace(cwd=".")))

    def started(program: str) -> AbstractContextManager[Others]:
        monkeypatch.setattr(sys, "orig_argv", ["python", "-c", f"import os, signal, time; {program}"])
        return processes.started(1, tmp_path)

    return started


@pytest.mark.parametrize(
    ("program", "expected", "text"),
    [
        ("os._exit(143)", SystemExit, "143"),
        ("os.kill(os.getpid(), signal.SIGKILL)", ProcessLostError, "process 1 of 2 was killed by SIGKILL"),
        ("os._exit(1)", ProcessLostError, "process 1 of 2 has failed: why it failed"),
    ],
)
def test_a_process_ends_as_the_one_did_that_does_not_answer(
    program: str, expected: type[BaseException], text: str, start: Start, tmp_path: Path
) -> None:
    (tmp_path / "failure.txt").write_text("why it failed\n")
    with pytest.raises(expected, match=f"^{text}$"), start(program) as others, ending_with(others, tmp_path):
        raise UNANSWERED


def test_a_bug_is_not_taken_for_a_lost_process(start: Start, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a bug"), start("time.sleep(60)") as others, ending_with(others, tmp_path):
        raise RuntimeError("a bug")
    assert others[0].returncode == -signal.SIGKILL  # it would have waited for ever


def test_a_process_that_waits_for_a_lost_one_is_ended(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(processes, "PATIENCE", 0.1)
    monkeypatch.setattr(os, "_exit", codes.append)
    with start("os.kill(os.getpid(), signal.SIGKILL)") as others, ending_with(others, tmp_path):
        while not codes:
            time.sleep(0.01)
    assert codes == [1]
    assert (tmp_path / "failure.txt").read_text() == "process 1 of 2 was killed by SIGKILL\n"


def test_the_others_notice_that_the_first_process_is_gone() -> None:
    assert processes.lost_first(os.getppid())() is None
    assert isinstance(processes.lost_first(os.getpid())(), ProcessLostError)


def test_a_run_of_two_processes_is_that_of_one(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common = [*SHORT, "logger=none", "trainer.accelerator=cpu", "trainer.precision=32-true", "dataset.augment=null"]
    two = ["batch_size=64", "trainer.devices=2", "hydra.run.dir=two"]
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-m", "longtail", *common, *two])
    monkeypatch.setattr(sys, "argv", ["longtail", *common, *two])
    first = multiprocessing.get_context("fork").Process(target=train.main)
    first.start()
    assert cli(*common, "hydra.run.dir=one").code == 0
    first.join()
    assert first.exitcode == 0
    found, expected = metrics(tmp_path / "two"), metrics(tmp_path / "one")
    assert found["drawn_per_class"] == expected["drawn_per_class"]
    for fact in ("steps", "images_seen", "train_indices_sha256"):
        assert found["fingerprint"][fact] == expected["fingerprint"][fact]
    assert sum(torch.load(tmp_path / "two/checkpoints/last.ckpt", weights_only=True)["drawn"]) == 2 * 364
    assert cli("run_dir=two", evaluation=True).code == 0
    again = metrics(tmp_path / "two" / "evaluation")
    assert again["drawn_per_class"] == found["drawn_per_class"]
    assert again["test"] == pytest.approx(found["test"], rel=1e-6)  # whose loss was added up by two


def test_batch_norms_cannot_be_synchronised_on_a_cpu(cli: Cli, quick: list[str]) -> None:
    done = cli(*quick, "trainer.accelerator=cpu", "trainer.devices=2", "trainer.sync_batchnorm=true")
    assert done.error.startswith("trainer.sync_batchnorm=true: must be false")
