"""Processes that run the jobs of a sweep side by side, as many as the machine has room for.

They are forked from a process that has imported what every job needs, so a sweep pays its imports once, and what they
map from disk they share. How many run at a time follows from what the first job turns out to take. Linux alone.
"""

import contextlib
import ctypes
import multiprocessing
import os
import re
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

from longtail.signals import ending

MARGIN = 1.2  # room that is left for a job to take more than the first one
CUDA_CONTEXT = 2**30  # bytes that CUDA and its libraries take beside the tensors, generously

STOPPING = 90  # seconds that stopped jobs have to end, W&B's 60 included

# In a worker: the pipe to the pool, until that has heard what the present job takes; and how many GPUs there are.
_pool: Connection | None = None
_devices = 1


@dataclass(frozen=True)
class Need:
    """What a job takes, measured in its first steps.

    Attributes:
        memory: bytes of the process's own, at their peak; what is shared with the other workers is not counted.
        devices: GPUs that there are.
        device_memory: bytes of its GPU at their peak.
        device_free: bytes of its GPU that nobody takes, while the job does.
    """

    memory: int
    devices: int = 0
    device_memory: int = 0
    device_free: int = 0


@dataclass(frozen=True)
class Lost:
    """Stands for the result of a job whose process ended before it.

    Attributes:
        exit_code: of the process; -9 is the kernel's, when memory ran out.
    """

    exit_code: int | None


class Pool:
    """Run jobs 0 .. count - 1 in forked processes; each process runs one job after the other.

    Args:
        work: (job) -> what is sent back for it, which must survive pickling.
        at_once: jobs at a time; None for as many as there are cores and memory for. A second job starts when the
            first one has shown what it takes.
        threads: of PyTorch in each process.
    """

    def __init__(self, work: Callable[[int], Any], at_once: int | None = None, threads: int = 1) -> None:
        self.work, self.at_once, self.threads = work, at_once, threads
        self.need: Need | None = None
        self.workers: list[_Worker] = []

    def run(self, count: int, waiting: Callable[[int], None] = lambda running: None) -> Iterator[tuple[int, Any]]:
        """Yield (job, result) as the jobs end.

        Args:
            count: jobs that there are.
            waiting: called with the number of running jobs once a second.
        """
        slots = min(count, self.at_once or available_cores())
        pending = deque(range(count))
        try:
            while pending or any(worker.job is not None for worker in self.workers):
                for worker in self.workers:
                    if worker.job is None and pending:
                        worker.start(pending.popleft())
                while pending and self._has_room(slots):
                    free = min(set(range(slots)) - {worker.slot for worker in self.workers})
                    self.workers.append(_Worker(free, self.work, self.threads, self.workers))
                    self.workers[-1].start(pending.popleft())
                waiting(sum(worker.job is not None for worker in self.workers))
                ready = wait([worker.connection for worker in self.workers], timeout=1)
                for worker in [w for w in self.workers if w.connection in ready]:
                    yield from self._receive(worker)
        finally:
            for worker in self.workers:
                worker.stop()
            deadline = time.monotonic() + STOPPING
            for worker in self.workers:
                worker.end(deadline)
            self.workers = []

    def _receive(self, worker: "_Worker") -> Iterator[tuple[int, Any]]:
        job = worker.job
        try:
            message = worker.connection.recv()
        except (EOFError, ConnectionError):
            self.workers.remove(worker)
            if job is not None:
                yield job, Lost(worker.end(time.monotonic() + STOPPING))
            return
        need, *result = message
        self.need = Need(*map(max, vars(need).values(), vars(self.need or need).values()))
        worker.measured = True
        if result and job is not None:
            worker.job = None
            yield job, result[0]

    def _has_room(self, slots: int) -> bool:
        running = len(self.workers)
        if running >= slots or self.at_once or not running:
            return running < slots
        if self.need is None:
            return False
        starting = sum(not worker.measured for worker in self.workers)
        if (starting + 1) * self.need.memory * MARGIN > available_memory():
            return False
        if not self.need.devices:
            return True
        on_each = 1 + int(self.need.device_free / (self.need.device_memory * MARGIN))
        return running < on_each * self.need.devices


