"""Running Longtail as a command, to be timed from outside."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points

from longtail.benchmark.report import UnavailableError


def longtail_command() -> list[str]:
    """What the `longtail` command does, with this Python, whether or not its folder is on PATH."""
    installed = [entry.value for entry in entry_points(group="console_scripts", name="longtail")]
    module, _, function = (installed[0] if installed else "longtail.cli.train:main").partition(":")
    script = f"import sys; from {module} import {function}; sys.argv[0] = 'longtail'; sys.exit({function}())"
    return [sys.executable, "-c", script]


def seconds(command: Sequence[str], environment: Mapping[str, str] | None = None, says: str = "") -> float:
    """Seconds until a command has ended; it must succeed and print `says`.

    Raises:
        UnavailableError: it fails.
    """
    started = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})}
    )
    elapsed = time.perf_counter() - started
    if done.returncode or says not in done.stdout:
        raise UnavailableError(complaint(done.stderr, done.returncode))
    return elapsed


def seconds_to_line(command: Sequence[str], start: str) -> float:
    """Seconds until a command prints a line that begins with `start`; it is ended then.

    Raises:
        UnavailableError: it ends without.
    """
    started, said = time.perf_counter(), ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(start):
                elapsed = time.perf_counter() - started
                process.kill()
                return elapsed
            said += line
    raise UnavailableError(complaint(said, process.returncode))


def complaint(said: str, code: int) -> str:
    """The last line a failed command wrote."""
    lines = said.strip().splitlines() or [f"exit code {code}"]
    return f"the command failed: {lines[-1]}"
