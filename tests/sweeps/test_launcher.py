"""`longtail -m` with real trainings: the numbers do not depend on the launcher, nor on a kill in between."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from longtail.cli import train
from longtail.runs import write_metrics
from longtail.sweeps.jobs import identity, validation_score

from ..conftest import Cli, metrics, wait_for

SWEEP = ["-m", "seed=0,1,2", "epochs=2", "model.width=4", "logger=none"]
WORKERS = ["hydra.launcher.threads=1", "hydra.launcher.at_once=2"]


def start(directory: Path, *overrides: str) -> subprocess.Popen[str]:
    """Start a sweep in a process of its own."""
    command = [sys.executable, "-m", "longtail.cli.train", *overrides, "hydra.sweep.dir=sweep"]
    return subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(sweep: Path) -> dict[str, Path]:
    return {path.parent.name: path.parent for path in sweep.glob("*/metrics.json")}


def files(directory: Path) -> dict[Path, int]:
    """Every file with the time of its last change."""
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}


def test_a_killed_sweep_is_completed_by_the_same_command_and_gives_what_a_process_alone_gives(
    cli: Cli, tmp_path: Path
) -> None:
    sweep, alone = tmp_path / "sweep", tmp_path / "alone"
    with start(tmp_path, *SWEEP, *WORKERS) as process:
        wait_for(lambda: finished(sweep), process)
        process.kill()
    before = {name: files(path) for name, path in finished(sweep).items()}
    assert 0 < len(before) < 3
    done = cli(*SWEEP, *WORKERS, f"hydra.sweep.dir={sweep}")
    assert done.code == 0, done.err
    # The kill may have come while jobs were at their end: what counts is what the second sweep found.
    skipped = int(done.out.partition(" of 3 jobs are finished already")[0].splitlines()[-1])
    assert len(before) <= skipped < 3
    assert all(files(sweep / name) == times for name, times in before.items())
    done = cli(*SWEEP, "hydra/launcher=basic", f"hydra.sweep.dir={alone}")
    assert done.code == 0, done.err
    assert finished(sweep).keys() == finished(alone).keys()
    for name, path in finished(sweep).items():
        ours, basic = metrics(path), metrics(alone / name)
        for key in ("task", "test", "drawn_per_class", "fingerprint", "config_sha256"):
            assert ours[key] == basic[key], key
        assert "epoch 2/2" in (path / "output.log").read_text()
        assert not (path / "failure.txt").exists()


def test_a_stopped_sweep_stops_its_jobs(tmp_path: Path) -> None:
    options = ["-m", "seed=0,1", "epochs=100000", "model.width=4", "logger=none", "hydra.launcher.at_once=2"]
    process = start(tmp_path, *options)
    wait_for(lambda: len(list(tmp_path.glob("sweep/*/checkpoints/last.ckpt"))) == 2, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.splitlines().count("stopped; the jobs that had ended are complete") == 1
    assert "Traceback" not in err
    jobs = list((tmp_path / "sweep").glob("*+seed-*"))
    assert len(jobs) == 2
    for job in jobs:
        assert (job / "failure.txt").read_text() == "stopped by a signal (exit code 143)\n"
        assert not (job / "metrics.json").exists()


def test_several_devices_in_a_sweep_are_refused(cli: Cli, tmp_path: Path) -> None:
    devices = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.accelerator=cpu"]
    done = cli("-m", "seed=0,1", *devices, f"hydra.sweep.dir={tmp_path}/sweep")
    assert done.code == 1
    assert "trainer.devices=2: must be 1 in a sweep" in done.err


def test_a_job_that_another_sweeper_comes_back_to_gives_what_it_gave(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float | None] = []

    def trained(cfg: DictConfig, hydra: Any, run_dir: Path) -> Any:
        results = {"test": {"accuracy": 0.5, "accuracy_std": 0.1}, "val": {"accuracy": 0.25}}
        write_metrics(run_dir, {**results, "config_sha256": identity(cfg)})
        return 0.25

    def run(cfg: DictConfig) -> float | None:
        given.append(real(cfg))
        return given[-1]

    real = train.run
    monkeypatch.setattr(train, "train", trained)
    monkeypatch.setattr(train, "run", run)
    options = ["hydra/launcher=basic", "hydra/sweeper=basic", f"hydra.sweep.dir={tmp_path}/sweep"]
    assert "finished already" not in cli("-m", "seed=0,1", *options).out
    assert cli("-m", "seed=1,0", *options).out.count("finished already: ") == 2
    assert given == [0.25] * 4
    assert validation_score({"val": None}) is None