class _Worker:
    """One process, its end of the pipe, and the job that it is at."""

    def __init__(self, slot: int, work: Callable[[int], Any], threads: int, siblings: Sequence["_Worker"]) -> None:
        context = multiprocessing.get_context("fork")
        self.connection, far_end = context.Pipe()
        inherited = [self.connection, *(worker.connection for worker in siblings)]
        self.process: ForkProcess = context.Process(target=_serve, args=(far_end, inherited, work, threads, slot))
        sys.stdout.flush()
        self.process.start()
        far_end.close()
        self.slot = slot
        self.job: int | None = None
        self.measured = False

    def start(self, job: int) -> None:
        self.job = job
        with contextlib.suppress(ConnectionError):  # it died while it had nothing to do; reading will tell
            self.connection.send(job)

    def stop(self) -> None:
        """Tell the process to end, whatever it is at."""
        if self.job is not None:
            self.process.terminate()
        self.connection.close()

    def end(self, deadline: float) -> int | None:
        """Wait for the end of the process, not for ever, and give its exit code."""
        self.process.join(timeout=max(deadline - time.monotonic(), 0))
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        return self.process.exitcode


def _serve(
    connection: Connection, inherited: Sequence[Connection], work: Callable[[int], Any], threads: int, slot: int
) -> None:
    """Run the jobs that come through the pipe until it closes."""
    global _pool
    for end in inherited:
        end.close()
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the sweep gets it too, and stops its workers
    _take_device(slot)
    import torch

    torch.set_num_threads(threads)
    with ending(), contextlib.suppress(EOFError, ConnectionError):  # the sweep has ended
        while True:
            job = connection.recv()
            _pool = connection
            result = work(job)
            connection.send((measure(), result))


def is_measured() -> bool:
    """Whether a pool waits to hear what the present job takes."""
    return _pool is not None


def report_need() -> None:
    """Tell the pool what the present job takes, if it waits for that."""
    global _pool
    if _pool is not None:
        with contextlib.suppress(ConnectionError):  # the sweep is being stopped, and so will be the job
            _pool.send((measure(),))
        _pool = None


def measure() -> Need:
    """What this process takes."""
    import resource  # not on Windows

    import torch

    not_own = 0
    with contextlib.suppress(OSError):  # where the kernel does not say, all counts as its own
        rollup = dict(re.findall(r"^(\w+): +(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE))
        pages = {name: 1024 * int(size) for name, size in rollup.items()}
        # What is mapped from files, and what it still has in common with the process it was forked from.
        not_own = pages["Rss"] - pages["Anonymous"] + pages["Shared_Dirty"]
    memory = max(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - not_own, 0)
    if not (torch.cuda.is_available() and torch.cuda.is_initialized()):
        return Need(memory)
    device_memory = torch.cuda.max_memory_reserved() + CUDA_CONTEXT
    return Need(memory, _devices, device_memory, torch.cuda.mem_get_info()[0])


def available_memory() -> float:
    """Bytes that new processes can take without swapping; infinite where the system does not say."""
    try:
        available = 1024 * int(
            re.findall(r"^MemAvailable: +(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)[0]
        )
    except (OSError, IndexError):
        return float("inf")
    with contextlib.suppress(OSError, ValueError):  # no limit is the word max
        limit, used = (int(Path("/sys/fs/cgroup", name).read_text()) for name in ("memory.max", "memory.current"))
        cached = re.findall(r"^inactive_file (\d+)", Path("/sys/fs/cgroup/memory.stat").read_text(), re.MULTILINE)
        available = min(available, limit - used + sum(map(int, cached)))
    return available


def threads_per_job(jobs: int, at_once: int | None) -> int:
    """Return the cores divided by the jobs at a time, at least 1.

    It does not follow the memory, nor how many of the jobs are finished already: the rounding of a job's sums depends
    on it, and should not depend on the machine's other work.
    """
    cores = available_cores()
    return max(cores // min(jobs, at_once or cores), 1)


def available_cores() -> int:
    """Processor cores that this process may use, a container's share of them included."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # without a limit the quota is the word max
        quota, period = map(int, Path("/sys/fs/cgroup/cpu.max").read_text().split())
        cores = min(cores, max(quota // period, 1))
    return cores


def _take_device(slot: int) -> None:
    """Let the worker see one of the GPUs, in turn."""
    global _devices
    import torch

    count = torch.cuda.device_count()
    if count > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[slot % count]
        _devices = count


def _die_with_parent() -> None:
    """Have the kernel stop this process if the sweep is killed: nothing may write on behind its back."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
