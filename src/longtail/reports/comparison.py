"""Runs side by side: which options are compared, and which runs stand in which cell."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from longtail.reports import protocol
from longtail.reports.cells import Cell
from longtail.reports.formats import DIGITS
from longtail.reports.protocol import Difference, root
from longtail.runs import CLASSIFICATION, GROUPS, Run, Task, is_experiment, relative_path

CONDITIONS = ("dataset", "detection_data", "imbalance")  # what a method has to cope with, not what it does
# What a row is compared with where nobody chose it: the first of these that is among the runs.
BASELINES = (
    {"sampler": "random", "reweight": "none"},
    {"reweight": "none"},
    {"sampler": "random"},
    {"loss": "softmax"},
    {"detector": "small", "detection_loss": "cross_entropy"},  # not the two-stage detector's
    {"detection_loss": "cross_entropy"},
    {"detection_loss.gamma": "0", "detection_loss.alpha": "null"},
    {"method": "ordinary"},
)
# The options of a method without a name of its own, which the others by name are compared with.
PLAIN = {"sampler": "random", "loss": "softmax", "reweight": "none", "method": "ordinary"}
PLAIN |= {"detector": "small", "detection_loss": "cross_entropy"}

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Comparison:
    """Runs grouped by the options compared.

    Attributes:
        options: names of the options compared, in the order of the groups.
        along: settings that change together with them although they belong to none of them.
        meant: options and settings that a cell of an experiment, compared by its name, stands for.
        cells: in the order of the sweep.
        runs: all runs, in the order in which they were found.
        used: the complete runs in the cells.
        dropped: (run that is not used, the used one with the same options and seed).
        differences: what the used runs differ in beside the options and the seed.
        task: what the runs measure.
    """

    options: Sequence[str]
    along: Sequence[str]
    meant: Sequence[str]
    cells: Sequence[Cell]
    runs: Sequence[Run]
    used: Sequence[Run]
    dropped: Sequence[tuple[Run, Run]]
    differences: Sequence[Difference]
    task: Task = CLASSIFICATION

    @cached_property
    def unusual(self) -> set[Path]:
        """The directories of the runs that differ from most in more than the options and the seed."""
        return set().union(*(difference.unusual for difference in self.differences))

    @property
    def conditions(self) -> list[str]:
        """The compared options that are given to a method: dataset and imbalance."""
        return [name for name in self.options if root(name) in CONDITIONS]

    @property
    def methods(self) -> list[str]:
        """The compared options that make up a method."""
        return [name for name in self.options if root(name) not in CONDITIONS]

    @property
    def named(self) -> list[str]:
        """The compared options that are cells of an experiment: `experiment/methods`."""
        return [name for name in self.options if is_experiment(name)]

    def best(self, metric: str) -> list[Cell]:
        """The best cell by mean for each condition.

        There is none where two look equal, or where some means are over more runs than others.
        """
        pick = min if metric in self.task.lower_is_better else max
        chosen = []
        for members in _grouped(self.cells, lambda cell: _values(cell.options, self.conditions)).values():
            found = [(cell, estimate) for cell in members if (estimate := cell.estimate(metric))]
            shown = [round(estimate.mean, DIGITS) for _, estimate in found]
            if len(found) > 1 and len({estimate.n for _, estimate in found}) == 1:
                first, *ties = [cell for (cell, _), mean in zip(found, shown, strict=True) if mean == pick(shown)]
                chosen += [] if ties else [first]
        return chosen

    def baseline(self, replaced: Mapping[str, str]) -> Callable[[Cell], Cell | None]:
        """Of each cell the one it is compared with: the same options, but for the replaced ones.

        Settings of the options replaced need not agree where one cell alone comes into question: class-balanced
        weights with some beta are compared with no weights, which have no beta.
        """
        candidates = [cell for cell in self.cells if cell.has(replaced)]
        groups = {name for name in replaced if "." not in name}
        kept = [name for name in self.options if name not in replaced]
        strict = [name for name in kept if root(name) not in groups]
        known: list[tuple[Sequence[str], dict[tuple[str, ...], list[Cell]]]] = [(kept, {}), (strict, {})]
        for names, by_values in known:
            for cell in candidates:
                by_values.setdefault(_values(cell.options, names), []).append(cell)

        def of(cell: Cell) -> Cell | None:
            found = (by_values.get(_values(cell.options, names), []) for names, by_values in known)
            return next((cells[0] for cells in found if len(cells) == 1), None)

        return of

    def default_baseline(self) -> dict[str, str]:
        """No weights and random sampling where these vary, else the softmax loss; empty if there is no such run.

        Of cells by name it is the first one with all of these.
        """
        for name in self.named:
            for cell in self.cells:
                settings = cell.runs[0].settings if cell.runs else {}
                if cell.options[name] and all(settings.get(group, plain) == plain for group, plain in PLAIN.items()):
                    return {name: cell.options[name]} if settings else {}
        for group in BASELINES:
            chosen = {name: value for name, value in group.items() if name in self.options}
            if chosen and any(cell.runs and cell.has(chosen) for cell in self.cells):
                return chosen
        return {}


def compare(runs: Sequence[Run], by: Sequence[str] = (), use_older: bool = False) -> Comparison:
    """Group runs by the options that vary among them.

    Compared are the config groups and their settings, what varies within one sweep, and `by`; what is the same in
    all runs of a dataset goes along with the datasets, if these are compared. Cells of an experiment are compared by
    their name, `experiment/methods=drw`, instead of by the options that they stand for. Everything else that
    differs, in settings or in the fingerprint, is a difference; what the fingerprint's facts must differ in
    because of an option compared is not.

    Args:
        runs: complete or not.
        by: names of further settings to compare; that of a group stands for its settings too.
        use_older: of two runs with the same settings and seed use the older one.

    Raises:
        ValueError: no run is complete, the runs are of several tasks, or a name in `by` is no setting.
    """
    task = _task_of(runs)
    known = [run for run in runs if run.config]
    for name in by:
        if name == "seed" or not any(name in run.settings for run in known):
            raise ValueError(f"--by={name}: must be a setting of the runs, and not the seed")
    sweeps = _grouped(known, lambda run: run.sweep)
    swept = {name for sweep, jobs in sweeps.items() if sweep for name in protocol.varied(jobs)}
    compared = [
        name
        for name in protocol.varied(known)
        if name in swept
        or any(name == chosen or name.startswith(f"{chosen}.") for chosen in by)
        or (root(name) in GROUPS and not protocol.indifferent(name, known))
        or name.startswith("experiment/")
    ]
    if datasets := [name for name in compared if root(name) in protocol.SOURCE]:  # which have settings of their own
        further = [n for n in protocol.varied(known) if n not in compared and not protocol.indifferent(n, known)]
        compared += [name for name in further if _follows(name, datasets, known)]
    options = _by_name(_without_redundant(compared, known), compared, known, by)
    used, dropped = _without_repetitions([run for run in runs if run.done], compared, use_older)
    in_use = {run.directory for run in used}
    cells = []
    for values, members in _grouped(known, lambda run: _values(run.settings, options)).items():
        complete = sorted((run for run in members if run.directory in in_use), key=lambda run: run.seed or 0)
        others = [run for run in members if not run.done]
        cells.append(Cell(dict(zip(options, values, strict=True)), complete, others))
    own = {*compared} | ({"dataset"} if "augment" in compared else set())  # whose option is a setting of the dataset
    along = [name for name in compared if name not in options and (name == root(name) or root(name) not in own)]
    named = [name for name in options if is_experiment(name)]
    meant = [name for name in along if named and _follows(name, named, known)]
    along = [name for name in along if name not in meant and not is_experiment(name)]
    return Comparison(options, along, meant, cells, runs, used, dropped, protocol.differences(used, compared), task)


def _task_of(runs: Sequence[Run]) -> Task:
    """Return what the runs measure.

    Raises:
        ValueError: no run is complete, or they do not all measure the same.
    """
    by_primary = _grouped([run for run in runs if run.done], lambda run: run.task.primary)
    if not by_primary:
        raise ValueError("none of the runs is complete")
    if len(by_primary) > 1:
        listed = (f"{primary} ({relative_path(found[0].directory)})" for primary, found in by_primary.items())
        raise ValueError(f"the runs measure different things, so each needs a report of its own: {', '.join(listed)}")
    return max((run for run in runs if run.done), key=lambda run: run.finished_at).task


def _without_repetitions(
    runs: Sequence[Run], compared: Sequence[str], use_older: bool
) -> tuple[list[Run], list[tuple[Run, Run]]]:
    """Keep one of the runs with the same settings and seed; also return (not used, used).

    A run without a seed is like no other.
    """
    ignored = {name for name in protocol.varied(runs) if name not in compared and protocol.indifferent(name, runs)}

    def identity(run: Run) -> Hashable:
        # The precision is a setting as well; but `auto` does not say which.
        settings = frozenset(item for item in run.settings.items() if item[0] not in ignored)
        return settings, str(run.fingerprint.get("precision")), run.directory if run.seed is None else None

    kept, dropped = set(), []
    for members in _grouped(runs, identity).values():
        first, *others = sorted(members, key=lambda run: run.finished_at, reverse=not use_older)
        kept.add(first.directory)
        dropped += [(run, first) for run in others]
    return [run for run in runs if run.directory in kept], dropped


def _follows(name: str, names: Sequence[str], runs: Sequence[Run]) -> bool:
    """Whether runs that agree in some settings agree in a further one too."""
    apart = {_values(run.settings, names) for run in runs}
    return len({_values(run.settings, [*names, name]) for run in runs}) == len(apart)


def _without_redundant(names: Sequence[str], runs: Sequence[Run]) -> list[str]:
    """Leave out settings that tell no more runs apart than the names before them do; options by name stay."""
    kept: list[str] = []
    for name in names:
        apart = {_values(run.settings, kept) for run in runs}
        if name in GROUPS or len({_values(run.settings, [*kept, name]) for run in runs}) > len(apart):
            kept.append(name)
    return kept


def _by_name(options: Sequence[str], compared: Sequence[str], runs: Sequence[Run], by: Sequence[str]) -> list[str]:
    """Put cells of an experiment that tell methods apart in the place of the options that follow from them."""
    conditions = [name for name in options if root(name) in CONDITIONS]
    cells = [name for name in compared if is_experiment(name)]
    cells = [name for name in cells if name in by or not _follows(name, conditions, runs)]
    named = [*conditions, *cells]
    others = [name for name in options if name not in named and not is_experiment(name)]
    return named + [name for name in others if not cells or name in by or not _follows(name, named, runs)]


def _grouped(items: Sequence[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _values(options: Mapping[str, str], names: Sequence[str]) -> tuple[str, ...]:
    return tuple(options.get(name, "") for name in names)
