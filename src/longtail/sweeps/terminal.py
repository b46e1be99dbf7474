"""What a sweep says in the terminal."""

import contextlib
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from longtail.errors import console, fitting, two_lines, warn
from longtail.runs import read_failure, read_metrics, relative_path
from longtail.runs.task import Task


@dataclass
class Outcome:
    """What a job of a sweep has left on disk; `metrics` is None if it left no result."""

    directory: Path
    options: dict[str, str]
    metrics: Mapping[str, Any] | None
    failure: str = ""

    def scores(self) -> dict[str, float | None]:
        """Return the test metrics that every table shows, by title; empty without a result."""
        if self.metrics is None:
            return {}
        task = Task.of(self.metrics)
        return {task.title(metric): self.metrics["test"].get(metric) for metric in task.compared}


def read_job(directory: Path, overrides: Sequence[str], identity: str | None = None) -> Outcome:
    """Read a job's result from its run directory; a missing, broken or another job's is a failure with its reason."""
    options = dict(item.lstrip("+~").partition("=")[::2] for item in overrides)
    if (metrics := read_metrics(directory)) and identity in (None, metrics.get("config_sha256")):
        return Outcome(directory, options, metrics)
    return Outcome(directory, options, None, read_failure(directory) or "no result")


def finish(sweep_dir: Path, jobs: Sequence[Outcome], finished_before: int = 0) -> None:
    """Print the table of a sweep, where its files are and what its jobs have warned of; exit with 1 if one failed."""
    console.print(sweep(jobs, console.width), crop=False)
    if finished_before:
        console.print(f"{finished_before} of {len(jobs)} jobs had been finished before and were not run again")
    console.print(f"files in {relative_path(sweep_dir)}", soft_wrap=True)
    if any(True for job in jobs for _ in job.directory.glob("wandb/offline-run-*")):
        runs = f"{relative_path(sweep_dir)}/*/wandb/offline-run-*"
        console.print(f"W&B is offline; send the runs later with: wandb sync {runs}", soft_wrap=True)
    for line, times in warnings_of(jobs).items():
        warn(f"{line} (in {times} of {len(jobs)} jobs)")
    if failed := [job for job in jobs if job.metrics is None]:
        for job in failed:
            print(f"error: job {job.directory.name} failed: {job.failure}", file=sys.stderr)
        raise SystemExit(1)


class SweepProgress:
    """A line for every job that has ended, and how far the sweep is: in a terminal by a bar, else in the lines.

    Args:
        console: where to write.
        jobs: the overrides of each job; a line shows those that not all jobs have.

    Attributes:
        bar: to be entered as a context around the sweep.
    """

    def __init__(self, console: Console, jobs: Sequence[Sequence[str]]) -> None:
        self.console, self.jobs = console, jobs
        self.common = set.intersection(*map(set, jobs)) if len(jobs) > 1 else set()
        columns = (TextColumn("{task.description}"), BarColumn(None), TimeElapsedColumn(), TimeRemainingColumn())
        # Refreshed by hand: a thread of its own would not survive the fork of a worker.
        self.bar = Progress(*columns, console=console, auto_refresh=False, disable=not console.is_terminal)
        self.task = self.bar.add_task("", total=len(jobs))
        self.started = time.monotonic()
        self.ended = 0
        self.running = 1

    def waiting(self, running: int) -> None:
        """Bring the bar up to date."""
        self.running = running
        self.bar.update(self.task, description=f"{self.ended} of {len(self.jobs)} jobs, {running} at a time")
        self.bar.refresh()

    def end(self, job: int, directory: Path) -> None:
        """Say how a job ended."""
        self.ended += 1
        self.bar.advance(self.task)
        found = read_job(directory, self.jobs[job])
        scores = [f"{title} {score:.3f}" for title, score in found.scores().items() if score is not None]
        outcome = "  ".join(scores) if found.metrics else f"failed: {found.failure}"
        options = " ".join(option for option in self.jobs[job] if option not in self.common)
        line = f"{self.ended}/{len(self.jobs)}  {options}  {outcome}"
        if not self.console.is_terminal:
            line += f"  ({self._times()})"
        self.console.print(line, soft_wrap=True, markup=False, style=None if found.metrics else "red")

    def _times(self) -> str:
        """Time since the start, and until the end as far as one can tell."""
        elapsed = time.monotonic() - self.started
        if self.ended == len(self.jobs):
            return str(timedelta(seconds=round(elapsed)))
        done = self.ended + (self.running - 1) / 2  # the other jobs that run are half-way, on average
        left = elapsed / done * max(len(self.jobs) - done, 0)
        return f"{timedelta(seconds=round(elapsed))}, about {timedelta(seconds=round(left))} left"


def warnings_of(jobs: Sequence[Outcome]) -> Counter[str]:
    """The distinct warnings that the jobs have left in their `output.log`, and how many jobs had each."""
    found: Counter[str] = Counter()
    for job in jobs:
        with contextlib.suppress(OSError):
            lines = (job.directory / "output.log").read_text().splitlines()
            found.update({line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")})
    return found


def sweep(jobs: Sequence[Outcome], width: int = 100) -> Table:
    """Return mean and sample standard deviation over seeds of the metrics that count, a line per combination.

    Only the options that differ between the jobs are shown. Failed jobs are counted in a column of their own. What
    does not fit has headings of two lines, then no deviations.
    """
    names = list(dict.fromkeys(name for job in jobs for name in job.options))
    varied = [name for name in names if name != "seed" and len({job.options.get(name, "") for job in jobs}) > 1]
    cells: dict[tuple[str, ...], list[Outcome]] = {}
    for job in jobs:
        cells.setdefault(tuple(job.options.get(name, "") for name in varied), []).append(job)
    titles = list(dict.fromkeys(title for job in jobs for title in job.scores()))

    def drawn(fold: bool, deviations: bool) -> Table:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for at, heading in enumerate((*varied, "runs", "failed", *titles)):
            side: Literal["left", "right"] = "left" if at < len(varied) else "right"
            table.add_column(escape(two_lines(heading) if fold else heading), justify=side, no_wrap=True)
        for options, members in cells.items():
            done = [job.scores() for job in members if job.metrics is not None]
            failed = len(members) - len(done)
            scores = (_mean_and_std([score.get(title) for score in done], deviations) for title in titles)
            style = "red" if failed else None
            table.add_row(*map(escape, options), str(len(done)), str(failed) if failed else "", *scores, style=style)
        return table

    return fitting((drawn(*attempt) for attempt in ((False, True), (True, True), (True, False))), width)


def _mean_and_std(values: Sequence[float | None], deviation: bool) -> str:
    numbers = [v for v in values if v is not None]
    if not numbers:
        return "-"
    mean = f"{statistics.mean(numbers):.3f}"
    return f"{mean} ± {statistics.stdev(numbers):.3f}" if deviation and len(numbers) > 1 else mean
