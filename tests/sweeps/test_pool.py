"""The pool runs every job once, side by side as far as there is room, and outlives what happens to its processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from longtail.sweeps import pool as workers
from longtail.sweeps.pool import Lost, Need, Pool, threads_per_job

from ..conftest import wait_for

# The process of these tests has used PyTorch's threads, so its forks must not: see the launcher.


def pool(work: Callable[[int], Any], at_once: int | None = None) -> Pool:
    return Pool(work, at_once, threads=1)


def most_at_once(directory: Path) -> int:
    """The largest number of jobs between whose start and end there was a common moment."""
    spans = [tuple(map(float, path.read_text().split())) for path in directory.iterdir()]
    return max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)


def napping(directory: Path, together: int, measured: bool = True) -> Callable[[int], int]:
    """A job that waits until so many have started, and a moment more; it leaves a file with when it did."""

    def work(job: int) -> int:
        started = time.monotonic()
        (directory.parent / f"{directory.name}-{job}-started").touch()
        if measured:
            workers.report_need()
        while jobs_started(directory) < together and time.monotonic() < started + 60:
            time.sleep(0.02)
        time.sleep(0.3)  # in which one more would start, if there were room
        (directory / str(job)).write_text(f"{started} {time.monotonic()}")
        return job * job

    return work


def jobs_started(directory: Path) -> int:
    return len(list(directory.parent.glob(f"{directory.name}-*-started")))


def test_every_job_runs_once_in_another_process() -> None:
    results = dict(pool(lambda job: (job * job, os.getpid(), torch.get_num_threads()), 2).run(5))
    assert {job: square for job, (square, _, _) in results.items()} == {job: job * job for job in range(5)}
    processes = {process for _, process, _ in results.values()}
    assert os.getpid() not in processes
    assert len(processes) <= 2
    assert {threads for _, _, threads in results.values()} == {1}


@pytest.mark.parametrize("at_once", [1, 3])
def test_no_more_jobs_run_at_a_time_than_asked_for(tmp_path: Path, at_once: int) -> None:
    assert len(list(pool(napping(tmp_path, at_once), at_once).run(4))) == 4
    assert most_at_once(tmp_path) == at_once


def test_by_itself_it_runs_a_job_per_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "available_cores", lambda: 3)
    assert len(list(pool(napping(tmp_path, 3)).run(5))) == 5
    assert most_at_once(tmp_path) == 3


def test_by_itself_it_waits_until_the_first_job_has_shown_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "available_cores", lambda: 2)
    alone, side_by_side = (napping(tmp_path, together, measured=False) for together in (1, 3))

    def work(job: int) -> int:
        return side_by_side(job) if job else alone(job)

    assert len(list(pool(work).run(3))) == 3
    spans = {job: [float(moment) for moment in (tmp_path / str(job)).read_text().split()] for job in range(3)}
    assert max(spans[1][0], spans[2][0]) < min(spans[1][1], spans[2][1])
    assert spans[0][1] <= min(spans[1][0], spans[2][0])


@pytest.mark.parametrize("room", [1, 2, 3])
def test_memory_bounds_the_jobs_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    monkeypatch.setattr(workers, "available_cores", lambda: 4)
    monkeypatch.setattr(workers, "measure", lambda: Need(memory=1000))
    free = 1000 * (room + 0.5)

    def available() -> float:
        return free - 1000 * jobs_started(tmp_path)

    monkeypatch.setattr(workers, "available_memory", available)
    assert len(list(pool(napping(tmp_path, room)).run(room + 1))) == room + 1
    assert most_at_once(tmp_path) == room


def test_a_gpus_memory_bounds_the_jobs_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "available_cores", lambda: 8)
    monkeypatch.setattr(workers, "available_memory", lambda: float("inf"))
    need = Need(memory=1, devices=1, device_memory=100, device_free=130)  # room for one more
    monkeypatch.setattr(workers, "measure", lambda: need)
    assert len(list(pool(napping(tmp_path, 2)).run(5))) == 5
    assert most_at_once(tmp_path) == 2


def test_workers_take_the_gpus_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")

    meet = napping(tmp_path, 4)  # so that none runs two

    def work(job: int) -> tuple[str, int]:
        meet(job)
        return os.environ["CUDA_VISIBLE_DEVICES"], workers._devices

    seen = [result for _, result in pool(work, 4).run(4)]
    assert sorted(seen) == [("5", 2), ("5", 2), ("7", 2), ("7", 2)]


def test_a_job_whose_process_dies_is_lost_and_the_others_are_not() -> None:
    def work(job: int) -> int:
        if job == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if job == 2:
            os._exit(3)
        return job

    results = dict(pool(work, 2).run(5))
    assert results == {0: 0, 1: Lost(-9), 2: Lost(3), 3: 3, 4: 4}


def test_leaving_early_stops_the_jobs(tmp_path: Path) -> None:
    def work(job: int) -> None:
        (tmp_path / str(os.getpid())).touch()
        if job:
            time.sleep(600)

    for _ in pool(work, 2).run(2):
        break
    for path in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.name), 0)


def test_the_jobs_of_a_killed_sweep_do_not_run_on(tmp_path: Path) -> None:
    code = (
        "import os, time, pathlib\n"
        "from longtail.sweeps.pool import Pool\n"
        "def work(job):\n"
        "    pathlib.Path(str(os.getpid())).touch()\n"
        "    time.sleep(600)\n"
        "list(Pool(work, at_once=2, threads=1).run(2))\n"
    )
    sweep = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2, sweep)
    sweep.kill()
    sweep.wait()
    jobs = [int(path.name) for path in tmp_path.iterdir()]
    while any(_runs(job) for job in jobs):
        time.sleep(0.02)


def _runs(process: int) -> bool:
    """Whether it exists and is no zombie, which in a container nobody may collect."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_process_measures_its_own_memory() -> None:
    def work(job: int) -> int:
        ballast = bytearray(job * 200_000_000)
        ballast[::4096] = b"x" * len(ballast[::4096])
        return workers.measure().memory

    (_, small), (_, large) = sorted(pool(work, 1).run(2))
    assert 150_000_000 < large - small < 250_000_000
    assert 1e6 < workers.available_memory() < 1e15


def test_outside_of_a_pool_nobody_wants_to_know() -> None:
    assert not workers.is_measured()
    workers.report_need()


def test_threads_are_the_cores_divided_by_the_jobs_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "available_cores", lambda: 12)
    assert [threads_per_job(jobs, at_once) for jobs, at_once in ((4, None), (40, None), (40, 5), (1, 5))] == [
        3,
        1,
        2,
        12,
    ]
