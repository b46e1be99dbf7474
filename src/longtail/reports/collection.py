"""The runs that a report is about: found, read, and missed where a sweep never came to them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from rich.progress import track

from longtail import runs
from longtail.errors import console
from longtail.runs import Run

Item = TypeVar("Item")


def collect(directories: Sequence[Path]) -> list[Run]:
    """Read all runs in or below directories, each once, whatever leads to it; with a progress bar in a terminal.

    Raises:
        ValueError: a directory holds no run.
        OSError: a directory cannot be read.
    """
    found: dict[Path, Path] = {}
    for directory in directories:
        for path in runs.find(directory):
            found.setdefault(path.resolve(), path)
    paths = list(found.values())
    return [runs.read(path) for path in progress(paths, "reading runs")]


def progress(items: Sequence[Item], what: str) -> Iterable[Item]:
    """Go through items with a progress bar that vanishes; without one where no terminal shows it."""
    return track(items, what, console=console, transient=True, disable=not console.is_terminal)


def sweeps_of(found: Sequence[Run], directories: Sequence[Path]) -> list[Path]:
    """Return the directories of the sweeps that lie in one of the directories as a whole."""
    asked = [directory.resolve() for directory in directories]
    known = dict.fromkeys(run.sweep for run in found)
    return [sweep for sweep in known if sweep and any(sweep.resolve().is_relative_to(path) for path in asked)]


def not_started(sweep: Path, planned: Mapping[str, Sequence[str]]) -> list[Run]:
    """Return the jobs, directory name -> overrides, that a sweep was to run and that have no directory."""
    return [
        Run(sweep, {}, {}, {}, "not started", f"no directory has the settings of {' '.join(overrides) or 'the job'}")
        for name, overrides in planned.items()
        if not (sweep / name).exists()
    ]


def in_order(found: Sequence[Run], planned: Mapping[Path, Mapping[str, Sequence[str]]]) -> list[Run]:
    """Put runs in the order of their sweeps' plans, sweep -> directory name -> overrides; others come before."""
    paths = [sweep / name for sweep, jobs in planned.items() for name in jobs]
    position = {path: at for at, path in enumerate(paths)}
    return sorted(found, key=lambda run: position.get(run.directory, -1))
