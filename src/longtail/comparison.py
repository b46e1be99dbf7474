"""Runs side by side: the options compared, what else differs, means and intervals, a paper's figures."""

import math
import re
import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longtail.record import shorten
from longtail.runs import GROUPS, Run

METRICS = ("accuracy", "accuracy_std", "accuracy_min", "accuracy_many", "accuracy_medium", "accuracy_few")
LOWER_IS_BETTER = ("accuracy_std", "loss")
CONDITIONS = ("dataset", "imbalance")  # what a method has to cope with, not what it does

# Settings that change no result; compared only where a sweep varies them.
INDIFFERENT = (
    r"name|data_dir|compile|eval_batch_size|dataset\.(root|data_dir)"
    r"|trainer\.(accelerator|devices|strategy|num_nodes|log_every_n_steps|enable_\w+|num_sanity_val_steps"
    r"|check_val_every_n_epoch|use_distributed_sampler|max_epochs)"
)
# The settings, by the first part of their name, that may change a fact of the fingerprint. Of other facts it is the
# setting of the same name.
EXPLAINED_BY = {
    "train_indices_sha256": {"dataset", "imbalance", "validation_per_class", "subset_seed"},
    "class_counts": {"dataset", "imbalance", "validation_per_class"},
    "parameters": {"dataset", "model"},
    "steps": {"dataset", "imbalance", "validation_per_class", "sampler", "batch_size", "epochs", "trainer"},
    "images_seen": {"dataset", "imbalance", "validation_per_class", "sampler", "batch_size", "epochs", "trainer"},
    "augmentation": {"dataset"},
    "precision": {"trainer"},
}


