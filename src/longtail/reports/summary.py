"""The tables of a report: every combination, methods against conditions, a paper's figures, every run."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from longtail.reports import published
from longtail.reports.comparison import LOWER_IS_BETTER, METRICS, Cell, Comparison, paired
from longtail.reports.formats import MIXED, Column, Entry, Number, Table
from longtail.runs import Run, relative_path

TITLES = {
    "accuracy": "accuracy",
    "accuracy_std": "std over classes",
    "accuracy_min": "worst class",
    "accuracy_many": "many",
    "accuracy_medium": "medium",
    "accuracy_few": "few",
}
TOLERATED = 0.05  # part by which a realised ratio may differ from the one asked for without a word
COMPARED_METRICS = ("accuracy", "accuracy_std")
MOST_REPETITIONS = 3  # between the same two directories that are said one by one


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
    best = {metric: {id(cell) for cell in comparison.best(metric)} for metric in METRICS}
    figures = [f for f in published.figures(comparison) if f.metric == "accuracy" and not f.over]
    paper = {id(figure.cell): figure for figure in figures if figure.candidates == 1}
    baseline_of = comparison.baseline(baseline)
    rows: list[list[Entry]] = []
    for cell in comparison.cells:
        row: list[Entry] = [*cell.options.values(), len(cell.runs), cell.incomplete or None]
        row.append(MIXED if _is_mixed(cell, comparison) else None)
        row += [_mean(cell, metric, id(cell) in best[metric]) for metric in METRICS]
        other = baseline_of(cell) if baseline else None
        row += [_gain(cell, other, metric) for metric in COMPARED_METRICS]
        figure = paper.get(id(cell))
        row += [figure.value, Number(figure.ours - figure.value, signed=True)] if figure else [None, None]
        rows.append(row)
    return Table("Every combination", columns, rows).without_empty_columns()


def short(comparison: Comparison, baseline: Mapping[str, str]) -> Table:
    """The combinations with accuracy, its standard deviation over classes and the difference of accuracy alone."""
    full = combinations(comparison, baseline)
    shown = {*comparison.options, "runs", "incomplete", "mixed", *COMPARED_METRICS, "accuracy_gain"}
    keep = [i for i, column in enumerate(full.columns) if column.key in shown]
    columns = [
        Column(c.key, "difference") if c.key == "accuracy_gain" else c for c in (full.columns[i] for i in keep)
    ]
    return Table(full.title, columns, [[row[i] for i in keep] for row in full.rows])


def pivot(comparison: Comparison, metric: str, across: Sequence[str]) -> Table:
    """One metric, a row per method; best in bold, what is mixed marked, n where it is not everywhere the same.

    Args:
        comparison: of the runs.
        metric: of the test.
        across: the options whose values stand side by side.
    """
    down = [name for name in comparison.options if name not in across]
    headings = list(dict.fromkeys(cell.label(across) for cell in comparison.cells))
    best = {id(cell) for cell in comparison.best(metric)}
    least, most = (pick(len(cell.runs) for cell in comparison.cells) for pick in (min, max))
    rows: dict[tuple[str, ...], list[Entry]] = {}
    for cell in comparison.cells:
        key = tuple(cell.options[name] for name in down)
        row = rows.setdefault(key, [*key, *[None] * len(headings)])
        n = len(cell.runs) if len(cell.runs) < most else None
        mixed = _is_mixed(cell, comparison)
        row[len(down) + headings.index(cell.label(across))] = _mean(cell, metric, id(cell) in best, n, mixed)
    columns = [*(Column(name, name) for name in down), *(Column(heading, heading) for heading in headings)]
    good = "lower" if metric in LOWER_IS_BETTER else "higher"
    n_text = f"{most}" if least == most else f"{most} where not said"
    title = f"Test {TITLES[metric]} by {', '.join(across)} ({good} is better), n = {n_text}"
    return Table(title, columns, list(rows.values()))


def default_across(comparison: Comparison) -> list[str]:
    """The options whose values stand side by side: the conditions, else the last; none where that leaves no other."""
    across = (comparison.methods and comparison.conditions) or list(comparison.options[-1:])
    return across if len(across) < len(comparison.options) else []


def papers(comparison: Comparison) -> Table | None:
    """A paper's figures beside ours; None if the runs' experiment gives none that the runs have."""
    rows: list[list[Entry]] = []
    for figure in published.figures(comparison):
        options = ", ".join(f"{name} {value}" for name, value in figure.options.items())
        if figure.over:
            options += " - " + ", ".join(f"{name} {value}" for name, value in figure.over.items())
        chosen = None
        if figure.candidates > 1:
            own = [name for name in comparison.options if name not in figure.options]
            chosen = f"{figure.cell.label(own)} (best of {figure.candidates})"
        mixed = _is_mixed(figure.cell, comparison)
        signed = bool(figure.over)
        rows.append([
            options,
            TITLES[figure.metric],
            Number(figure.value, signed=signed),
            Number(figure.ours, signed=signed, mixed=mixed),
            Number(figure.ours - figure.value, signed=True),
            figure.n,
            chosen,
        ])  # fmt: skip
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
    not_used = {run.directory: other for run, other in comparison.dropped}
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
        if run.directory in not_used:
            note = f"not used: {relative_path(not_used[run.directory].directory)} has the same options and seed"
        elif run.directory in comparison.unusual:
            note = f"{MIXED} mixed: differs in more than the options"
        rows.append(
            [
                run.directory,
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
    selections = {str(run.config.get("selection", "last")) for run in comparison.used}
    epoch = {"last": "the last epoch", "best_validation": "the epoch that was best on held-out images"}
    tested = " or ".join(epoch.get(selection, selection) for selection in sorted(selections))
    lines = [
        f"Mean ± sample standard deviation over seeds of the test metrics of {tested};"
        " std over classes is the population standard deviation of the per-class accuracies."
    ]
    if baseline:
        options = ", ".join(f"{name}={value}" for name, value in baseline.items())
        lines.append(
            f"Differences are to {options} with the same other options, paired by seed, with the 95 % interval of"
            " Student's t where there is more than one seed."
        )
    elif len(comparison.cells) > 1:
        lines.append("No baseline among the options; --baseline OPTION=VALUE adds a comparison.")
    lines += realised_ratios(comparison)
    lines += published.sources(comparison)
    for name in comparison.along:
        values = dict.fromkeys(run.settings.get(name, "not set") for run in comparison.used)
        lines.append(f"Changed along with the options: {name} ({', '.join(values)}).")
    lines += repetitions(comparison)
    if comparison.differences:
        lines.append(f"{MIXED} Mixed: these runs differ in more than the options compared and the seed.")
        lines += [str(difference) for difference in comparison.differences]
    return lines


def realised_ratios(comparison: Comparison) -> list[str]:
    """A line per ratio that the images do not have: too few of them, or counts cut to whole numbers."""
    lines = []
    for run in comparison.used:
        asked, counts = run.settings.get("imbalance.ratio"), run.fingerprint.get("class_counts")
        if asked and isinstance(counts, list) and counts and min(counts) > 0:
            realised = max(counts) / min(counts)
            if abs(realised / float(asked) - 1) > TOLERATED:
                dataset = run.settings.get("dataset", "the data")
                lines.append(
                    f"imbalance.ratio {asked} is realised as {realised:.4g} on {dataset}"
                    f" ({max(counts):,} to {min(counts):,} images per class)."
                )
    return list(dict.fromkeys(lines))


def repetitions(comparison: Comparison) -> list[str]:
    """A line per run that is not used because another one has the same options and seed; many become one line."""
    places: dict[tuple[Path, Path], list[tuple[Run, Run]]] = {}
    for run, other in comparison.dropped:
        places.setdefault((run.directory.parent, other.directory.parent), []).append((run, other))
    lines = []
    for (place, other_place), pairs in places.items():
        newer = all(other.finished_at >= run.finished_at for run, other in pairs)
        age = "newer" if newer else "older"
        if len(pairs) > MOST_REPETITIONS:
            lines.append(
                f"{len(pairs)} runs of {relative_path(place)} repeat runs of {relative_path(other_place)}"
                f" (same options and seed); the {age} ones are used."
            )
            continue
        lines += [
            f"{relative_path(run.directory)} and {relative_path(other.directory)} have the same options and seed;"
            f" the {age} one, {relative_path(other.directory)}, is used."
            for run, other in pairs
        ]
    return lines


def without_classes(comparison: Comparison) -> list[str]:
    """A line if some of the runs used have no rows per class, for they are missing in the figures of these."""
    lacking = [relative_path(run.directory) for run in comparison.used if not run.rows]
    if not lacking:
        return []
    where = f"{lacking[0]}{', ...' if len(lacking) > 1 else ''}"
    number = f"{len(lacking)} run{'s' if len(lacking) > 1 else ''}"
    return [f"No per_class.csv, or a broken one, in {number} ({where}): not in the figures that show classes."]


def incomplete(runs: Sequence[Run]) -> list[str]:
    """A line per run that has no result, with the reason."""
    return [f"{relative_path(run.directory)} {run.status}: {run.reason}" for run in runs if not run.done]


def _is_mixed(cell: Cell, comparison: Comparison) -> bool:
    return any(run.directory in comparison.unusual for run in cell.runs)


def _mean(cell: Cell, metric: str, best: bool, n: int | None = None, mixed: bool = False) -> Number | None:
    estimate = cell.estimate(metric)
    if estimate is None:
        return None
    fewer = estimate.n if estimate.n < len(cell.runs) else n
    return Number(estimate.mean, estimate.spread, n=fewer, best=best, mixed=mixed)


def _gain(cell: Cell, baseline: Cell | None, metric: str) -> Number | None:
    if baseline is None or baseline is cell:
        return None
    gain = paired(cell, baseline, metric)
    if gain is None:
        return None
    fewer = gain.n if gain.n < len(cell.runs) else None
    return Number(gain.mean, low=gain.low, high=gain.high, n=fewer, signed=True)
