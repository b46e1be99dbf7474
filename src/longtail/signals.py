"""What a signal does to a command: it ends it in good order, once, with one line and exit code 128 + its number.

Needs the standard library alone, so that the handlers are in place before anything large is imported.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType

STOP = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]  # not on Windows
REQUEUE = [getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)]  # of SLURM, of submitit
_told: list[int] = []  # the signals that have stopped the command


class Stopped(SystemExit):
    """A signal has ended the command."""

    said = False

    def say(self, kept: str = "") -> None:
        """Print that the command was stopped and what is kept of its work, unless that has been said."""
        if not self.said:
            with contextlib.suppress(OSError):  # the terminal may be gone
                print(f"stopped{kept and '; '}{kept}", file=sys.stderr)
        self.said = True


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """Let SIGTERM, SIGHUP and SIGINT end the block by `Stopped`, and say so; a block within another does nothing.

    In a batch job of SLURM, SIGUSR1 puts the job back into the queue before. A signal that is ignored, as by nohup,
    stays so.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is _stop:
        yield
        return
    handlers: dict[int, Callable[[int, FrameType | None], None]]
    handlers = {number: _stop for number in STOP if signal.getsignal(number) != signal.SIG_IGN}
    if "SLURM_JOB_ID" in os.environ and signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL:
        handlers[signal.SIGUSR1] = partial(_requeue, os.getpid())
    before = {}
    try:
        for number, handler in handlers.items():
            before[number] = signal.signal(number, handler)
        try:
            with lasting():
                yield
        finally:
            release()
    except Stopped as stopped:
        stopped.say()
        raise
    except KeyboardInterrupt:  # the second one, which does not wait for what the first one has begun
        raise SystemExit(128 + signal.SIGINT) from None
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
        _told.clear()


@contextlib.contextmanager
def keeping(what: str) -> Iterator[None]:
    """Say what is kept of the block's work if a signal ends it."""
    with ending():
        try:
            yield
        except Stopped as stopped:
            stopped.say(what)
            raise


@contextlib.contextmanager
def lasting() -> Iterator[None]:
    """Turn an error of the block into the stop that has led to it: some libraries swallow a `SystemExit`."""
    try:
        yield
    except Exception:
        check()
        raise


def check() -> None:
    """Stop if the command has been told to and goes on all the same.

    Raises:
        Stopped: it has been told to.
    """
    if _told:
        raise Stopped(128 + _told[0]) from None


def hold() -> None:
    """Let signals that stop the command wait until `release`."""
    _mask("SIG_BLOCK")


def release() -> None:
    """Let the signals that wait, and all later ones, stop the command."""
    _mask("SIG_UNBLOCK")


def _mask(how: str) -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(getattr(signal, how), STOP)


def _stop(number: int, frame: FrameType | None) -> None:
    """Leave by an exception, once, so that the way out is not cut short; SIGINT does so the second time."""
    _told.append(number)
    for other in STOP:
        if signal.getsignal(other) is _stop:
            signal.signal(other, signal.default_int_handler if other == signal.SIGINT else signal.SIG_IGN)
    raise Stopped(128 + number)


def _requeue(process: int, number: int, frame: FrameType | None) -> None:
    """Put the job back into SLURM's queue, where the same command continues it, and leave.

    Of several processes the first one does so, not what it has forked; SLURM ends the others.
    """
    if is_first_process() and os.getpid() == process:
        subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=False)
        _stop(number, frame)


def is_first_process() -> bool:
    """Return whether this is the first of the processes that Lightning, torchrun or SLURM starts for one run."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))
