"""What a sweep says in the terminal."""

import contextlib
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from longtail.runs import read_failure, read_metrics


@dataclass
class Job:
    """A job of a sweep as found on disk; `test` is None if it left no result."""

    directory: Path
    overrides: dict[str, str]
    test: Mapping[str, float | None] | None
    failure: str


def read_job(directory: Path, overrides: Sequence[str]) -> Job:
    """Read a job's result from its run directory; a missing or broken one is a failure with its reason."""
    options = dict(item.lstrip("+~").partition("=")[::2] for item in overrides)
    if metrics := read_metrics(directory):
        return Job(directory, options, metrics["test"], "")
    return Job(directory, options, None, read_failure(directory) or "no result")


class SweepProgress:
    """A line for every job that has ended, and how far the sweep is: in a terminal by a bar, else in the lines.

    Args:
        console: where to write.
        jobs: the overrides of each job; a line shows those that not all jobs have.
        to_go: how many of the jobs are run; the others have been finished before.

    Attributes:
        bar: to be entered as a context around the sweep.
    """

    def __init__(self, console: Console, jobs: Sequence[Sequence[str]], to_go: int) -> None:
        self.console, self.jobs, self.to_go = console, jobs, to_go
        self.common = set.intersection(*map(set, jobs)) if len(jobs) > 1 else set()
        columns = (TextColumn("{task.description}"), BarColumn(None), TimeElapsedColumn(), TimeRemainingColumn())
        # Refreshed by hand: a thread of its own would not survive the fork of a worker.
        self.bar = Progress(*columns, console=console, auto_refresh=False, disable=not console.is_terminal)
        self.task = self.bar.add_task("", total=to_go)
        self.started = time.monotonic()
        self.ended = 0
        self.running = 1

    def waiting(self, running: int) -> None:
        """Bring the bar up to date."""
        self.running = running
        self.bar.update(self.task, description=f"{self.ended} of {self.to_go} jobs, {running} at a time")
        self.bar.refresh()

    def end(self, job: int, directory: Path) -> None:
        """Say how a job ended."""
        self.ended += 1
        self.bar.advance(self.task)
        found = read_job(directory, self.jobs[job])
        if found.test is None:
            outcome = f"failed: {found.failure}"
        else:
            outcome = f"accuracy {found.test['accuracy']:.3f}  std {found.test['accuracy_std']:.3f}"
        options = " ".join(option for option in self.jobs[job] if option not in self.common)
        line = f"{self.ended}/{self.to_go}  {options}  {outcome}"
        if not self.console.is_terminal:
            line += f"  ({self._times()})"
        self.console.print(line, soft_wrap=True, markup=False, style=None if found.test else "red")

    def _times(self) -> str:
        """Time since the start, and until the end as far as one can tell."""
        elapsed = time.monotonic() - self.started
        if self.ended == self.to_go:
            return duration(elapsed)
        done = self.ended + (self.running - 1) / 2  # the other jobs that run are half-way, on average
        left = elapsed / done * max(self.to_go - done, 0)
        return f"{duration(elapsed)}, about {duration(left, exact=False)} left"


def duration(seconds: float, exact: bool = True) -> str:
    """A time in words: 8 s, 1 min 20 s, 2 h 5 min; if it is not exact in its larger unit alone."""
    whole = round(seconds)
    for unit, smaller, size, factor in (("h", "min", 3600, 60), ("min", "s", 60, 1)):
        if whole >= size:
            if not exact:
                return f"{round(whole / size)} {unit}"
            large, rest = divmod(whole // factor, size // factor)
            return f"{large} {unit} {rest} {smaller}" if rest else f"{large} {unit}"
    return f"{whole} s"


def warnings_of(jobs: Sequence[Job]) -> Counter[str]:
    """The distinct warnings that the jobs have left in their `output.log`, and how many jobs had each."""
    found: Counter[str] = Counter()
    for job in jobs:
        with contextlib.suppress(OSError):
            lines = (job.directory / "output.log").read_text().splitlines()
            found.update({line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")})
    return found


def sweep(jobs: Sequence[Job]) -> Table:
    """Mean and sample standard deviation over seeds of accuracy and accuracy_std, a line per combination.

    Only the options that differ between the jobs are shown. Failed jobs are counted in a column of their own.
    """
    names = list(dict.fromkeys(name for job in jobs for name in job.overrides))
    varied = [name for name in names if name != "seed" and len({job.overrides.get(name, "") for job in jobs}) > 1]
    cells: dict[tuple[str, ...], list[Job]] = {}
    for job in jobs:
        cells.setdefault(tuple(job.overrides.get(name, "") for name in varied), []).append(job)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in varied:
        table.add_column(escape(name))
    for title in ("runs", "failed", "accuracy", "std over classes"):
        table.add_column(title, justify="right")
    for options, members in cells.items():
        done = [job.test for job in members if job.test is not None]
        failed = len(members) - len(done)
        scores = (_mean_and_std([test.get(key) for test in done]) for key in ("accuracy", "accuracy_std"))
        style = "red" if failed else None
        table.add_row(*map(escape, options), str(len(done)), str(failed) if failed else "", *scores, style=style)
    return table


def _mean_and_std(values: Sequence[float | None]) -> str:
    numbers = [v for v in values if v is not None]
    if not numbers:
        return "-"
    mean = f"{statistics.mean(numbers):.3f}"
    return f"{mean} ± {statistics.stdev(numbers):.3f}" if len(numbers) > 1 else mean
