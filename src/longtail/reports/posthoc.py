"""What runs give after adjustments without training: means over seeds of the tables of their evaluations."""

import math
import statistics
from collections.abc import Mapping, Sequence

from longtail.reports.comparison import Comparison
from longtail.reports.formats import DIGITS, Column, Entry, Number, Table
from longtail.runs import POSTHOC, PRIOR_SHIFT, Line
from longtail.runs.predictions import KEYS

TITLES = {POSTHOC: "Without further training", PRIOR_SHIFT: "Under other class priors of the test"}


def tables(comparison: Comparison) -> list[Table]:
    """Return a table per kind of adjustment that `longtail-eval posthoc=...` has made of some of the runs."""
    return [table for name in TITLES if (table := _table(comparison, name)).rows]


def _table(comparison: Comparison, name: str) -> Table:
    keys = KEYS[name]
    found = [(cell, [line for run in cell.runs for line in run.adjusted.get(name, ())]) for cell in comparison.cells]
    measured = dict.fromkeys(column for _, lines in found for line in lines for column in line if column not in keys)
    rows: list[list[Entry]] = []
    for cell, lines in found:
        same: dict[tuple[str, ...], list[Line]] = {}
        for line in lines:
            same.setdefault(tuple(_words(line[key]) for key in keys), []).append(line)
        for told, own in same.items():
            means = [_mean(own, column, len(cell.runs)) for column in measured]
            rows.append([*cell.options.values(), *told, *means])
    titles = [comparison.task.title(column).replace("_", " ") for column in (*keys, *measured)]
    columns = [Column(option, option) for option in comparison.options]
    columns += [Column(key, title) for key, title in zip((*keys, *measured), titles, strict=True)]
    return Table(TITLES[name], columns, rows).without_empty_columns()


def _mean(lines: Sequence[Mapping[str, str | float]], column: str, runs: int) -> Number | None:
    found = [value for line in lines if isinstance(value := line.get(column), float) and not math.isnan(value)]
    if not found:
        return None
    spread = statistics.stdev(found) if len(found) > 1 and column != "images" else None
    n = len(found) if len(found) < runs else None
    return Number(statistics.fmean(found), spread, n=n, digits=0 if column == "images" else DIGITS)


def _words(value: str | float) -> str:
    return value.replace("_", " ") if isinstance(value, str) else f"{value:g}"
