"""A paper's figures beside ours.

An experiment gives them under `published`:

    source: the paper
    setting: {name: value, ...}               # in which the paper trained
    figures:
      - {option: value, ..., metric: value}   # of the runs with these options
      - {option: value, ..., metric: value, over: {option: value, ...}}   # the difference to those with other options
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from longtail.comparison import LOWER_IS_BETTER, METRICS, Cell, Comparison, alike, paired


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
    found: list[Figure] = []
    for entry in _entries(comparison):
        for options, over, values in filter(None, map(_parts, _given(entry))):
            for metric, value in values.items():
                if (ours := _ours(comparison, options, over, metric)) is not None:
                    found.append(Figure(options, over, metric, value, *ours))
    return found


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


def _parts(given: Any) -> tuple[dict[str, str], dict[str, str], dict[str, float]] | None:
    """The options, those of a difference and the metrics of a figure; None if it is not made as it must be."""
    try:
        over = {name: str(value) for name, value in (given.get("over") or {}).items()}
        options = {name: str(value) for name, value in given.items() if name not in METRICS and name != "over"}
        values = {metric: float(given[metric]) for metric in METRICS if metric in given}
    except (AttributeError, TypeError, ValueError):
        return None
    return (options, over, values) if values else None


def _ours(
    comparison: Comparison, options: Mapping[str, str], over: Mapping[str, str], metric: str
) -> tuple[float, Cell, int, int] | None:
    """Our figure, its cell, of how many it is the best, and its n; None if the runs have none."""
    baseline_of = comparison.baseline(over)
    values = []
    for cell in comparison.cells:
        estimate = cell.estimate(metric) if cell.has(options) else None
        if estimate and not over:
            values.append((estimate.mean, estimate.mean, cell, estimate.n))
        elif estimate and (other := baseline_of(cell)) and (gain := paired(cell, other, metric)):
            values.append((estimate.mean, gain.mean, cell, gain.n))
    if not values:
        return None
    pick = min if metric in LOWER_IS_BETTER else max
    _, ours, cell, n = pick(values, key=lambda value: value[0])
    return ours, cell, len(values), n


def _source(comparison: Comparison, entry: Mapping[str, Any]) -> str:
    setting: Any = entry.get("setting")
    deviations = []
    for name, value in setting.items() if isinstance(setting, Mapping) else ():
        ours = dict.fromkeys(run.settings.get(name, "unknown") for run in comparison.used)
        if not all(alike(own, str(value)) for own in ours):
            deviations.append(f"{name} {', '.join(ours)} instead of {value}")
    line = str(entry.get("source", "published"))
    return f"{line}; not the paper's setting: {'; '.join(deviations)}" if deviations else line
