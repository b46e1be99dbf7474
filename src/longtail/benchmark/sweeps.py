"""Jobs of a sweep on the digits: by the default launcher, one after another, and each as a command of its own."""

import itertools
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from longtail.benchmark.commands import longtail_command, seconds
from longtail.benchmark.report import Comparison, Goal, Measured, Settings, Timing, compare

JOBS, EPOCHS = 4, 400  # so that a job trains for about ten seconds


def sweep(seeds: range, epochs: int, directory: Path, *arguments: str) -> float:
    """Seconds of one sweep over the seeds, in one command."""
    command = [*longtail_command(), "-m", f"seed={','.join(map(str, seeds))}", f"epochs={epochs}", "logger=none"]
    return seconds([*command, *arguments, f"hydra.sweep.dir={directory}"], says="accuracy")


def by_default(seeds: range, epochs: int, directory: Path) -> float:
    """As `longtail -m` does it."""
    return sweep(seeds, epochs, directory)


def in_turn(seeds: range, epochs: int, directory: Path) -> float:
    """One job after another, in one process."""
    return sweep(seeds, epochs, directory, "hydra/launcher=basic")


def as_commands(seeds: range, epochs: int, directory: Path) -> float:
    """One command after another."""
    return sum(
        seconds(
            [
                *longtail_command(),
                f"seed={seed}",
                f"epochs={epochs}",
                "logger=none",
                f"hydra.run.dir={directory}/{seed}",
            ],
            says="test accuracy",
        )
        for seed in seeds
    )


def jobs(settings: Settings, beside: Callable[[range, int, Path], float]) -> Measured:
    """Seconds per job of the default launcher and of another way to run the same jobs."""
    seeds, epochs = (range(2), 1) if settings.quick else (range(JOBS), EPOCHS)
    with tempfile.TemporaryDirectory() as folder:
        number = itertools.count()

        def timing(way: Callable[[range, int, Path], float]) -> Timing:
            return lambda: way(seeds, epochs, Path(folder) / str(next(number)))

        return compare(timing(by_default), timing(beside), settings, units=len(seeds), few=True)


COMPARISONS = [
    Comparison(
        "sweep/in-turn",
        f"a sweep of {JOBS} jobs on the digits by the default launcher, against one job after another in one process:"
        " the ratio is that of the jobs per hour",
        "job",
        partial(jobs, beside=in_turn),
        Goal(at_least=1.1),
    ),
    Comparison(
        "sweep/commands",
        "the same sweep, against each job as a command of its own",
        "job",
        partial(jobs, beside=as_commands),
    ),
]
