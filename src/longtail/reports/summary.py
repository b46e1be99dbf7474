"""The tables of a report: every combination, methods against conditions, a paper's figures, every run."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from longtail.reports.cells import Cell, difference
from longtail.reports.comparison import Comparison
from longtail.reports.formats import DIGITS, MIXED, Column, Entry, Number, Table
from longtail.reports.published import Figure, Published
from longtail.runs import column_of, relative_path


def combinations(comparison: Comparison, baseline: Mapping[str, str], papers: Published) -> Table:
    """Return a row per combination: runs, mean ± std over seeds, difference to the baseline, the paper's figure.

    Args:
        comparison: of the runs.
        baseline: options that a row's baseline has instead of its own; empty for no baseline.
        papers: what the papers say.
    """
    task = comparison.task
    columns = [Column(name, name) for name in comparison.options] + [
        Column("runs", "runs"),
        Column("incomplete", "incomplete"),
        Column("mixed", "mixed"),
        *(Column(metric, task.title(metric)) for metric in task.metrics),
        *(Column(difference_of(metric), f"{task.title(metric)}: difference") for metric in task.compared),
        Column(f"{task.primary}_published", f"{task.primary} in the paper"),
        Column(f"{task.primary}_over_published", "ours - paper"),
    ]
    best = {metric: {id(cell) for cell in comparison.best(metric)} for metric in task.metrics}
    paper = {
        id(figure.cell): figure
        for figure in papers.figures
        if figure.metric == task.primary and not figure.over and figure.candidates == 1
    }
    baseline_of = comparison.baseline(baseline)
    rows: list[list[Entry]] = []
    for cell in comparison.cells:
        row: list[Entry] = [*cell.options.values(), len(cell.runs), cell.incomplete or None]
        row.append(MIXED if _is_mixed(cell, comparison) else None)
        row += [_mean(cell, metric, id(cell) in best[metric]) for metric in task.metrics]
        other = baseline_of(cell) if baseline else None
        row += [_difference(cell, other, metric) for metric in task.compared]
        row += _beside(paper[id(cell)]) if id(cell) in paper else [None, None]
        rows.append(row)
    return Table("Every combination", columns, rows).without_empty_columns()


def difference_of(metric: str) -> str:
    """Return the name of the column with the difference of a metric to the baseline."""
    return f"{metric}_difference"


def short(comparison: Comparison, full: Table) -> Table:
    """Return the combinations with the two metrics compared and the difference of the primary one alone."""
    task = comparison.task
    renamed = difference_of(task.primary)
    shown = {*comparison.options, "runs", "incomplete", "mixed", *task.compared, renamed}
    keep = [i for i, column in enumerate(full.columns) if column.key in shown]
    columns = [Column(c.key, "difference" if c.key == renamed else c.title) for c in (full.columns[i] for i in keep)]
    return Table(full.title, columns, [[row[i] for i in keep] for row in full.rows])


def pivot(comparison: Comparison, metric: str, across: Sequence[str]) -> Table:
    """One metric, a row per method; best in bold, what is mixed marked, n where it is not everywhere the same.

    Args:
        comparison: of the runs.
        metric: of the test.
        across: the options whose values stand side by side.
    """
    down = [name for name in comparison.options if name not in across]
    headings = dict.fromkeys(cell.label(across) for cell in comparison.cells)
    place = {heading: len(down) + at for at, heading in enumerate(headings)}
    best = {id(cell) for cell in comparison.best(metric)}
    least, most = (pick(len(cell.runs) for cell in comparison.cells) for pick in (min, max))
    rows: dict[tuple[str, ...], list[Entry]] = {}
    for cell in comparison.cells:
        key = tuple(cell.options[name] for name in down)
        row = rows.setdefault(key, [*key, *[None] * len(headings)])
        n = len(cell.runs) if len(cell.runs) < most else None
        mixed = _is_mixed(cell, comparison)
        row[place[cell.label(across)]] = _mean(cell, metric, id(cell) in best, n, mixed)
    columns = [*(Column(name, name) for name in down), *(Column(heading, heading) for heading in headings)]
    good = "lower" if metric in comparison.task.lower_is_better else "higher"
    n_text = f"{most}" if least == most else f"{most} where not said"
    title = f"Test {comparison.task.title(metric)} by {', '.join(across)} ({good} is better), n = {n_text}"
    return Table(title, columns, list(rows.values()))


def named(comparison: Comparison) -> Table | None:
    """Return what the cells of an experiment that are compared by name stand for; None if there are none."""
    columns = [*comparison.named, *dict.fromkeys(name.removesuffix("._target_") for name in comparison.meant)]
    runs = [run.settings for cell in comparison.cells for run in [*cell.runs, *cell.others]]

    def meaning(settings: Mapping[str, str], name: str) -> str:
        part = settings.get(f"{name}._target_", "") if "." in name else ""
        return settings.get(name, part.rpartition(".")[2])

    rows = dict.fromkeys(tuple(meaning(settings, name) for name in columns) for settings in runs)
    table = Table("What the names stand for", [Column(name, name) for name in columns], list(rows))
    return table.without_empty_columns() if comparison.meant else None


def papers(comparison: Comparison, published: Published) -> Table | None:
    """Return a paper's figures beside ours; None if the runs' experiment gives none that the runs have."""
    rows: list[list[Entry]] = []
    for figure in published.figures:
        options = ", ".join(f"{name} {value}" for name, value in figure.options.items())
        if figure.over:
            options += " - " + ", ".join(f"{name} {value}" for name, value in figure.over.items())
        chosen = None
        if figure.candidates > 1:
            own = [name for name in comparison.options if name not in figure.options]
            chosen = f"{figure.cell.label(own)} (best of {figure.candidates})"
        mixed = _is_mixed(figure.cell, comparison)
        paper, difference = _beside(figure)
        ours = Number(figure.ours, signed=bool(figure.over), mixed=mixed, digits=difference.digits)
        rows.append([options, comparison.task.title(figure.metric), paper, ours, difference, figure.n, chosen])
    columns = [
        Column("options", "options"),
        Column("metric", "test"),
        Column("published", "paper"),
        Column("ours", "ours"),
        Column("difference", "ours - paper"),
        Column("runs", "n"),
        Column("chosen", "ours is"),
    ]
    return Table("The paper's figures beside ours", columns, rows).without_empty_columns() if rows else None


def _beside(figure: Figure) -> tuple[Number, Number]:
    """Return the paper's figure as it prints it, and ours minus it."""
    paper = Number(figure.value, signed=bool(figure.over), digits=figure.digits)
    return paper, Number(figure.ours - figure.value, signed=True, digits=max(figure.digits, DIGITS))