@dataclass(frozen=True)
class Difference:
    """Something that runs differ in beside the options compared and the seed.

    Attributes:
        what: a setting or a fact of the fingerprint.
        values: each value as text, with the runs that have it; the most frequent first.
    """

    what: str
    values: Sequence[tuple[str, Sequence[Run]]]

    def __str__(self) -> str:
        """`what: value in 3 runs (a, ...), other value in 1 run (b)`."""
        parts = []
        for value, runs in self.values:
            number = f"{len(runs)} run{'s' if len(runs) > 1 else ''}"
            parts.append(
                f"{_cut(value)} in {number} ({shorten(runs[0].directory)}{', ...' if len(runs) > 1 else ''})"
            )
        return f"{self.what}: {'; '.join(parts)}"

    @property
    def unusual(self) -> set[Path]:
        """The directories of the runs that do not have the most frequent value."""
        return {run.directory for _, runs in self.values[1:] for run in runs}


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: of the seeds that have a value.
        spread: sample standard deviation over seeds, None for one seed.
        n: seeds.
    """

    mean: float
    spread: float | None
    n: int


@dataclass(frozen=True)
class Gain:
    """A paired difference, seed by seed.

    Attributes:
        mean: of the differences.
        low, high: 95 % interval by Student's t; None for one seed.
        n: seeds that both have.
    """

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Cell:
    """All runs with the same compared options, which differ in the seed.

    Attributes:
        options: name -> value of the compared options.
        runs: complete ones, by seed.
        incomplete: how many failed, are unfinished or unreadable.
    """

    options: Mapping[str, str]
    runs: Sequence[Run]
    incomplete: int = 0

    def estimate(self, metric: str) -> Estimate | None:
        """Mean and spread of a test metric over seeds; None if no run has it."""
        values = [value for run in self.runs if (value := run.test.get(metric)) is not None]
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

    def per_class(self) -> list[float]:
        """Accuracy of each class, mean over seeds; NaN where no run has it."""
        columns = zip(*([row[-1] for row in run.rows] for run in self.runs if run.rows), strict=False)
        means = []
        for column in columns:
            finite = [value for value in column if not math.isnan(value)]
            means.append(statistics.fmean(finite) if finite else math.nan)
        return means


@dataclass(frozen=True)
class Published:
    """A figure of a paper beside the mean of ours.

    Attributes:
        options: that the paper's figure is for.
        over: the options that it is a difference to, if it is one.
        metric: of the test.
        value: the paper's.
        ours: the mean of the cell with those options, or the difference of two; of several cells the best one's.
        cell: that cell.
        candidates: how many cells have the options.
        n: seeds of ours.
    """

    options: Mapping[str, str]
    over: Mapping[str, str]
    metric: str
    value: float
    ours: float
    cell: Cell
    candidates: int
    n: int


@dataclass
class Comparison:
    """Runs grouped by the options compared.

    Attributes:
        options: names of the options compared, in the order of the groups.
        along: settings that the sweep changes together with them.
        cells: in the order of the sweep.
        runs: all runs, in the order in which they were found.
        used: the complete runs in the cells.
        dropped: (older, newer) runs with the same options and seed, of which the first is not used.
        differences: what the used runs differ in beside the options and the seed.
    """

    options: Sequence[str]
    along: Sequence[str]
    cells: Sequence[Cell]
    runs: Sequence[Run]
    used: Sequence[Run]
    dropped: Sequence[tuple[Run, Run]]
    differences: Sequence[Difference]
    unusual: set[Path] = field(default_factory=set)

    @property
    def conditions(self) -> list[str]:
        """The compared options that are given to a method: dataset and imbalance."""
        return [name for name in self.options if _root(name) in CONDITIONS]

    @property
    def methods(self) -> list[str]:
        """The compared options that make up a method."""
        return [name for name in self.options if _root(name) not in CONDITIONS]

    def best(self, metric: str) -> list[Cell]:
        """The best cells by mean, one for each condition (more if they are equal in three digits)."""
        chosen = []
        for members in _grouped(self.cells, lambda c: _values(c.options, self.conditions)).values():
            means = {id(c): round(e.mean, 3) for c in members if (e := c.estimate(metric))}
            if means and len(members) > 1:
                top = min(means.values()) if metric in LOWER_IS_BETTER else max(means.values())
                chosen += [c for c in members if means.get(id(c)) == top]
        return chosen

    def baseline(self, replaced: Mapping[str, str]) -> Callable[[Cell], Cell | None]:
        """Of each cell the one it is compared with: the same options, but for the replaced ones."""
        places = {tuple(cell.options.items()): cell for cell in self.cells}

        def of(cell: Cell) -> Cell | None:
            exact = places.get(tuple({**cell.options, **replaced}.items()))
            if exact is not None or all(cell.options[name] == value for name, value in replaced.items()):
                return exact
            # A setting that only some options have, as the ratio of a profile, need not be the same.
            fixed = [name for name in self.options if "." not in name or _root(name) in CONDITIONS]
            wanted = _values({**cell.options, **replaced}, fixed)
            matches = [c for c in self.cells if _values(c.options, fixed) == wanted]
            return matches[0] if len(matches) == 1 else None

        return of

    def default_baseline(self) -> dict[str, str]:
        """No weights and random sampling where these vary, else the softmax loss; empty if there is no such run."""
        for group in ({"sampler": "random", "reweight": "none"}, {"loss": "softmax"}):
            found = {
                name: value
                for name, value in group.items()
                if name in self.options and any(cell.options[name] == value for cell in self.cells)
            }
            if found:
                return found
        return {}

    def published(self) -> tuple[list[Published], list[str]]:
        """The figures of the paper that the runs' experiment gives, beside ours, and how the setting differs."""
        given = {repr(run.config.get("published")): run.config.get("published") for run in self.used}
        entries = [entry for entry in given.values() if isinstance(entry, Mapping)]
        found: list[Published] = []
        notes: list[str] = []
        for entry in entries:
            notes.append(self._setting(entry))
            for figure in entry.get("figures", []):
                over = {name: str(value) for name, value in (figure.get("over") or {}).items()}
                options = {k: str(v) for k, v in figure.items() if k not in METRICS and k != "over"}
                for metric in METRICS:
                    if metric in figure:
                        match = self._match(options, over, metric)
                        if match:
                            found.append(Published(options, over, metric, float(figure[metric]), *match))
        return found, notes

    def _match(
        self, options: Mapping[str, str], over: Mapping[str, str], metric: str
    ) -> tuple[float, Cell, int, int] | None:
        matching = [cell for cell in self.cells if _has(cell, options) and cell.estimate(metric)]
        if not matching:
            return None
        means = {id(cell): estimate for cell in matching if (estimate := cell.estimate(metric))}
        sign = -1 if metric in LOWER_IS_BETTER else 1
        best = max(matching, key=lambda cell: sign * means[id(cell)].mean)
        ours, n = means[id(best)].mean, means[id(best)].n
        if over:
            other = self.baseline(over)(best)
            gain = paired(best, other, metric) if other else None
            if gain is None:
                return None
            ours, n = gain.mean, gain.n
        return ours, best, len(matching), n

    def _setting(self, entry: Mapping[str, Any]) -> str:
        """One line: the paper, and what the runs' setting has instead of the paper's."""
        line = str(entry.get("source", "published"))
        deviations = []
        for name, value in (entry.get("setting") or {}).items():
            ours = list(dict.fromkeys(run.settings.get(name, "unknown") for run in self.used))
            if ours != [str(value)]:
                deviations.append(f"{name} {', '.join(ours)} instead of {value}")
        return f"{line}; not the paper's setting: {'; '.join(deviations)}" if deviations else line


