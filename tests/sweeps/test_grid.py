"""A sweep runs every combination once, in directories that follow from the settings, and completes what is there."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import hydra.core.utils
import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from longtail.cli import app
from longtail.runs import write_metrics
from longtail.sweeps.directory import planned
from longtail.sweeps.jobs import identity

from ..conftest import Outcome, metrics, outcome

LAUNCHERS = ["workers", "basic"]


def result(cfg: DictConfig) -> None:
    """In the place of a training: the result of a run, and a trace of each time it is run."""
    directory = Path(HydraConfig.get().runtime.output_dir)
    with (directory / "times.txt").open("a") as file:
        file.write("run\n")
    scores = {"accuracy": 0.5 + cfg.seed / 100, "accuracy_std": 0.1}
    write_metrics(directory, {"test": scores, "val": None, "config_sha256": identity(cfg)})


def killed(cfg: DictConfig) -> None:
    """Die if the seed is 1."""
    if cfg.seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    result(cfg)


def failing(cfg: DictConfig) -> None:
    """Leave a failure if the seed is 1, as `longtail` does."""
    if cfg.seed == 1:
        (Path(HydraConfig.get().runtime.output_dir) / "failure.txt").write_text("seed=1: not today\n")
    else:
        result(cfg)


Sweep = Callable[..., Outcome]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Sweep:
    """Sweep in the directory `sweep` with a task in the place of a training."""
    monkeypatch.chdir(tmp_path)

    def call(*overrides: str, task: Callable[[DictConfig], None] = result, launcher: str = "workers") -> Outcome:
        options = ["logger=none", f"hydra/launcher={launcher}", "hydra.sweep.dir=sweep"]
        monkeypatch.setattr(sys, "argv", ["longtail", "-m", *overrides, *options])
        return outcome(partial(app.main, "train", task), capfd)

    return call


def times(directory: str | Path = "sweep") -> dict[str, int]:
    """How often each job was run, by the text of its settings."""
    return {
        path.parent.name.rpartition("+")[0]: len(path.read_text().split())
        for path in sorted(Path(directory).glob("*/times.txt"))
    }


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_every_combination_is_run_once_in_a_directory_of_its_name(sweep: Sweep, launcher: str) -> None:
    done = sweep("seed=0,1", "reweight=none,class_balanced", launcher=launcher)
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "4 jobs in sweep"
    assert times() == {
        f"reweight-{weight}+seed-{seed}": 1 for weight in ("class_balanced", "none") for seed in (0, 1)
    }
    for path in Path("sweep").glob("*/metrics.json"):
        assert path.parent.name.endswith(f"+{metrics(path.parent)['config_sha256'][:8]}")
    table = [line.split() for line in done.out.splitlines()]
    assert ["none", "2", "0.505", "±", "0.007", "0.100", "±", "0.000"] in table


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_the_same_command_runs_what_is_missing_failed_or_broken(sweep: Sweep, launcher: str) -> None:
    failed = sweep("seed=0,1,2", task=failing, launcher=launcher)
    assert failed.code == 1
    assert failed.error.startswith("job seed-1+")
    assert failed.error.endswith("failed: seed=1: not today")
    [broken] = Path("sweep").glob("seed-2+*")
    (broken / "metrics.json").write_text('{"test": {"accu')
    done = sweep("seed=0,1,2", launcher=launcher)
    assert done.code == 0, done.err
    assert "1 of 3 jobs are finished already; 2 to go" in done.out
    assert "1 of 3 jobs had been finished before and were not run again" in done.out
    assert times() == {"seed-0": 1, "seed-1": 1, "seed-2": 2}
    again = sweep("seed=0,1,2", launcher=launcher)
    assert "3 of 3 jobs are finished already; 0 to go" in again.out
    assert [line for line in again.out.splitlines() if line.split()[:1] == ["3"]], "the table covers them all"
    assert sum(times().values()) == 4


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_larger_sweep_adds_its_jobs_by_whatever_launcher(sweep: Sweep, launcher: str) -> None:
    [other] = set(LAUNCHERS) - {launcher}
    assert sweep("seed=0,1", "reweight=none", launcher=launcher).code == 0
    # Another order, another logger and another name: the jobs are the same. So they are with a default said.
    same = ["reweight=none", "seed=2,1", "name=other", "logger.mode=offline", "reduction=batch_mean"]
    done = sweep(*same, launcher=other)
    assert done.code == 0, done.err
    assert "1 of 2 jobs are finished already; 1 to go" in done.out
    assert sorted(times().values()) == [1, 1, 1]
    assert sweep("seed=1", "reweight=class_balanced", launcher=other).code == 0
    assert sorted(times().values()) == [1, 1, 1, 1]


def test_equal_jobs_are_run_once(sweep: Sweep) -> None:
    done = sweep("seed=0,1", "optimizer.lr=0.1,1e-1")
    assert done.code == 0
    assert done.err == "warning: 4 jobs have 2 different settings; each of these is run once\n"
    assert list(times().values()) == [1, 1]


def test_a_job_that_is_killed_fails_alone_and_nothing_of_an_earlier_attempt_stays(sweep: Sweep) -> None:
    assert sweep("seed=1").code == 0
    [directory] = Path("sweep").glob("seed-1+*")
    (directory / "metrics.json").write_text("{")
    (directory / "failure.txt").write_text("of the first attempt")
    done = sweep("seed=0,1,2", task=killed)
    assert done.code == 1
    assert done.error.startswith(f"job {directory.name} failed: the process of the job ended with exit code -9 (the")
    assert sorted(path.parent.name[:6] for path in Path("sweep").glob("*/metrics.json")) == ["seed-0", "seed-2"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_sweep_that_is_stopped_stops_its_jobs(sweep: Sweep, number: int, code: int) -> None:
    def stop_all(cfg: DictConfig) -> None:
        try:
            os.kill(os.getppid(), number)
            time.sleep(600)
        finally:
            Path("stopped").touch()

    done = sweep("seed=0,1", task=stop_all)
    assert done.code == code
    assert done.err == "stopped; the jobs that had ended are complete\n"
    assert Path("stopped").exists()


@pytest.mark.parametrize("early", [True, False])
def test_a_job_that_is_killed_before_it_has_begun_is_not_lost(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, early: bool
) -> None:
    # Before its directory is there, or just after.
    where, name = (OmegaConf, "select") if early else (hydra.core.utils, "configure_log")
    real, tests = getattr(where, name), os.getpid()

    def dying(*args: Any, **facts: Any) -> Any:
        if os.getpid() != tests:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **facts)

    monkeypatch.setattr(where, name, dying)
    done = sweep("seed=0")
    assert done.code == 1
    assert "the process of the job ended with exit code -9" in done.error
    assert list(Path("sweep").glob("seed-0+*/.hydra"))


def test_what_cannot_be_composed_is_said_before_anything_is_written(sweep: Sweep) -> None:
    assert sweep("seed=0,1", "loss=softmax,nope").code == 1
    assert not Path("sweep").exists()


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("hydra.launcher.at_once=0", "hydra.launcher.at_once=0: must be auto or a whole number >= 1"),
        ("run_dir=x", "run_dir=x: must not be set in a sweep, which goes on by its own command"),
        ("hydra.launcher.threads=many", "hydra.launcher.threads=many: must be auto or a whole number >= 1"),
        ("hydra.sweeper.max_batch_size=0", "hydra.sweeper.max_batch_size=0: must be a whole number >= 1"),
        (
            "hydra.sweep.subdir=${loss._target_}",
            "hydra.sweep.subdir: must be another directory for each job,"
            " two would have sweep/longtail.losses.Softmax",
        ),
    ],
)
def test_a_wrong_setting_is_one_line(sweep: Sweep, override: str, line: str) -> None:
    done = sweep("seed=0,1", override)
    assert done.code == 1
    assert done.error == line
    assert not Path("sweep").exists()


def test_directories_may_be_named_by_the_settings(sweep: Sweep) -> None:
    named = "hydra.sweep.subdir=loss-${loss._target_}/seed${seed}"
    assert sweep("seed=0,1", named).code == 0
    done = sweep("seed=0,1,2", named)
    assert "2 of 3 jobs are finished already; 1 to go" in done.out
    assert len(list(Path("sweep").glob("loss-*/seed?/metrics.json"))) == 3
    assert set(planned(Path("sweep"))) == {f"loss-longtail.losses.Softmax/seed{seed}" for seed in range(3)}


def test_a_sweep_writes_down_its_jobs_before_they_run(sweep: Sweep) -> None:
    def stop(cfg: DictConfig) -> None:
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        sweep("seed=0,1", task=stop, launcher="basic")
    assert [overrides[0] for overrides in planned(Path("sweep")).values()] == ["seed=0", "seed=1"]


def test_a_sweep_of_no_jobs_is_refused(sweep: Sweep) -> None:
    done = sweep("loss=glob(zzz*)")
    assert (done.code, done.error) == (1, "loss=glob(zzz*): must give at least one value")


def test_an_experiment_may_say_what_is_swept(sweep: Sweep, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "of_a_lab.yaml").write_text(
        "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      seed: 0,1\n      loss: focal\n"
    )
    assert sweep("--config-dir", str(tmp_path), "experiment=of_a_lab", "loss=softmax").code == 0
    assert times() == {"experiment-of_a_lab+loss-softmax+seed-0": 1, "experiment-of_a_lab+loss-softmax+seed-1": 1}


def test_jobs_in_batches_have_the_threads_of_the_whole_sweep(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def threads(cfg: DictConfig) -> None:
        result(cfg)
        Path(HydraConfig.get().runtime.output_dir, "threads.txt").write_text(str(torch.get_num_threads()))

    monkeypatch.setattr("longtail.sweeps.pool.available_cores", lambda: 12)
    monkeypatch.setattr("longtail.sweeps.launcher.Workers.preloaded", True)  # no thread of its own was used
    assert sweep("seed=0", task=threads).code == 0
    assert sweep("seed=0,1,2", "hydra.sweeper.max_batch_size=1", task=threads).code == 0
    found = {path.parent.name[:6]: path.read_text() for path in Path("sweep").glob("*/threads.txt")}
    assert found == {"seed-0": "12", "seed-1": "4", "seed-2": "4"}


@pytest.mark.parametrize(
    ("where", "value", "reason"),
    [("torch.cuda.is_initialized", lambda: True, "has used a GPU"), ("sys.platform", "darwin", "only Linux forks")],
)
def test_where_a_fork_is_not_safe_the_jobs_run_one_after_the_other(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, where: str, value: object, reason: str
) -> None:
    monkeypatch.setattr(where, value)
    done = sweep("seed=0,1")
    assert done.code == 0
    assert f"warning: hydra/launcher=workers: {reason}" in done.err.replace("this process ", "")
    assert times() == {"seed-0": 1, "seed-1": 1}


def test_warnings_of_the_jobs_are_said_once(sweep: Sweep) -> None:
    def warning(cfg: DictConfig) -> None:
        print("warning: odd settings")
        result(cfg)

    assert sweep("seed=0,1", task=warning).err == "warning: odd settings (in 2 of 2 jobs)\n"


def test_a_full_error_comes_from_the_job(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(cfg: DictConfig) -> None:
        raise ValueError(f"seed={cfg.seed}")

    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(RuntimeError, match=r"job seed-\d\+\w+ failed: ValueError: seed="):
        sweep("seed=0,1", task=broken)


def test_a_line_per_job_names_what_varies(sweep: Sweep) -> None:
    def chatty(cfg: DictConfig) -> None:
        print("epoch 1")
        result(cfg)

    done = sweep("seed=0,1", "epochs=1", task=chatty)
    lines = [line for line in done.out.splitlines() if line.startswith(("1/2", "2/2"))]
    assert {line.split()[1] for line in lines} == {"seed=0", "seed=1"}
    assert all("accuracy 0.5" in line and "epochs" not in line for line in lines)
    assert "epoch 1" not in done.out
    assert all(path.read_text() == "epoch 1\n" for path in Path("sweep").glob("*/output.log"))


def test_jobs_that_another_sweeper_makes_up_are_not_run_again(sweep: Sweep) -> None:
    for _ in range(2):
        done = sweep("seed=0,1", "hydra/sweeper=basic", "hydra.output_subdir=.hydra")  # a run writes its own
        assert done.code == 0, done.err
        assert [line for line in done.out.splitlines() if line.split()[:1] == ["2"]], "a table"
        assert times() == {"seed-0": 1, "seed-1": 1}