def every_run(comparison: Comparison) -> Table:
    """A row per run, complete or not: where it is, its options and seed, all test metrics, and what became of it."""
    metrics = list(dict.fromkeys(name for run in comparison.runs for name in run.test))
    not_used = {run.directory: other for run, other in comparison.dropped}
    columns = [
        *(Column(column_of(name), name) for name in comparison.options),
        *(Column(name, name) for name in ("seed", "status")),
        *(Column(f"test/{name}", comparison.task.title(name)) for name in metrics),
        Column("finished", "finished (UTC)"),
        Column("note", "note"),
        Column("directory", "directory"),
    ]
    rows: list[list[Entry]] = []
    for run in comparison.runs:
        note = run.reason
        if run.directory in not_used:
            note = f"not used: {relative_path(not_used[run.directory].directory)} has the same options and seed"
        elif run.directory in comparison.unusual:
            note = f"{MIXED} mixed: differs in more than the options"
        rows.append(
            [
                *(run.settings.get(name, "") for name in comparison.options),
                run.seed,
                run.status,
                *(run.test.get(name) for name in metrics),
                datetime.fromtimestamp(run.finished_at, UTC).isoformat(" ", "seconds") if run.done else None,
                note,
                run.directory,
            ]
        )
    return Table("Every run", columns, rows)


def _is_mixed(cell: Cell, comparison: Comparison) -> bool:
    return any(run.directory in comparison.unusual for run in cell.runs)


def _mean(cell: Cell, metric: str, best: bool, n: int | None = None, mixed: bool = False) -> Number | None:
    estimate = cell.estimate(metric)
    if estimate is None:
        return None
    fewer = estimate.n if estimate.n < len(cell.runs) else n
    return Number(estimate.mean, estimate.spread, n=fewer, best=best, mixed=mixed)


def _difference(cell: Cell, baseline: Cell | None, metric: str) -> Number | None:
    if baseline is None or baseline is cell:
        return None
    found = difference(cell, baseline, metric)
    if found is None:
        return None
    said = found.n < len(cell.runs) or found.n == 2 or found.constant
    return Number(
        found.mean,
        low=found.low,
        high=found.high,
        n=found.n if said else None,
        unpaired=not found.paired,
        constant=found.constant,
        signed=True,
    )