def compare(runs: Sequence[Run], by: Sequence[str] = (), use_older: bool = False) -> Comparison:
    """Group runs by the options that vary among them.

    Compared are the six config groups and their settings, what varies within one sweep, and `by`. Everything else
    that differs, in settings or in the fingerprint, is a difference; what the fingerprint's facts must differ in
    because of an option compared is not.

    Args:
        runs: complete or not.
        by: names of further settings to compare.
        use_older: of two runs with the same settings and seed use the older one.

    Raises:
        ValueError: no run is complete, or a name in `by` is no setting.
    """
    used, dropped = _without_repetitions([run for run in runs if run.done], use_older)
    if not used:
        raise ValueError("none of the runs is complete")
    known = [run for run in runs if run.config]
    for name in by:
        if not any(name in run.settings for run in known):
            raise ValueError(f"by={name}: is no setting of these runs")
    varied = _varied(known)
    sweeps = _grouped(known, lambda run: run.sweep)
    swept = {name for sweep, jobs in sweeps.items() if sweep for name in _varied(jobs)}
    varied = [name for name in varied if name in swept or name in by or not re.fullmatch(INDIFFERENT, name)]
    compared = [name for name in varied if _root(name) in GROUPS or name in swept or name in by]
    options = _without_redundant(compared, known)
    differences = _differences(used, varied, compared)
    cells = []
    for values, members in _grouped(known, lambda run: _values(run.settings, options)).items():
        complete = [run for run in used if run in members]
        complete.sort(key=lambda run: (run.seed is None, run.seed))
        incomplete = sum(not run.done for run in members)
        cells.append(Cell(dict(zip(options, values, strict=True)), complete, incomplete))
    if not known:
        cells = [Cell({}, used)]
    unusual = set().union(*(difference.unusual for difference in differences))
    along = [name for name in compared if name not in options and _root(name) not in GROUPS]
    return Comparison(options, along, cells, runs, used, dropped, differences, unusual)


