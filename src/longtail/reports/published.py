"""A paper's figures beside ours.

An experiment gives them under `published`:

    source: the paper
    setting: {name: value, ...}               # in which the paper trained
    figures:
      - {option: value, ..., metric: value}   # of the runs with these options, and those of the setting
      - {option: value, ..., metric: value, best_over: [option, ...]}   # of the best of the runs, whatever these are
      - {option: value, ..., metric: value, over: {option: value, ...}}   # the difference to those with other options
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from longtail.reports.comparison import LOWER_IS_BETTER, METRICS, Cell, Comparison, alike, paired
from longtail.runs import text_of


@dataclass(frozen=True)
class Figure:
    """A figure of a paper beside the mean of ours.

    Attributes:
        options: that the paper's figure is for.
        over: the options that it is a difference to, if it is one.
        metric: of the test.
        value: the paper's.
        ours: the mean of the cell with those options, or the difference of two; of several cells the best one's.
        cell: that cell.
        candidates: how many cells have the options.
        n: runs of ours, or seeds for a difference.
    """

    options: Mapping[str, str]
    over: Mapping[str, str]
    metric: str
    value: float
    ours: float
    cell: Cell
    candidates: int
    n: int


def figures(comparison: Comparison) -> list[Figure]:
    """The figures that the runs' experiments give and the runs have, each once."""
    return [figure for entry in _entries(comparison) for figure in _figures(comparison, entry)]


def sources(comparison: Comparison) -> list[str]:
    """A line per paper, with what the runs' setting has instead of the paper's, and per figure that is unreadable."""
    lines = []
    for entry in _entries(comparison):
        lines.append(_source(comparison, entry))
        lines += [
            f"{entry.get('source', 'published')}: {given}: must be OPTION: VALUE, ..., METRIC: NUMBER"
            for given in _given(entry)
            if _parts(given) is None
        ]
    return list(dict.fromkeys(lines))


def _entries(comparison: Comparison) -> list[Mapping[str, Any]]:
    given = [run.config.get("published") for run in comparison.used]
    return [entry for at, entry in enumerate(given) if isinstance(entry, Mapping) and entry not in given[:at]]


def _given(entry: Mapping[str, Any]) -> Sequence[Any]:
    given = entry.get("figures") or []
    return given if isinstance(given, list) else [given]


@dataclass(frozen=True)
class _Parts:
    options: Mapping[str, str]
    over: Mapping[str, str]
    best_over: Sequence[str]
    values: Mapping[str, float]


def _parts(given: Any) -> _Parts | None:
    """What a figure is of, what it is a difference to, and its metrics; None if it is not made as it must be."""
    try:
        over = {name: text_of(value) for name, value in (given.get("over") or {}).items()}
        others = (*METRICS, "over", "best_over")
        options = {name: text_of(value) for name, value in given.items() if name not in others}
        best_over = [str(name) for name in given.get("best_over") or ()]
        values = {metric: float(given[metric]) for metric in METRICS if metric in given}
    except (AttributeError, TypeError, ValueError):
        return None
    return _Parts(options, over, best_over, values) if values else None


def _figures(comparison: Comparison, entry: Mapping[str, Any]) -> list[Figure]:
    found: list[Figure] = []
    setting = {name: text_of(value) for name, value in _setting(entry).items() if name in comparison.options}
    for parts in filter(None, map(_parts, _given(entry))):
        # What the paper's setting says of an option compared belongs to the figure too.
        further = {
            name: v for name, v in setting.items() if name not in parts.options and name not in parts.best_over
        }
        cells = [
            cell
            for cell in comparison.cells
            if cell.has(parts.options) and cell.has({name: v for name, v in further.items() if cell.options[name]})
        ]
        free = [name for name in comparison.options if name in parts.best_over]
        if len({tuple(v for k, v in cell.options.items() if k not in free) for cell in cells}) != 1:
            continue  # none, or ones that differ in what the paper does not speak of
        for metric, value in parts.values.items():
            if (ours := _ours(comparison, cells, parts.over, metric)) is not None:
                found.append(Figure(parts.options, parts.over, metric, value, *ours))
    return found


def _ours(
    comparison: Comparison, cells: Sequence[Cell], over: Mapping[str, str], metric: str
) -> tuple[float, Cell, int, int] | None:
    """Our figure, its cell, of how many it is the best, and its n; None if the runs have none."""
    baseline_of = comparison.baseline(over)
    values = []
    for cell in cells:
        estimate = cell.estimate(metric)
        if estimate and not over:
            values.append((estimate.mean, estimate.mean, cell, estimate.n))
        elif estimate and (other := baseline_of(cell)) and (gain := paired(cell, other, metric)):
            values.append((estimate.mean, gain.mean, cell, gain.n))
    if not values:
        return None
    pick = min if metric in LOWER_IS_BETTER else max
    _, ours, cell, n = pick(values, key=lambda value: value[0])
    return ours, cell, len(values), n


def _setting(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    setting = entry.get("setting")
    return setting if isinstance(setting, Mapping) else {}


def _source(comparison: Comparison, entry: Mapping[str, Any]) -> str:
    shown = {id(figure.cell): figure.cell for figure in _figures(comparison, entry)}
    runs = [run for cell in shown.values() for run in cell.runs] or [
        run for run in comparison.used if run.config.get("published") == entry
    ]
    deviations = []
    for name, value in _setting(entry).items():
        ours = dict.fromkeys(run.settings[name] for run in runs if name in run.settings)
        if not all(alike(own, text_of(value)) for own in ours):
            deviations.append(f"{name} {', '.join(ours)} instead of {text_of(value)}")
    line = str(entry.get("source", "published"))
    return f"{line}; not the paper's setting: {'; '.join(deviations)}" if deviations else line
