"""The figures of a report: methods side by side, and their classes under each condition."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from longtail import figures
from longtail.reports.comparison import Cell, Comparison
from longtail.reports.protocol import root
from longtail.runs import safe_names

LONGEST_NAME = 80  # letters of a condition in the name of a file


@dataclass(frozen=True)
class Picture:
    """A figure of a report: the name of its files, what it shows, and itself."""

    name: str
    caption: str
    figure: Figure


def pictures(
    comparison: Comparison, baseline: Mapping[str, str], weightings: Mapping[str, Callable[[Any], Any]]
) -> Iterator[Picture]:
    """All figures of a report, one after the other.

    Args:
        comparison: of the runs; without `per_class.csv` they have no figures of their own.
        baseline: options whose run stands for a condition where one run is shown; empty for the first one.
        weightings: name -> weights of class counts.
    """
    panels: dict[str, dict[str, Cell]] = {}
    for cell in comparison.cells:
        if cell.rows:
            panels.setdefault(cell.label(comparison.conditions), {})[cell.label(comparison.methods)] = cell
    if panels:
        scores = {condition: {m: _scores(cell) for m, cell in cells.items()} for condition, cells in panels.items()}
        yield Picture(
            "methods",
            "Accuracy, its standard deviation over classes, and the accuracies of the classes, by method.",
            figures.methods(scores),
        )
        by_class = {c: {m: cell.per_class() for m, cell in cells.items()} for c, cells in panels.items()}
        yield Picture("by_class", "Accuracy of each class, from head to tail.", figures.by_class(by_class))
    names = safe_names([condition[:LONGEST_NAME] for condition in panels])
    for name, (condition, cells) in zip(names, panels.items(), strict=True):
        suffix, where = (f"-{name}", f" ({condition})") if len(panels) > 1 else ("", "")
        yield from _of_condition(comparison, baseline, cells, suffix, where)
    if weightings:
        yield Picture(
            "boundary",
            "How far each weighting moves the boundary between a frequent and a rare class: a linear classifier"
            " trained on two Gaussian classes of 5,000 (not all drawn) and 100 points.",
            figures.boundary(weightings),
        )
    yield Picture("focal", "Focal loss against the probability of the true class.", figures.focal())


def weighting(cell: Cell, comparison: Comparison) -> str:
    """The name of a cell's weighting, with its settings where they vary."""
    named = cell.label([name for name in comparison.options if root(name) == "reweight"])
    return named or cell.runs[0].settings.get("reweight", "weights")


def _of_condition(
    comparison: Comparison, baseline: Mapping[str, str], cells: Mapping[str, Cell], suffix: str, where: str
) -> Iterator[Picture]:
    first = next(iter(cells.values()))
    plain = comparison.baseline(baseline)(first) if baseline else None
    shown = plain if plain and plain in cells.values() else first  # not that of another condition
    names, counts = [row[1] for row in shown.rows], [row[2] for row in shown.rows]
    method = shown.label(comparison.methods)
    # Runs that were mixed may have other classes, or other numbers of images.
    alike = {
        m: cell for m, cell in cells.items() if [row[1:3] for row in cell.rows] == [row[1:3] for row in shown.rows]
    }
    others = "; ".join(m for m in cells if m not in alike)
    yield Picture(
        f"classes{suffix}",
        f"Training images and accuracy per class{where}{': ' if method else ''}{method}."
        + (f" Not in the next figures, for other training images: {others}." if others else ""),
        figures.classes(names, counts, shown.per_class()),
    )
    yield Picture(
        f"by_count{suffix}",
        f"Accuracy against the number of training images{where}, with the slope per tenfold number.",
        figures.by_count(counts, {m: cell.per_class() for m, cell in alike.items()}),
    )
    weights: dict[str, list[float]] = {}
    for cell in alike.values():
        weights.setdefault(weighting(cell, comparison), [row[4] for row in cell.rows])
    yield Picture(f"weights{suffix}", f"Weights of the classes{where}.", figures.weights(counts, weights))
    if confusions := {m: total for m, cell in alike.items() if (total := _confusion(cell)) is not None}:
        yield Picture(
            f"confusion{suffix}",
            f"Which class was taken for which, share of the true class, all seeds{where}.",
            figures.confusions(names, confusions),
        )


def _scores(cell: Cell) -> figures.Scores:
    accuracy, spread = (list(cell.by_seed(metric).values()) for metric in ("accuracy", "accuracy_std"))
    return figures.Scores(accuracy, spread, np.array(cell.per_class()))


def _confusion(cell: Cell) -> NDArray[np.int64] | None:
    """The confusion matrix (C, C) of a cell, all seeds together, or None."""
    size = (len(cell.rows), len(cell.rows))
    found = [np.array(run.confusion) for run in cell.runs if run.confusion is not None]
    fitting: Sequence[NDArray[np.int64]] = [matrix for matrix in found if matrix.shape == size]
    return np.sum(fitting, axis=0) if fitting else None