def paired(cell: Cell, baseline: Cell, metric: str) -> Gain | None:
    """The difference of two cells, seed by seed, with its 95 % interval; None if they share no seed.

    d_s = a_s - b_s; mean(d) +- t(0.975, n - 1) * std(d) / sqrt(n), ddof 1.
    """
    ours, theirs = cell.by_seed(metric), baseline.by_seed(metric)
    differences = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    if not differences:
        return None
    mean, n = statistics.fmean(differences), len(differences)
    if n == 1:
        return Gain(mean, None, None, 1)
    from scipy.stats import t  # half a second, for those who need it

    half = float(t.ppf(0.975, n - 1)) * statistics.stdev(differences) / math.sqrt(n)
    return Gain(mean, mean - half, mean + half, n)


def _without_repetitions(runs: Sequence[Run], use_older: bool) -> tuple[list[Run], list[tuple[Run, Run]]]:
    """Of runs with the same settings and seed keep one; also give (not used, used)."""
    kept, dropped = [], []
    for members in _grouped(runs, lambda run: _identity(run)).values():
        by_age = sorted(members, key=lambda run: run.finished_at, reverse=not use_older)
        kept.append(by_age[0])
        dropped += [(run, by_age[0]) for run in by_age[1:]]
    return [run for run in runs if run in kept], dropped


def _identity(run: Run) -> Hashable:
    if not run.config:
        return run.directory
    return tuple(sorted((k, v) for k, v in run.settings.items() if not re.fullmatch(INDIFFERENT, k)))


def _varied(runs: Sequence[Run]) -> list[str]:
    """The settings, but the seed, in which the runs differ: groups first, then as in the config."""
    names = dict.fromkeys(name for run in runs for name in run.settings if name != "seed")
    varied = [name for name in names if len({run.settings.get(name) for run in runs}) > 1]
    return sorted(varied, key=lambda name: GROUPS.index(_root(name)) if _root(name) in GROUPS else len(GROUPS))


def _without_redundant(names: Sequence[str], runs: Sequence[Run]) -> list[str]:
    """Leave out settings that tell no more runs apart than the names before them do; options by name stay."""
    kept: list[str] = []
    for name in names:
        apart = {_values(run.settings, kept) for run in runs}
        if name in GROUPS or len({_values(run.settings, [*kept, name]) for run in runs}) > len(apart):
            kept.append(name)
    return kept


def _differences(runs: Sequence[Run], varied: Sequence[str], compared: Sequence[str]) -> list[Difference]:
    found = []
    for name in varied:
        if name not in compared:
            found.append(_difference(name, [(run.settings.get(name, "not set"), run) for run in runs]))
    facts = dict.fromkeys(fact for run in runs for fact in run.fingerprint if fact != "seed")
    for fact in facts:
        roots = EXPLAINED_BY.get(fact, {fact})
        explaining = [name for name in compared if _root(name) in roots]
        alike: dict[tuple[str, ...], list[tuple[str, Run]]] = {}
        for run in runs:
            alike.setdefault(_values(run.settings, explaining), []).append(
                (fact_text(run.fingerprint.get(fact)), run)
            )
        found += [_difference(fact, members) for members in alike.values()]
    return [difference for difference in found if len(difference.values) > 1]


def _difference(what: str, values: Sequence[tuple[str, Run]]) -> Difference:
    groups: dict[str, list[Run]] = {}
    for value, run in values:
        groups.setdefault(value, []).append(run)
    return Difference(what, sorted(groups.items(), key=lambda item: -len(item[1])))


def fact_text(value: Any) -> str:
    """A fact of a fingerprint as text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {item}" for name, item in sorted(value.items()))
    return str(value)


def _grouped(items: Sequence[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _values(options: Mapping[str, str], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(options.get(name, "") for name in names)


def _has(cell: Cell, wanted: Mapping[str, str]) -> bool:
    """Whether a cell, or what all of its runs are set to, has the options."""
    settings = cell.options if not cell.runs else {**cell.runs[0].settings, **cell.options}
    return all(settings.get(name) == value for name, value in wanted.items())


def _root(name: str) -> str:
    return name.partition(".")[0]


def _cut(text: str, length: int = 60) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."
