"""`longtail -m` through its launcher: the same results as one after the other, and nothing lost when a job dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import hydra.core.utils
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra

from longtail.cli import train
from longtail.errors import InputError

from ..conftest import Cli, metrics

QUICK = ["epochs=2", "model.width=4"]


def test_side_by_side_gives_what_one_after_the_other_gives(cli: Cli, tmp_path: Path) -> None:
    found: dict[str, list[Any]] = {}
    for launcher in ("workers", "basic"):
        sweep = tmp_path / launcher
        threads = ["hydra.launcher.at_once=2"] if launcher == "workers" else []
        options = ["-m", "seed=0,1", "trainer.precision=32-true", f"hydra.sweep.dir={sweep}"]
        done = cli(*options, f"hydra/launcher={launcher}", *threads, *QUICK)
        assert done.code == 0, done.err
        found[launcher] = [metrics(sweep / job) for job in ("0", "1")]
    for ours, basic in zip(found["workers"], found["basic"], strict=True):
        same = ("train_indices_sha256", "class_counts", "steps", "images_seen", "seed", "precision")
        assert {key: ours["fingerprint"][key] for key in same} == {key: basic["fingerprint"][key] for key in same}
        assert ours["drawn_per_class"] == basic["drawn_per_class"]
        # Sums over other numbers of threads round differently.
        assert ours["test"]["accuracy"] == pytest.approx(basic["test"]["accuracy"], abs=0.02)


def test_the_number_of_jobs_at_a_time_changes_no_result(cli: Cli, tmp_path: Path) -> None:
    found = []
    for at_once in (1, 3):
        sweep = tmp_path / str(at_once)
        options = ["-m", "seed=0,1,2", f"hydra.sweep.dir={sweep}", f"hydra.launcher.at_once={at_once}"]
        assert cli(*options, "hydra.launcher.threads=1", *QUICK).code == 0
        found.append([metrics(sweep / job)["test"] for job in ("0", "1", "2")])
    assert found[0] == found[1]


def test_a_line_per_job_names_what_varies(cli: Cli, tmp_path: Path) -> None:
    done = cli("-m", "seed=0,1", f"hydra.sweep.dir={tmp_path}/sweep", *QUICK)
    lines = [line for line in done.out.splitlines() if line.startswith(("1/2", "2/2"))]
    assert {line.split()[1] for line in lines} == {"seed=0", "seed=1"}
    assert all("accuracy 0." in line and "epochs" not in line for line in lines)
    assert "epoch 2/2" not in done.out
    assert "epoch 2/2" in (tmp_path / "sweep" / "0" / "output.log").read_text()


def test_a_job_that_is_killed_fails_and_the_others_do_not(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = train.build

    def build(cfg: Any) -> Any:
        if cfg.seed == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return built(cfg)

    monkeypatch.setattr(train, "build", build)
    done = cli("-m", "seed=0,1,2", f"hydra.sweep.dir={tmp_path}/sweep", *QUICK)
    assert done.code == 1
    assert "job 1 failed: the process of the job ended with exit code -9 (the machine ran out of memory" in done.error
    assert sorted(path.parent.name for path in (tmp_path / "sweep").glob("*/metrics.json")) == ["0", "2"]


def test_a_full_error_comes_from_the_job(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(RuntimeError, match=r"job 1 failed: InputError: imbalance\.ratio=0"):
        cli("-m", "imbalance.ratio=10,0", f"hydra.sweep.dir={tmp_path}/sweep", *QUICK)


@pytest.mark.parametrize("setting", ["at_once=0", "threads=many"])
def test_a_wrong_setting_is_one_line(cli: Cli, tmp_path: Path, setting: str) -> None:
    done = cli("-m", "seed=0,1", f"hydra.launcher.{setting}", f"hydra.sweep.dir={tmp_path}/sweep")
    assert done.code == 1
    assert done.error == f"hydra.launcher.{setting}: must be auto or a whole number >= 1"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_sweep_stops_its_jobs(tmp_path: Path, number: int, code: int) -> None:
    command = [sys.executable, "-m", "longtail.cli.train", "-m", "seed=0,1", "epochs=100000", "model.width=4"]
    options = ["logger=none", "hydra.sweep.dir=sweep", "hydra.launcher.at_once=2"]
    sweep = subprocess.Popen([*command, *options], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("sweep/*/checkpoints/last.ckpt"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    sweep.send_signal(number)
    _, err = sweep.communicate(timeout=60)
    assert sweep.returncode == code
    assert err.splitlines().count("stopped; the jobs that had ended are complete") == 1
    assert "Traceback" not in err
    for job in ("0", "1"):
        assert "stopped by a signal" in (tmp_path / "sweep" / job / "failure.txt").read_text()
        assert not (tmp_path / "sweep" / job / "metrics.json").exists()


@pytest.mark.parametrize(
    ("where", "value", "reason"),
    [("torch.cuda.is_initialized", lambda: True, "has used a GPU"), ("sys.platform", "darwin", "only Linux forks")],
)
def test_where_a_fork_is_not_safe_the_jobs_run_one_after_the_other(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, value: object, reason: str
) -> None:
    monkeypatch.setattr(where, value)
    done = cli("-m", "seed=0,1", f"hydra.sweep.dir={tmp_path}/sweep", *QUICK)
    assert done.code == 0
    assert f"warning: hydra/launcher=workers: {reason}" in done.err.replace("this process ", "")
    assert {metrics(tmp_path / "sweep" / job)["fingerprint"]["seed"] for job in ("0", "1")} == {0, 1}


@pytest.mark.parametrize("early", [True, False])
def test_a_job_that_is_killed_before_it_has_begun_is_not_lost(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, early: bool
) -> None:
    # Before its directory is there, or just after.
    where, name = (ConfigLoaderImpl, "load_sweep_config") if early else (hydra.core.utils, "_save_config")
    real, tests = getattr(where, name), os.getpid()

    def dying(*args: Any, **facts: Any) -> Any:
        last = [*args, *facts.values()][-1]  # the overrides, or the directory
        if ("seed=1" in last if early else last.parent.name == "1") and os.getpid() != tests:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **facts)

    monkeypatch.setattr(where, name, dying)
    done = cli("-m", "seed=0,1,2", f"hydra.sweep.dir={tmp_path}/sweep", *QUICK)
    assert done.code == 1
    assert "job 1 failed: the process of the job ended with exit code -9" in done.error
    assert sorted(path.parent.name for path in (tmp_path / "sweep").glob("*/metrics.json")) == ["0", "2"]


def test_a_sweep_in_batches_has_the_threads_asked_for_in_each(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "longtail.cli.train",
        "--config-dir",
        str(tmp_path),
        "-m",
        "loss=loud",
        "seed=0,1",
    ]
    options = ["hydra.launcher.threads=2", "hydra.sweeper.max_batch_size=1", "hydra.sweep.dir=sweep", "logger=none"]
    say = "import torch; print('threads', torch.get_num_threads())"
    (tmp_path / "loud.py").write_text(f"from longtail.losses import Softmax\n\n\nclass Loud(Softmax):\n    {say}\n")
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "loud.yaml").write_text("_target_: loud.Loud\n_partial_: true\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([*command, *options, *QUICK], cwd=tmp_path, env=environment, check=True, capture_output=True)
    for job in ("0", "1"):
        assert "threads 2" in (tmp_path / "sweep" / job / "output.log").read_text()


def test_a_sweep_of_no_jobs_ends(cli: Cli, tmp_path: Path) -> None:
    assert cli("-m", "loss=glob(zzz*)", f"hydra.sweep.dir={tmp_path}/sweep").code == 0


def test_several_devices_in_a_sweep_are_refused(cli: Cli, tmp_path: Path) -> None:
    devices = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu"]
    done = cli("-m", "seed=0,1", *devices, f"hydra.sweep.dir={tmp_path}/sweep")
    assert done.code == 1
    assert "trainer.devices=2: must be 1 in a sweep" in done.err


def test_warnings_of_the_jobs_are_said_once(cli: Cli, tmp_path: Path) -> None:
    double = ["sampler=class_balanced", "reweight=class_balanced"]
    done = cli("-m", "seed=0,1", *double, f"hydra.sweep.dir={tmp_path}/sweep", *QUICK)
    warnings = [line for line in done.err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert warnings[0].endswith("(in 2 of 2 jobs)")


def files(directory: Path) -> dict[Path, int]:
    """Every file with the time of its last change."""
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}


def finished(sweep: Path) -> list[Path]:
    return sorted(path.parent for path in sweep.glob("*/metrics.json"))


@pytest.mark.parametrize("kill", [os.kill, os.killpg])
def test_a_sweep_that_was_killed_is_completed_by_the_same_command(cli: Cli, tmp_path: Path, kill: Any) -> None:
    options = ["-m", "seed=0,1,2", "reweight=none,class_balanced", "hydra.launcher.threads=1", *QUICK]
    assert cli(*options, f"hydra.sweep.dir={tmp_path}/whole").code == 0
    command = [sys.executable, "-m", "longtail.cli.train", *options, "hydra.sweep.dir=killed", "logger=none"]
    sweep = tmp_path / "killed"
    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not finished(sweep) and time.monotonic() < deadline:
            time.sleep(0.01)
        kill(process.pid, signal.SIGKILL)
    before = {path: files(path) for path in finished(sweep)}
    assert 0 < len(before) < 6
    done = cli(*options, f"hydra.sweep.dir={sweep}")
    assert done.code == 0, done.err
    # The kill may have come while jobs were at their end: what counts is what the second sweep found.
    skipped = int(done.out.partition(" of 6 jobs are finished already")[0].splitlines()[-1])
    assert len(before) <= skipped < 6
    assert f"{6 - skipped} to go" in done.out
    assert f"{skipped} of 6 jobs had been finished before and were not run again" in done.out
    assert all(files(path) == times for path, times in before.items())
    for job in map(str, range(6)):
        assert metrics(sweep / job)["test"] == metrics(tmp_path / "whole" / job)["test"]
        assert not (sweep / job / "failure.txt").exists()


def test_a_larger_sweep_adds_its_jobs_and_takes_nobodys_directory(cli: Cli, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    directory = f"hydra.sweep.dir={sweep}"
    assert cli("-m", "seed=0,1", "reweight=none", directory, *QUICK).code == 0
    before = files(sweep / "0") | files(sweep / "1")
    # Another order, another logger and another name: the jobs are the same.
    done = cli("-m", "reweight=none", "seed=2,1", "name=other", "logger.mode=offline", directory, *QUICK)
    assert done.code == 0, done.err
    assert "1 of 2 jobs are finished already; 1 to go" in done.out
    assert [metrics(sweep / job)["fingerprint"]["seed"] for job in ("0", "1", "2")] == [0, 1, 2]
    done = cli("-m", "seed=1", "reweight=class_balanced", directory, *QUICK)
    assert done.code == 0, done.err
    assert len(finished(sweep)) == 4
    assert files(sweep / "0") | files(sweep / "1") == before


def test_what_failed_or_is_broken_is_run_again_in_its_place(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = tmp_path / "sweep"
    options = ["-m", "seed=0,1,2", f"hydra.sweep.dir={sweep}", *QUICK]
    built = train.build

    def build(cfg: Any) -> Any:
        if cfg.seed == 1:
            raise InputError("seed=1: not today")
        return built(cfg)

    monkeypatch.setattr(train, "build", build)
    assert cli(*options).code == 1
    monkeypatch.undo()
    (sweep / "2" / "metrics.json").write_text('{"test": {"accu')
    before = files(sweep / "0")
    monkeypatch.chdir(tmp_path)
    done = cli(*options)
    assert done.code == 0, done.err
    assert "1 of 3 jobs are finished already; 2 to go" in done.out
    assert [path.name for path in finished(sweep)] == ["0", "1", "2"]
    assert not (sweep / "1" / "failure.txt").exists()
    assert files(sweep / "0") == before
    again = cli(*options)
    assert "3 of 3 jobs are finished already; 0 to go" in again.out
    assert again.out.splitlines()[-3].split()[:1] == ["3"], again.out  # the table covers them all


def test_a_job_that_is_killed_on_its_second_attempt_keeps_nothing_of_the_first(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = tmp_path / "sweep"
    options = ["-m", "seed=0,1", f"hydra.sweep.dir={sweep}", *QUICK]
    assert cli(*options).code == 0
    (sweep / "1" / "metrics.json").write_text("{")
    (sweep / "1" / "failure.txt").write_text("of the first attempt")
    real, tests = hydra.core.utils._save_config, os.getpid()

    def dying(*args: Any) -> None:
        if os.getpid() != tests:
            os.kill(os.getpid(), signal.SIGKILL)
        real(*args)

    monkeypatch.setattr(hydra.core.utils, "_save_config", dying)
    done = cli(*options)
    assert done.code == 1
    assert "job 1 failed: the process of the job ended with exit code -9" in done.error
    assert not (sweep / "1" / "metrics.json").exists()
    assert not (sweep / "1" / "checkpoints" / "last.ckpt").exists()


def test_equal_jobs_have_a_directory_each(cli: Cli, tmp_path: Path) -> None:
    options = ["-m", "seed=0,0", f"hydra.sweep.dir={tmp_path}/sweep", *QUICK]
    assert cli(*options).code == 0
    assert [path.name for path in finished(tmp_path / "sweep")] == ["0", "1"]
    again = cli(*options, "hydra.sweeper.max_batch_size=1")
    assert again.out.count("1 of 1 jobs are finished already; 0 to go") == 2
    assert "2 of 2 jobs had been finished before" in again.out
    assert [path.name for path in finished(tmp_path / "sweep")] == ["0", "1"]


def test_directories_may_be_named_by_the_settings(cli: Cli, tmp_path: Path) -> None:
    sweep = f"hydra.sweep.dir={tmp_path}/sweep"
    named = "hydra.sweep.subdir=loss-${loss._target_}/seed${seed}"
    assert cli("-m", "seed=0,1", sweep, named, *QUICK).code == 0
    done = cli("-m", "seed=0,1,2", sweep, named, *QUICK)
    assert "2 of 3 jobs are finished already; 1 to go" in done.out
    assert len(list((tmp_path / "sweep").glob("loss-*/seed?/metrics.json"))) == 3
    other = cli("-m", "seed=0", "reweight=none", sweep, named, *QUICK)
    assert other.code == 1
    assert other.error.startswith(f"hydra.sweep.subdir={named.partition('=')[2]}: {tmp_path}/sweep/loss-")
    assert other.error.endswith("seed0 is the directory of another job already")


def test_a_finished_job_gives_the_sweeper_what_it_gave_when_it_ran(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[list[Any]] = []
    real = Hydra.multirun

    def multirun(self: Hydra, **facts: Any) -> Any:
        batches = real(self, **facts)
        given.append([result.return_value for results in batches for result in results])
        return batches

    monkeypatch.setattr(Hydra, "multirun", multirun)
    for _ in range(2):
        held_out = "validation_per_class=10,0"
        assert cli("-m", held_out, f"hydra.sweep.dir={tmp_path}/sweep", *QUICK).code == 0
    assert given[0] == given[1]
    assert isinstance(given[0][0], float)
    assert given[0][1] is None
