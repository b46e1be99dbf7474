"""The processes of one run: the first one starts the others, and all end when one does.

Lightning's own launcher kills the first process, unnoted, when another one ends, and leaves the others waiting
when the first one is killed. Processes that srun or torchrun has started are ended by these.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig

from longtail.runs import read_failure, write_failure

if TYPE_CHECKING:
    import lightning as L

FIRST = "LONGTAIL_FIRST_PROCESS"  # in the environment of the others: its id
PATIENCE = 10.0  # seconds that a process has to notice that another one is gone
Lost = Callable[[], BaseException | None]


class ProcessLostError(Exception):
    """Another process of the run has ended before its time; the text is one line."""


@contextlib.contextmanager
def together(trainer: "L.Trainer", run_dir: Path) -> Iterator[None]:
    """Run the block in all processes of a run, and end them all when one of them ends.

    Raises:
        ProcessLostError: another process has failed or was killed.
        SystemExit: another process was told to stop; with its exit code, 128 + the number of the signal.
    """
    from longtail.training.callbacks import EarlierHandler

    environment = getattr(trainer.strategy, "cluster_environment", None)
    if trainer.world_size > 1 or trainer.num_devices > 1:
        trainer.callbacks.insert(0, EarlierHandler())  # type: ignore[attr-defined]
    if FIRST in os.environ:
        with ending_with(lost_first(int(os.environ[FIRST])), run_dir):
            yield
    elif trainer.num_devices == 1 or environment is None or environment.creates_processes_externally:
        yield
    else:
        os.environ |= {  # where they meet; Lightning starts no processes when it finds its rank here
            "MASTER_ADDR": environment.main_address,
            "MASTER_PORT": str(environment.main_port),
            "WORLD_SIZE": str(trainer.num_devices * trainer.num_nodes),
            "NODE_RANK": str(environment.node_rank()),
            "LOCAL_RANK": "0",
        }
        with started(trainer.num_devices - 1, run_dir) as others, ending_with(lost_of(others, run_dir), run_dir):
            yield


@contextlib.contextmanager
def started(count: int, run_dir: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run this very command in further processes, with the local ranks 1, 2, ...; kill them if the block fails."""
    directory = str(run_dir).replace("\\", "\\\\").replace('"', '\\"')
    command = [sys.executable, *sys.orig_argv[1:], f'hydra.run.dir="{directory}"', "hydra.output_subdir=null"]
    others: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(1, count + 1):
            environment = os.environ | {"LOCAL_RANK": str(rank), FIRST: str(os.getpid())}
            others.append(subprocess.Popen(command, env=environment, cwd=HydraConfig.get().runtime.cwd))
        yield others
        for other in others:
            with contextlib.suppress(subprocess.TimeoutExpired):
                other.wait(PATIENCE)
    finally:
        for other in others:
            other.kill()  # it keeps nothing that would have to be saved, and may wait for this one for ever
        for other in others:
            other.wait()


@contextlib.contextmanager
def ending_with(lost: Lost, run_dir: Path) -> Iterator[None]:
    """End the block when another process is lost: by what `lost` returns then, and by force where the block hangs."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            if (found := lost()) and not done.wait(PATIENCE):  # it waits for the other one on its device
                write_failure(run_dir, str(found))
                print(f"error: {found}", file=sys.stderr, flush=True)
                os._exit(found.code if isinstance(found, SystemExit) and isinstance(found.code, int) else 1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    except Exception as error:
        if not_answered(error):
            until = time.monotonic() + PATIENCE / 2
            while not (found := lost()) and time.monotonic() < until:
                time.sleep(0.05)
            if found:
                raise found from None
        raise
    finally:
        done.set()


def not_answered(error: Exception) -> bool:
    """Return whether an operation of several processes has failed because one of them is gone."""
    from torch import distributed

    return isinstance(error, distributed.DistError) or "gloo" in str(error)


def lost_first(process: int) -> Lost:
    """Return a function that tells whether the first process has ended."""
    return lambda: ProcessLostError("the first process of the run has ended") if os.getppid() != process else None


def lost_of(others: list[subprocess.Popen[bytes]], run_dir: Path) -> Lost:
    """Return a function that tells which of the others has failed."""

    def lost() -> BaseException | None:
        for rank, code in enumerate((other.poll() for other in others), 1):
            if code and code - 128 in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                return SystemExit(code)
            if code:
                said = read_failure(run_dir) or "see its output"
                reason = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"has failed: {said}"
                return ProcessLostError(f"process {rank} of {len(others) + 1} {reason}")
        return None

    return lost
