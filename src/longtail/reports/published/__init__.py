"""A paper's figures beside ours.

`<experiment>.yaml` in this folder has those of the experiment of that name; numbers are shown with the digits that
they are written with:

    source: the paper
    setting: {name: value, ...}               # in which the paper trained
    figures:
      - {option: value, ..., metric: value}   # of the runs with these options, and those of the setting
      - {option: value, ..., metric: value, setting: {name: value}}     # of this figure alone
      - {option: value, ..., metric: value, best_over: [option, ...]}   # of the best of the runs, whatever these are
      - {option: value, ..., metric: value, over: {option: value, ...}}   # the difference to those with other options
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml

from longtail.errors import text_of
from longtail.reports.cells import Cell, alike, difference
from longtail.reports.comparison import Comparison
from longtail.reports.protocol import root
from longtail.runs import Run, Task


@dataclass(frozen=True)
class Figure:
    """A figure of a paper beside the mean of ours.

    Attributes:
        options: that the paper's figure is for.
        over: the options that it is a difference to, if it is one.
        metric: of the test.
        value: the paper's.
        digits: behind the point, as the paper prints it.
        ours: the mean of the cell with those options, or the difference of two; of several cells the best one's.
        cell: that cell.
        candidates: how many cells have the options.
        n: runs of ours, or seeds for a difference.
    """

    options: Mapping[str, str]
    over: Mapping[str, str]
    metric: str
    value: float
    digits: int
    ours: float
    cell: Cell
    candidates: int
    n: int


@dataclass(frozen=True)
class Published:
    """What the papers of the runs' experiments say.

    Attributes:
        figures: those that the runs have, each once.
        sources: a line per paper, with what the runs' setting has instead of the paper's, and a line per figure that
            cannot be read.
    """

    figures: Sequence[Figure]
    sources: Sequence[str]


def published(comparison: Comparison) -> Published:
    """Find the papers' figures for the runs compared, by the names of their experiments."""
    by_entry: dict[str, list[Run]] = {}
    entries: dict[str, Mapping[str, Any]] = {}
    for run in comparison.used:
        if entry := of_run(run):
            by_entry.setdefault(str(entry), []).append(run)
            entries[str(entry)] = entry
    figures: list[Figure] = []
    sources: list[str] = []
    for key, entry in entries.items():
        name = str(entry.get("source", "published"))
        given = entry.get("figures") or []
        parts = [(_parts(item, comparison.task), item) for item in (given if isinstance(given, list) else [given])]
        given_setting = entry.get("setting")
        setting = _texts(given_setting if isinstance(given_setting, Mapping) else {})
        found = [(figure, part) for part, _ in parts if part for figure in _figures(comparison, part, setting)]
        figures += [figure for figure, _ in found]
        shown = [({**setting, **part.setting}, figure.cell.runs) for figure, part in found] or [
            (setting, by_entry[key])
        ]
        sources.append(name + _deviations(shown))
        sources += [f"{name}: {item}: must be OPTION: VALUE, ..., METRIC: NUMBER" for part, item in parts if not part]
    return Published(figures, list(dict.fromkeys(sources)))


def of_run(run: Run) -> Mapping[str, Any] | None:
    """Return what the file of a run's experiment says, else what its config has under `published`, if anything."""
    experiment = run.choices.get("experiment", "")
    if experiment in experiments():
        return of_experiment(experiment)
    entry = run.config.get("published")
    return entry if isinstance(entry, Mapping) else None


@functools.cache
def experiments() -> list[str]:
    """Return the names of the experiments with a paper."""
    names = (file.name for file in files(__name__).iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


@functools.cache
def of_experiment(name: str) -> Mapping[str, Any]:
    """Read the file of an experiment, with all numbers as text."""
    content: Mapping[str, Any] = yaml.load(
        files(__name__).joinpath(f"{name}.yaml").read_text("utf-8"), yaml.BaseLoader
    )
    return content


@dataclass(frozen=True)
class _Parts:
    """A figure as it is given: its options, the options it is a difference to, its own setting, its metrics."""

    options: Mapping[str, str]
    over: Mapping[str, str]
    setting: Mapping[str, str]
    best_over: Sequence[str]
    values: Mapping[str, str]


def _parts(given: Any, task: Task) -> _Parts | None:
    """Take a figure apart; None if it is not made as it must be."""
    try:
        over, setting = _texts(given.get("over")), _texts(given.get("setting"))
        others = (*task.metrics, "over", "setting", "best_over")
        options = {name: text_of(value) for name, value in given.items() if name not in others}
        best_over = [str(name) for name in given.get("best_over") or ()]
        values = {metric: text_of(given[metric]) for metric in task.metrics if metric in given}
        for value in values.values():
            float(value)
    except (AttributeError, TypeError, ValueError):
        return None
    return _Parts(options, over, setting, best_over, values) if values else None


def _figures(comparison: Comparison, parts: _Parts, setting: Mapping[str, str]) -> list[Figure]:
    """Set a paper's figure, one per metric, beside ours."""
    # What the paper's setting says of an option compared belongs to the figure too.
    further = {
        name: value
        for name, value in {**setting, **parts.setting}.items()
        if name in comparison.options and name not in parts.options and name not in parts.best_over
    }
    cells = [
        cell
        for cell in comparison.cells
        if cell.has(parts.options) and cell.has({name: v for name, v in further.items() if cell.options[name]})
    ]
    free = [name for name in comparison.options if name in parts.best_over]
    if len({tuple(value for name, value in cell.options.items() if name not in free) for cell in cells}) != 1:
        return []  # none, or ones that differ in what the paper does not speak of
    return [
        Figure(parts.options, parts.over, metric, float(value), len(value.partition(".")[2]), *ours)
        for metric, value in parts.values.items()
        if (ours := _ours(comparison, cells, parts.over, metric))
    ]


def _ours(
    comparison: Comparison, cells: Sequence[Cell], over: Mapping[str, str], metric: str
) -> tuple[float, Cell, int, int] | None:
    """Return our figure, its cell, of how many it is the best, and its n; None if the runs have none."""
    baseline_of = comparison.baseline(over)
    values = []
    for cell in cells:
        estimate = cell.estimate(metric)
        if estimate and not over:
            values.append((estimate.mean, estimate.mean, cell, estimate.n))
        elif estimate and (other := baseline_of(cell)) and (found := difference(cell, other, metric)):
            values.append((estimate.mean, found.mean, cell, found.n))
    if not values:
        return None
    pick = min if metric in comparison.task.lower_is_better else max
    _, ours, cell, n = pick(values, key=lambda value: value[0])
    return ours, cell, len(values), n


def _deviations(shown: Sequence[tuple[Mapping[str, str], Sequence[Run]]]) -> str:
    """Say in which settings runs differ from the paper's; those that the runs' parts do not have say nothing."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for setting, runs in shown:
        for name, value in setting.items():
            group = root(name)
            for run in runs:
                # A part chosen as in the paper, and without the setting, has had it taken away.
                absent = "not set" if group in setting and run.settings.get(group) == setting[group] else None
                if own := run.settings.get(name, absent):
                    found.setdefault((name, value), {})[own] = None
    told = [
        f"{name} {', '.join(own)} instead of {value}"
        for (name, value), own in found.items()
        if not all(alike(mine, value) for mine in own)
    ]
    return f"; not the paper's setting: {'; '.join(told)}" if told else ""


def _texts(given: Any) -> dict[str, str]:
    """Return settings as text; empty if there are none."""
    return {str(name): text_of(value) for name, value in (given or {}).items()}
