"""The tables of a report: every combination, two options against each other, a paper's figures, every run."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from longtail.comparison import LOWER_IS_BETTER, METRICS, Cell, Comparison, paired
from longtail.formats import Column, Entry, Number, Table
from longtail.record import shorten
from longtail.runs import Run

TITLES = {
    "accuracy": "accuracy",
    "accuracy_std": "std over classes",
    "accuracy_min": "worst class",
    "accuracy_many": "many",
    "accuracy_medium": "medium",
    "accuracy_few": "few",
}
COMPARED_METRICS = ("accuracy", "accuracy_std")


def combinations(comparison: Comparison, baseline: Mapping[str, str]) -> Table:
    """A row per combination: runs, mean ± std over seeds of each metric, gain over the baseline, the paper's figure.

    Args:
        comparison: of the runs.
        baseline: options that a row's baseline has instead of its own; empty for no baseline.
    """
    columns = [Column(name, name) for name in comparison.options] + [
        Column("runs", "runs"),
        Column("incomplete", "incomplete"),
        Column("mixed", "mixed"),
        *(Column(metric, TITLES[metric]) for metric in METRICS),
        *(Column(f"{metric}_gain", f"{TITLES[metric]}: difference") for metric in COMPARED_METRICS),
        Column("accuracy_published", "accuracy in the paper"),
        Column("accuracy_over_published", "ours - paper"),
    ]
    best = {metric: {id(cell) for cell in comparison.best(metric)} for metric in COMPARED_METRICS}
    exact = [p for p in comparison.published()[0] if p.metric == "accuracy" and not p.over and p.candidates == 1]
    published = {id(figure.cell): figure for figure in exact}
    baseline_of = comparison.baseline(baseline)
    rows: list[list[Entry]] = []
    for cell in comparison.cells:
        mixed = any(run.directory in comparison.unusual for run in cell.runs)
        row: list[Entry] = [*cell.options.values(), len(cell.runs), cell.incomplete or None, "†" if mixed else None]
        row += [_mean(cell, metric, id(cell) in best.get(metric, ())) for metric in METRICS]
        other = baseline_of(cell) if baseline else None
        row += [_gain(cell, other, metric) for metric in COMPARED_METRICS]
        figure = published.get(id(cell))
        row += [figure.value, Number(figure.ours - figure.value, signed=True)] if figure else [None, None]
        rows.append(row)
    return Table("Every combination", columns, rows).without_empty_columns()


def short(comparison: Comparison, baseline: Mapping[str, str]) -> Table:
    """The combinations with accuracy, its standard deviation over classes and the differences alone."""
    full = combinations(comparison, baseline)
    shown = {*comparison.options, "runs", "incomplete", "mixed", *COMPARED_METRICS, "accuracy_gain"}
    keep = [i for i, column in enumerate(full.columns) if column.key in shown]
    return Table(full.title, [full.columns[i] for i in keep], [[row[i] for i in keep] for row in full.rows])


def pivot(comparison: Comparison, metric: str, across: str) -> Table:
    """One metric, the values of the option `across` side by side; best in bold."""
    values = list(dict.fromkeys(cell.options[across] for cell in comparison.cells))
    down = [name for name in comparison.options if name != across]
    best = {id(cell) for cell in comparison.best(metric)}
    rows: dict[tuple[str, ...], list[Entry]] = {}
    for cell in comparison.cells:
        key = tuple(cell.options[name] for name in down)
        row = rows.setdefault(key, [*key, *[None] * len(values)])
        row[len(down) + values.index(cell.options[across])] = _mean(cell, metric, id(cell) in best)
    columns = [*(Column(name, name) for name in down), *(Column(value, value) for value in values)]
    least = min(len(cell.runs) for cell in comparison.cells)
    most = max(len(cell.runs) for cell in comparison.cells)
    seeds = f"{most}" if least == most else f"{least} to {most}"
    good = "lower" if metric in LOWER_IS_BETTER else "higher"
    title = f"Test {TITLES[metric]} by {across} ({good} is better), n = {seeds} seed{'s' if seeds != '1' else ''}"
    return Table(title, columns, list(rows.values()))


def default_across(comparison: Comparison) -> str | None:
    """The option whose values stand side by side: the last condition, or method; None for fewer than two options."""
    if len(comparison.options) < 2:
        return None
    return (comparison.conditions or comparison.options)[-1]


def papers(comparison: Comparison) -> Table | None:
    """A paper's figures beside ours; None if the runs' experiment gives none that the runs have."""
    found, _ = comparison.published()
    rows: list[list[Entry]] = []
    for figure in found:
        options = ", ".join(f"{name} {value}" for name, value in figure.options.items())
        if figure.over:
            options += " - " + ", ".join(f"{name} {value}" for name, value in figure.over.items())
        chosen = None
        if figure.candidates > 1:
            own = [v for k, v in figure.cell.options.items() if k not in figure.options]
            chosen = f"{' '.join(own)} (best of {figure.candidates})"
        difference = Number(figure.ours - figure.value, signed=True)
        signed = bool(figure.over)
        numbers = [Number(figure.value, signed=signed), Number(figure.ours, signed=signed), difference]
        rows.append([options, TITLES[figure.metric], *numbers, figure.n, chosen])
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


def every_run(comparison: Comparison) -> Table:
    """A row per run, complete or not: where it is, its options and seed, all test metrics, and what became of it."""
    metrics = list(dict.fromkeys(name for run in comparison.runs for name in run.test))
    used = {run.directory for run in comparison.used}
    columns = [
        Column("directory", "directory"),
        *(Column(name, name) for name in comparison.options),
        *(Column(name, name) for name in ("seed", "status", "note")),
        *(Column(name, TITLES.get(name, name)) for name in metrics),
        Column("finished", "finished (UTC)"),
    ]
    rows: list[list[Entry]] = []
    for run in comparison.runs:
        note = run.reason
        if run.done and run.directory not in used:
            note = "not used: another run has the same options and seed"
        elif run.directory in comparison.unusual:
            note = "mixed: differs in more than the options"
        rows.append(
            [
                shorten(run.directory),
                *(run.settings.get(name, "") for name in comparison.options),
                run.seed,
                run.status,
                note,
                *(run.test.get(name) for name in metrics),
                datetime.fromtimestamp(run.finished_at, UTC).isoformat(" ", "seconds") if run.done else None,
            ]
        )
    return Table("Every run", columns, rows)


def notes(comparison: Comparison, baseline: Mapping[str, str]) -> list[str]:
    """What a reader of the tables must know, a sentence each."""
    lines = [
        "Mean ± sample standard deviation over seeds of the test metrics of the last epoch;"
        " std over classes is the population standard deviation of the per-class accuracies."
    ]
    if any(run.config.get("selection", "last") != "last" for run in comparison.used):
        lines[0] = lines[0].replace("the last epoch", "the epoch that was best on held-out images")
    if baseline:
        options = ", ".join(f"{name}={value}" for name, value in baseline.items())
        lines.append(
            f"Differences are to {options} with the same other options, paired by seed, with the 95 % interval of"
            " Student's t where there is more than one seed."
        )
    elif len(comparison.cells) > 1:
        lines.append("No baseline among the options; --baseline OPTION=VALUE adds a comparison.")
    lines += comparison.published()[1]
    for name in comparison.along:
        values = dict.fromkeys(run.settings.get(name, "not set") for run in comparison.used)
        lines.append(f"Changed along with the options: {name} ({', '.join(values)}).")
    for older, newer in comparison.dropped:
        age = "newer" if newer.finished_at >= older.finished_at else "older"
        lines.append(
            f"{shorten(older.directory)} and {shorten(newer.directory)} have the same options and seed;"
            f" the {age} one, {shorten(newer.directory)}, is used."
        )
    if comparison.differences:
        lines.append("† Mixed: these runs differ in more than the options compared and the seed.")
        lines += [str(difference) for difference in comparison.differences]
    return lines


def incomplete(runs: Sequence[Run]) -> list[str]:
    """A line per run that has no result, with the reason."""
    return [f"{shorten(run.directory)} {run.status}: {run.reason}" for run in runs if not run.done]


def _mean(cell: Cell, metric: str, best: bool) -> Number | None:
    estimate = cell.estimate(metric)
    return Number(estimate.mean, estimate.spread, best=best) if estimate else None


def _gain(cell: Cell, baseline: Cell | None, metric: str) -> Number | None:
    if baseline is None or baseline is cell:
        return None
    gain = paired(cell, baseline, metric)
    return Number(gain.mean, low=gain.low, high=gain.high, signed=True) if gain else None
