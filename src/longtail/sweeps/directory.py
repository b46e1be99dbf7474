"""The directory of a sweep: the jobs that are planned in it, and the lock that keeps other sweeps out."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from longtail.errors import warn
from longtail.runs import atomic_write


def plan(sweep_dir: Path, jobs: Mapping[str, Sequence[str]]) -> None:
    """Write down the jobs of a sweep, so that those that it never comes to are missed; earlier ones stay.

    Args:
        sweep_dir: the sweep's directory.
        jobs: name of the job's directory -> overrides.
    """
    given = {name: list(overrides) for name, overrides in jobs.items()}
    same = {name.rpartition("+")[2] for name in given}  # digits of the identity
    before = {
        name: overrides
        for name, overrides in planned(sweep_dir).items()
        if overrides not in given.values() and name.rpartition("+")[2] not in same
    }
    with atomic_write(sweep_dir / "planned.json") as file:
        file.write(json.dumps(before | given, indent=1) + "\n")


def planned(sweep_dir: Path) -> dict[str, list[str]]:
    """Return the jobs written down, directory name -> overrides; none where that is missing or broken."""
    try:
        jobs = json.loads((sweep_dir / "planned.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    entries = jobs.items() if isinstance(jobs, dict) else ()
    return {name: [str(part) for part in overrides] for name, overrides in entries if isinstance(overrides, list)}


@contextlib.contextmanager
def sweep_lock(sweep_dir: Path) -> Iterator[None]:
    """Keep other sweeps out of a sweep's directory, until the last process that was forked in the block has ended.

    A sweep that was killed leaves jobs that need a moment to stop.
    """
    with (sweep_dir / ".lock").open("w") as file:
        with contextlib.suppress(ImportError):  # Windows, where nothing is forked
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                warn(f"another sweep is at work in {sweep_dir}; waiting for its end")
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:
                pass  # a file system without locks
        yield
