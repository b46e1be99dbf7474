"""The figures of a report: methods side by side, and their classes under each condition.

Their number is bounded, whatever the number of runs: of many conditions and methods some are drawn, and a note says
so.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from longtail.reports.cells import Cell, is_number
from longtail.reports.comparison import Comparison
from longtail.reports.protocol import root
from longtail.runs import Run, safe_names

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from longtail import figures

LONGEST_NAME = 80  # letters of a condition in the name of a file
MOST_CONDITIONS = 4  # that are drawn
MOST_METHODS = 16  # that are drawn for a condition
FEWEST_VALUES = 3  # of a number over which scores are drawn
MOST_EXAMPLES = 6  # of these, whose pictures of boxes are shown
HEAD = 5000  # points of the most frequent class in the figure of the boundary

Panels = Mapping[str, Mapping[str, Cell]]  # condition -> method -> cell
Columns = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Picture:
    """A figure of a report.

    Attributes:
        name: of its files.
        caption: what it shows.
        draw: gives the figure, or the PNG of a run that is shown as it is.
    """

    name: str
    caption: str
    draw: "Callable[[], Figure | Path]"


def panels_of(comparison: Comparison, baseline: Mapping[str, str]) -> Panels:
    """Return the cells that are drawn: the first conditions, and of their methods the baseline and the best.

    Args:
        comparison: of the runs.
        baseline: options of the baseline; empty for none.
    """
    panels: dict[str, dict[str, Cell]] = {}
    for cell in comparison.cells:
        if cell.runs:
            panels.setdefault(cell.label(comparison.conditions), {})[cell.label(comparison.methods)] = cell
    panels = dict(list(panels.items())[:MOST_CONDITIONS])
    scores: dict[str, list[float]] = {}
    for cells in panels.values():
        for method, cell in cells.items():
            if estimate := cell.estimate(comparison.task.primary):
                scores.setdefault(method, []).append(estimate.mean)
    better = -1 if comparison.task.primary in comparison.task.lower_is_better else 1
    plain = {method for cells in panels.values() for method, cell in cells.items() if baseline and cell.has(baseline)}
    ranked = sorted(scores, key=lambda method: (method in plain, better * statistics.fmean(scores[method])))
    chosen = set(ranked[-MOST_METHODS:])
    drawn = {
        condition: {method: cell for method, cell in cells.items() if method in chosen}
        for condition, cells in panels.items()
    }
    return {condition: cells for condition, cells in drawn.items() if cells}


def _with_classes(panels: Panels) -> Panels:
    """Leave out the cells of which no run has rows per class."""
    found = {c: {m: cell for m, cell in cells.items() if cell.rows} for c, cells in panels.items()}
    return {condition: cells for condition, cells in found.items() if cells}


def left_out(comparison: Comparison, panels: Panels) -> list[str]:
    """Say how many conditions and methods are not drawn, if any."""
    lines = []
    for what, drawn, all_ in (
        ("conditions", len(panels), {cell.label(comparison.conditions) for cell in comparison.cells if cell.runs}),
        (
            "methods, the best and the baseline",
            len({method for cells in panels.values() for method in cells}),
            {cell.label(comparison.methods) for cell in comparison.cells if cell.runs},
        ),
    ):
        if drawn < len(all_) and drawn in (MOST_CONDITIONS, MOST_METHODS):
            lines.append(f"The figures show {drawn} of {len(all_)} {what}; the tables have all.")
    return lines


def pictures(comparison: Comparison, baseline: Mapping[str, str], panels: Panels) -> Iterator[Picture]:
    """Give all figures of a report, one after the other.

    Args:
        comparison: of the runs.
        baseline: options whose run stands for a condition where one run is shown; empty for the first one.
        panels: the cells to draw; those without `per_class.csv` are left out.
    """
    from longtail import figures  # matplotlib, for those who get as far as this

    panels = _with_classes(panels)
    primary, spread = (comparison.task.title(metric) for metric in comparison.task.compared)
    if panels:
        scores = {c: {m: _scores(cell, comparison) for m, cell in cells.items()} for c, cells in panels.items()}
        yield Picture(
            "methods",
            f"Test {primary} and {spread}, {comparison.task.spread_in_words}, mean ± sample standard deviation over"
            f" the seeds; on the right the {comparison.task.per_class} of each class, mean over the seeds, whose"
            " spread is smaller than that of one run.",
            partial(figures.methods, scores, score=primary),
        )
        by_class = {c: {m: cell.per_class() for m, cell in cells.items()} for c, cells in panels.items()}
        caption = f"The {comparison.task.per_class} of each class, mean over the seeds, from head to tail."
        yield Picture("by_class", caption, partial(figures.by_class, by_class, score=comparison.task.per_class))
    yield from _along(comparison)
    names = safe_names([condition[:LONGEST_NAME] for condition in panels])
    for name, (condition, cells) in zip(names, panels.items(), strict=True):
        suffix, where = (f"-{name}", f" ({condition})") if len(panels) > 1 else ("", "")
        yield from _of_condition(comparison, baseline, cells, suffix, where)
    if any(name.endswith("loss.gamma") for cell in comparison.cells for run in cell.runs for name in run.settings):
        yield Picture("focal", "Focal loss against the probability of the true class.", figures.focal)


def _along(comparison: Comparison) -> Iterator[Picture]:
    """Give a figure for each number among the options that has a few values."""
    from longtail import figures

    primary, spread = (comparison.task.title(metric) for metric in comparison.task.compared)
    for name in comparison.options:
        values = {cell.options[name] for cell in comparison.cells if cell.runs} - {""}
        if len(values) < FEWEST_VALUES or not all(map(is_number, values)):
            continue
        panels: dict[str, dict[str, dict[str, figures.Scores]]] = {}
        others = [[n for n in part if n != name] for part in (comparison.conditions, comparison.methods)]
        for cell in filter(lambda cell: cell.runs, comparison.cells):
            condition, method = map(cell.label, others)
            scores = _scores(cell, comparison)
            panels.setdefault(condition, {}).setdefault(method, {})[cell.options[name]] = scores
        drawn = {c: dict(list(panel.items())[:MOST_METHODS]) for c, panel in list(panels.items())[:MOST_CONDITIONS]}
        few = " The first ones; the tables have all." if drawn != panels else ""
        yield Picture(
            f"along-{safe_names([name])[0]}",
            f"Test {primary} and {spread} over {name}, mean ± sample standard deviation over the seeds.{few}",
            partial(figures.along, name, drawn, score=primary),
        )


def _of_condition(
    comparison: Comparison, baseline: Mapping[str, str], cells: Mapping[str, Cell], suffix: str, where: str
) -> Iterator[Picture]:
    from longtail import figures

    first = next(iter(cells.values()))
    plain = comparison.baseline(baseline)(first) if baseline else None
    shown = plain if plain and plain in cells.values() else first  # not that of another condition
    names, counts = [row.class_name for row in shown.rows], [row.train_count for row in shown.rows]
    method, counted = shown.label(comparison.methods), comparison.task.counted
    named = {"score": comparison.task.per_class, "counted": counted}
    spread = shown.estimate(comparison.task.spread)
    # Runs that were mixed may have other classes, or other numbers of images.
    alike = {m: cell for m, cell in cells.items() if _classes(cell) == _classes(shown)}
    others = "; ".join(m for m in cells if m not in alike)
    yield Picture(
        f"classes{suffix}",
        f"Training {counted} and {named['score']} per class{where}{': ' if method else ''}{method}."
        + (" The std over classes is that of each run, mean over the seeds." if len(shown.runs) > 1 else "")
        + (f" Not in the next figures, for other training {counted}: {others}." if others else ""),
        partial(figures.classes, names, counts, shown.per_class(), std=spread.mean if spread else None, **named),
    )
    yield Picture(
        f"by_count{suffix}",
        f"The {named['score']} of each class over its training {counted}{where}, with the slope per tenfold number.",
        partial(figures.by_count, counts, {m: cell.per_class() for m, cell in alike.items()}, **named),
    )
    weights: dict[str, list[float]] = {}
    for method, cell in alike.items():
        own = [row.weight for row in cell.rows]
        if weights.setdefault(name := _weighting(cell, comparison), own) != own:  # of a cell with settings of its own
            weights[f"{name} ({method})"] = own
    if any(len({*own}) > 1 for own in weights.values()):
        draw = partial(figures.weights, counts, weights, counted=counted)
        yield Picture(f"weights{suffix}", f"Weights of the classes{where}.", draw)
        yield from _boundary(counts, weights, suffix, where)
    if confusions := {m: total for m, cell in alike.items() if (total := _confusion(cell)) is not None}:
        yield Picture(
            f"confusion{suffix}",
            f"Which class was taken for which, share of the true class, all seeds{where}.",
            partial(figures.confusions, names, confusions),
        )
    yield from _of_detectors(comparison, cells, suffix, where)


def _of_detectors(comparison: Comparison, cells: Mapping[str, Cell], suffix: str, where: str) -> Iterator[Picture]:
    """Give the figures of what detectors leave, as far as these have left it."""
    from longtail import figures

    if curves := {m: own for m, cell in cells.items() if (own := cell.first(lambda run: run.precision_recall))}:
        yield Picture(
            f"precision_recall{suffix}",
            f"Precision over recall of each class, or of many their mean and spread, one run of each method{where}.",
            partial(figures.precision_recall, curves),
        )
    if shares := _loss_shares(comparison, cells):
        yield Picture(
            f"loss_shares{suffix}",
            "The training loss, and which part of the classification loss easy negatives (p of the truth above 0.9)"
            f" and foreground have, mean over the seeds{where}. A cross is where a run ended that diverged.",
            partial(figures.loss_shares, shares),
        )
    boxes = {m: path for m, cell in cells.items() if (path := cell.first(_examples))}
    for at, (method, path) in enumerate(list(boxes.items())[:MOST_EXAMPLES]):
        some = (
            f" The first {MOST_EXAMPLES} of {len(boxes)} methods." if at == 0 and len(boxes) > MOST_EXAMPLES else ""
        )
        named = f"{': ' if method else ''}{method}"
        yield Picture(f"examples{suffix}-{at}", f"Boxes of test images{where}{named}.{some}", partial(Path, path))


def _loss_shares(comparison: Comparison, cells: Mapping[str, Cell]) -> dict[str, list[Columns]]:
    """Return what the loss was made of, by method: the mean of the cell that is drawn, and each run that diverged."""
    condition = next(iter(cells.values())).label(comparison.conditions)
    found: dict[str, list[Columns]] = {}
    for cell in comparison.cells:
        if cell.label(comparison.conditions) == condition:
            mean = [cell.loss_shares()] if cell in cells.values() else []
            found[cell.label(comparison.methods)] = [*filter(None, mean), *cell.diverged()]
    return {method: columns for method, columns in found.items() if columns}


def _examples(run: Run) -> Path | None:
    path = run.directory / "figures" / "examples.png"
    return path if path.is_file() and not path.is_symlink() else None


def _boundary(
    counts: Sequence[int], weights: Mapping[str, Sequence[float]], suffix: str, where: str
) -> Iterator[Picture]:
    """Give the figure of what the weights of the most and the least frequent class do to a boundary between them."""
    from longtail import figures

    trained = [c for c, count in enumerate(counts) if count > 0]
    head, tail = (pick(trained, key=counts.__getitem__, default=0) for pick in (max, min))
    pairs = {name: (values[head], values[tail]) for name, values in weights.items()}
    drawn = {name: pair for name, pair in pairs.items() if min(pair) > 0}
    if head == tail or not drawn:
        return
    points = (HEAD, max(round(HEAD * counts[tail] / counts[head]), 1))
    yield Picture(
        f"boundary{suffix}",
        "How far each weighting moves the boundary between the most and the least frequent class"
        f"{where}: a linear classifier trained with their weights on two Gaussian classes that are as unequal, of"
        f" {points[0]:,} (not all drawn) and {points[1]:,} points. It shows how far weights push a boundary between"
        " classes that overlap, not how a network will score: squared class-balanced weights can end nearer to the"
        " best line than none here, and are the worst in Park and Hwang 2022.",
        partial(figures.boundary, drawn, points),
    )


def _weighting(cell: Cell, comparison: Comparison) -> str:
    """Name a cell's weighting, with its settings where they vary."""
    named = cell.label([name for name in comparison.options if root(name) == "reweight"])
    return named or cell.runs[0].settings.get("reweight", "weights")


def _classes(cell: Cell) -> list[tuple[str, int]]:
    return [(row.class_name, row.train_count) for row in cell.rows]


def _scores(cell: Cell, comparison: Comparison) -> "figures.Scores":
    import numpy as np

    from longtail import figures

    primary, spread = map(cell.values, comparison.task.compared)
    return figures.Scores(primary, spread, np.array(cell.per_class()))


def _confusion(cell: Cell) -> "NDArray[np.int64] | None":
    """Return the confusion matrix (C, C) of a cell, all seeds together, or None."""
    import numpy as np

    size = (len(cell.rows), len(cell.rows))
    found = (np.array(matrix) for run in cell.runs if (matrix := run.confusion) is not None)
    fitting = [matrix for matrix in found if matrix.shape == size]
    return np.sum(fitting, axis=0) if fitting else None
