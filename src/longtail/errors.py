"""How the commands speak: one line for what the user can mend, on stderr, with exit code 1."""

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal import utils as hydra_utils
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from rich.console import Console

HERE = Path(__file__).resolve().parent
CONF = HERE / "conf" if (HERE / "conf").is_dir() else HERE.parents[1] / "conf"  # in the wheel, in a checkout
TOP_LEVEL = ("dataset", "data_dir", "batch_size", "WANDB_MODE")  # named by parts, but not settings of a group
console = Console(highlight=False)


class InputError(Exception):
    """Something the user set is wrong; the text is one line that names the setting, its value, what is allowed."""


@contextlib.contextmanager
def setting(group: str) -> Iterator[None]:
    """Name the setting in a part's complaint: `ratio=0.5: must ...` becomes `imbalance.ratio=0.5: must ...`.

    Raises:
        InputError: for any exception in the block; one that is no ValueError or OSError is named by its type.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        cause: BaseException = error
        if isinstance(error, InstantiationException):
            cause = error.__cause__ or error
            if node := re.search(r"full_key: (\S+)", str(error)):
                group = node[1]
        text = " ".join(str(cause).split())
        if not isinstance(cause, ValueError | OSError):
            text = f"{type(cause).__name__}: {text} (HYDRA_FULL_ERROR=1 shows where)"
        name = re.match(r"(\w+)=", text)
        if group and not (name and name[1] in TOP_LEVEL):
            text = f"{group}.{text}" if name else f"{group}: {text}"
        raise InputError(text) from error


@contextlib.contextmanager
def one_line_errors(run_dir: Path | None = None) -> Iterator[None]:
    """Turn what the user can mend into one line on stderr and exit code 1; HYDRA_FULL_ERROR=1 shows the traceback.

    A job of a sweep notes its failure in its directory and lets the next one start; a single run that was refused
    leaves no directory.
    """
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN

    def note(line: str) -> None:
        if run_dir:
            with contextlib.suppress(OSError):
                (run_dir / "failure.txt").write_text(line + "\n")

    try:
        yield
    except SystemExit as stop:
        note(f"stopped by a signal (exit code {stop.code})")
        print("stopped; the last finished epoch, if any, is in checkpoints/last.ckpt", file=sys.stderr)
        raise
    except Exception as error:
        known = isinstance(error, InputError | FloatingPointError)
        line = str(error) if known else f"{type(error).__name__}: {error}"
        note(line)
        if run_dir and isinstance(error, InputError) and not sweeping:
            discard(run_dir)
        if os.environ.get("HYDRA_FULL_ERROR") == "1" or (not known and not sweeping):
            raise
        if not known:
            sys.excepthook(type(error), error, error.__traceback__)
        print(f"error: {line}", file=sys.stderr)
        if not sweeping:
            raise SystemExit(1) from None


@contextlib.contextmanager
def one_line_composition() -> Iterator[None]:
    """Have Hydra say in one line what it cannot compose; HYDRA_FULL_ERROR=1 shows the traceback."""
    report = hydra_utils.run_and_report

    def report_in_one_line(function: Callable[[], Any]) -> Any:
        def composed() -> Any:
            try:
                return function()
            except Exception as error:
                expected = isinstance(error, HydraException) or type(error).__module__.startswith("submitit.")
                if not expected or os.environ.get("HYDRA_FULL_ERROR") == "1":
                    raise
                refuse(describe(error))

        return report(composed)

    hydra_utils.run_and_report = report_in_one_line  # type: ignore[assignment]
    try:
        yield
    finally:
        hydra_utils.run_and_report = report


def describe(error: Exception) -> str:
    """A line for what Hydra or a launcher cannot do."""
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return f"{group}={option}: must be one of {', '.join(error.options)}"
    text = " ".join(str(error).partition("\nConfig search path")[0].split())
    if isinstance(error, OverrideParseException):
        text = f"{error.override}: {text}"
    if isinstance(error, HydraException):
        return text
    what = " ".join(str(error).splitlines()[:2])  # the rest is the job's log
    return f"a job was lost: {what}; the same command completes the sweep when no job of it is in the queue any more"


def refuse(line: str) -> NoReturn:
    """Exit with one line."""
    print(f"error: {line}", file=sys.stderr)
    raise SystemExit(1)


def refuse_unwritable(name: str, directory: str) -> None:
    """Exit with one line if the directory cannot be made and written."""
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
        probe = Path(directory) / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        refuse(f"{name}={directory}: must be a writable directory ({error.strerror})")


def discard(run_dir: Path) -> None:
    """Remove the directory of a run that never started; one that holds anything else stays."""
    if {path.name for path in run_dir.iterdir()} <= {".hydra", "failure.txt"}:
        shutil.rmtree(run_dir, ignore_errors=True)


def warn(line: str) -> None:
    """One line on stderr."""
    print(f"warning: {line}", file=sys.stderr)
