"""Runs that differ in nothing but the seed: their means, and paired differences with their interval."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from longtail.runs import GROUPS, Row, Run, is_experiment

T = TypeVar("T")
ROUNDING = 1e-12  # of the differences of equal scores


@dataclass(frozen=True)
class Estimate:
    """A mean over runs.

    Attributes:
        mean: of the runs that have a value.
        spread: their sample standard deviation, None for one run.
        n: how many have one.
    """

    mean: float
    spread: float | None
    n: int


@dataclass(frozen=True)
class MeanDifference:
    """The difference of the means of two cells.

    Attributes:
        mean: of the differences.
        low, high: 95 % interval; None where it takes more runs, or runs that vary.
        n: seeds that both have; without any, the runs of the cell that has fewer.
        paired: whether it is taken seed by seed.
        constant: whether it is the same for all seeds, so that nothing can be said of how it varies.
    """

    mean: float
    low: float | None
    high: float | None
    n: int
    paired: bool
    constant: bool = False


@dataclass(frozen=True, eq=False)
class Cell:
    """All runs with the same compared options, which differ in the seed.

    Attributes:
        options: name -> value of the compared options; "" where the option has no such setting.
        runs: complete ones, by seed.
        others: those that failed, are unfinished or unreadable.
    """

    options: Mapping[str, str]
    runs: Sequence[Run]
    others: Sequence[Run] = ()

    @property
    def incomplete(self) -> int:
        """How many runs have no result."""
        return len(self.others)

    @property
    def rows(self) -> Sequence[Row]:
        """The rows per class of the first run that has them."""
        return self.first(lambda run: run.rows) or []

    def has(self, wanted: Mapping[str, str]) -> bool:
        """Whether the options, or what the runs are set to, are as wanted; numbers are compared by value."""
        settings = self.runs[0].settings if self.runs else {}
        found = ((self.options.get(name, settings.get(name)), value) for name, value in wanted.items())
        return all(own is not None and alike(own, value) for own, value in found)

    def label(self, names: Sequence[str]) -> str:
        """Some of the options in words: those by name as they are, settings with the last part of their name."""
        parts = [
            value if name in GROUPS or is_experiment(name) else f"{name.rpartition('.')[2]} {value}"
            for name in names
            if (value := self.options[name])
        ]
        return ", ".join(parts)

    def values(self, metric: str) -> list[float]:
        """A test metric of each run that has it."""
        return [value for run in self.runs if (value := run.test.get(metric)) is not None]

    def estimate(self, metric: str) -> Estimate | None:
        """Mean and spread of a test metric over the runs; None if no run has it."""
        values = self.values(metric)
        if not values:
            return None
        return Estimate(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))

    def by_seed(self, metric: str) -> dict[int | None, float]:
        """The metric of each seed; the mean where a seed ran more than once."""
        values: dict[int | None, list[float]] = {}
        for run in self.runs:
            if (value := run.test.get(metric)) is not None:
                values.setdefault(run.seed, []).append(value)
        return {seed: statistics.fmean(found) for seed, found in values.items()}

    def first(self, of: Callable[[Run], T | None]) -> T | None:
        """What the first run gives that gives something."""
        return next((found for run in self.runs if (found := of(run))), None)

    def loss_shares(self) -> dict[str, list[float]]:
        """The columns of `loss_shares.csv`, means over the runs with the steps of the first; empty without any."""
        found = [run.loss_shares for run in self.runs if run.loss_shares]
        alike = [
            shares for shares in found if shares.keys() == found[0].keys() and shares["step"] == found[0]["step"]
        ]
        return {
            name: [_mean(values) for values in zip(*(shares[name] for shares in alike), strict=True)]
            for name in (alike[0] if alike else ())
        }

    def diverged(self) -> list[Mapping[str, Sequence[float]]]:
        """The columns of `loss_shares.csv` of each run that ended with a loss that is not finite."""
        found = [run.loss_shares for run in self.others]
        return [columns for columns in found if columns.get("loss") and not math.isfinite(columns["loss"][-1])]

    def per_class(self) -> list[float]:
        """The score of each class, mean over the runs with as many classes as the first; NaN where none has one."""
        found = [[row.score for row in run.rows] for run in self.runs if len(run.rows) == len(self.rows)]
        return [_mean(column) for column in zip(*found, strict=True)]


def _mean(values: Sequence[float]) -> float:
    """Return the mean without what is NaN, NaN if nothing is left."""
    finite = [value for value in values if not math.isnan(value)]
    return statistics.fmean(finite) if finite else math.nan


def difference(cell: Cell, baseline: Cell, metric: str) -> MeanDifference | None:
    """Return the difference of two cells with its 95 % interval; None if either has no value.

    It is paired over the seeds that both have, d_s = a_s - b_s: mean(d) +- t(0.975, n - 1) * std(d) / sqrt(n).
    Where they share none, or do not say their seeds, it is that of the means, with the interval of Welch 1947.
    """
    ours, theirs = cell.by_seed(metric), baseline.by_seed(metric)
    if pairs := [ours[seed] - theirs[seed] for seed in ours if seed in theirs and seed is not None]:
        return _with_interval(statistics.fmean(pairs), [pairs], paired=True)
    samples = [cell.values(metric), baseline.values(metric)]
    if not all(samples):
        return None
    return _with_interval(statistics.fmean(samples[0]) - statistics.fmean(samples[1]), samples, paired=False)


def _with_interval(mean: float, samples: Sequence[Sequence[float]], paired: bool) -> MeanDifference:
    """Add the interval of a sum or difference of the means of independent samples, by Welch and Satterthwaite.

    Of one sample it is Student's.
    """
    n = min(map(len, samples))
    if n == 1:
        return MeanDifference(mean, None, None, n, paired)
    errors = [statistics.variance(sample) / len(sample) for sample in samples]  # squared
    if math.sqrt(sum(errors)) < ROUNDING:
        return MeanDifference(mean, None, None, n, paired, constant=True)
    from scipy.special import stdtrit  # a tenth of a second, for those who need it

    parts = sum(error**2 / (len(sample) - 1) for error, sample in zip(errors, samples, strict=True))
    half = float(stdtrit(sum(errors) ** 2 / parts, 0.975)) * math.sqrt(sum(errors))
    return MeanDifference(mean, mean - half, mean + half, n, paired)


def alike(a: str, b: str) -> bool:
    """Whether two settings are the same, numbers by value: 50 and 50.0 are."""
    return a == b or (is_number(a) and is_number(b) and float(a) == float(b))


def is_number(text: str) -> bool:
    """Whether a setting is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
