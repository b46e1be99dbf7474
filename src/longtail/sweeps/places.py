"""The directories of a sweep's jobs: whose they are, which are free, and that one sweep at a time is at work in them.

A job is known by the digest of its settings. So the same sweep, started again, finds what it has finished, and a
larger one adds to it; no job ever takes the directory of another.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longtail.runs import atomic_write, directories, read_metrics

EARLY = {".hydra", "output.log", "failure.txt"}  # what a job leaves that was killed before its settings were saved


@dataclass(frozen=True)
class Place:
    """Where a job's results go.

    Attributes:
        number: of the job.
        digest: of its settings.
        directory: its own.
        metrics: what is in its `metrics.json`, if it has been finished before.
    """

    number: int
    digest: str
    directory: Path
    metrics: Mapping[str, Any] | None = None


class Places:
    """Gives each job of a sweep its directory: the one that it had before, or a new one.

    Args:
        sweep_dir: the sweep's.
        identify: (job directory) -> digest of the settings of the job in it, None if they were not saved.
        taken: directories that jobs of this sweep have already; it grows.
    """

    def __init__(self, sweep_dir: Path, identify: Callable[[Path], str | None], taken: set[Path]) -> None:
        self.taken = taken
        self.known: dict[str, list[Place]] = {}
        for directory in sorted(directories(sweep_dir), key=lambda path: (len(path.name), path.name)):
            if digest := identify(directory):
                number = int(directory.name) if directory.name.isdecimal() else 0
                self.known.setdefault(digest, []).append(Place(number, digest, directory, read_metrics(directory)))
        self.next = 0

    def give(self, digest: str, name: Callable[[int], Path]) -> Place:
        """The place of a job.

        Args:
            digest: of its settings.
            name: (number) -> the directory that a new job of this number would have.

        Raises:
            ValueError: its directory does not depend on the number, and is another job's.
        """
        own = [place for place in self.known.get(digest, ()) if place.directory not in self.taken]
        if own:
            place = min(own, key=lambda place: place.metrics is None)  # the first that is finished, if one is
        else:
            while not self._is_free(directory := name(self.next)):
                if name(self.next + 1) == directory:
                    raise ValueError(f"{directory} is the directory of another job already")
                self.next += 1
            place = Place(self.next, digest, directory)
        self.taken.add(place.directory)
        return place

    def _is_free(self, directory: Path) -> bool:
        return directory not in self.taken and is_free(directory)


def is_free(directory: Path) -> bool:
    """Whether a new job may have the directory: none has saved its settings there, nor anything else."""
    if not directory.is_dir():
        return not directory.exists()
    config = directory / ".hydra" / "config.yaml"
    return {path.name for path in directory.iterdir()} <= EARLY and not (config.exists() and config.stat().st_size)


def note(sweep_dir: Path, jobs: Mapping[str, Sequence[str]]) -> None:
    """Write down which jobs the sweep has, so that those that it never comes to are missed; earlier ones stay.

    Args:
        sweep_dir: the sweep's directory.
        jobs: digest of the settings -> overrides.
    """
    given = {digest: list(overrides) for digest, overrides in jobs.items()}
    before = {digest: overrides for digest, overrides in noted(sweep_dir).items() if overrides not in given.values()}
    with atomic_write(sweep_dir / "jobs.json") as file:
        file.write(json.dumps(before | given, indent=1) + "\n")


def noted(sweep_dir: Path) -> dict[str, list[str]]:
    """The jobs that are written down, digest -> overrides; none where that is missing or broken."""
    try:
        jobs = json.loads((sweep_dir / "jobs.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    entries = jobs.items() if isinstance(jobs, dict) else ()
    return {digest: [str(part) for part in overrides] for digest, overrides in entries if isinstance(overrides, list)}


@contextlib.contextmanager
def sweep_lock(sweep_dir: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Keep other sweeps out of a sweep's directory, until the last process that was forked in the block has ended.

    A sweep that was killed leaves jobs that need a moment to stop.

    Args:
        sweep_dir: the sweep's directory.
        say: called with a line if there is something to wait for.
    """
    with (sweep_dir / ".lock").open("w") as file:
        with contextlib.suppress(ImportError):  # Windows, where nothing is forked
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"another sweep is at work in {sweep_dir}; waiting for its end")
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError:
                pass  # a file system without locks
        yield
