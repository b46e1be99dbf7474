"""What a sweep looks like: its methods beside each other, under one or several conditions."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from longtail.figures import style
from longtail.figures.run import bar_order, bars, matrix, shares_bar
from longtail.figures.style import BLACK, COUNTED, GREY, ORANGE, SCORE, SKY, TICK
from longtail.figures.tips import MOST, tip, tips

MAX_MARKED = 25  # classes that each get a marker on a line
FEW_LINES = 3  # of which classes are told apart even where they are more


@dataclass(frozen=True)
class Scores:
    """What several seeds of one method gave.

    Attributes:
        score: on the test images, of each seed, (seeds,).
        std: standard deviation over the classes of each seed, (seeds,).
        per_class: score of each class, (C,), mean over the seeds.
    """

    score: Sequence[float]
    std: Sequence[float]
    per_class: NDArray[Any]


def methods(panels: Mapping[str, Mapping[str, Scores]], *, score: str = SCORE) -> Figure:
    """Draw score, standard deviation over classes and a box plot of the classes per method, a row per condition.

    A bar is the mean over the seeds, its error bar their sample standard deviation (none for one seed). Where there
    are fewer seeds than of other methods, n is said.

    Args:
        panels: condition (such as "ratio 50"; "" where there is only one) -> method -> scores.
        score: what it is, such as "accuracy".
    """
    wrapped = [[style.wrap(name, style.ROW) for name in panel] for panel in panels.values()]
    every = [name for names in wrapped for name in names]
    height = style.row_height(every)
    heights = [max(len(names), 1) * height for names in wrapped]
    figure = style.figure(style.name_width(every) + 8.4, sum(heights) + 0.45 * len(heights) + 0.65)
    grid = figure.subplots(len(panels), 3, squeeze=False, gridspec_kw={"height_ratios": heights, "wspace": 0.04})
    limits = _reach(scores.std for panel in panels.values() for scores in panel.values())
    last = len(panels) - 1
    for row, (condition, panel) in enumerate(panels.items()):
        left, middle, right = grid[row]
        for axes, label in zip(grid[row], (score, "std over classes", ""), strict=True):
            style.plain(axes, x=label if row == last else "", grid="x")
            style.name_rows(axes, wrapped[row])
        for axes in (middle, right):
            axes.tick_params(labelleft=False)
        _bars(left, {name: scores.score for name, scores in panel.items()}, ORANGE, score)
        _bars(middle, {name: scores.std for name, scores in panel.items()}, SKY, "std over classes")
        style.boxes(right, {name: scores.per_class for name, scores in panel.items()}, score)
        if row != last:
            right.set_xlabel("")
        left.set_xlim(0, 1)
        middle.set_xlim(0, limits)
        left.set_title(style.text(condition), loc="left", fontsize=style.TITLE, fontweight="bold")
    return figure


def along(name: str, panels: Mapping[str, Mapping[str, Mapping[str, Scores]]], *, score: str = SCORE) -> Figure:
    """Draw score and standard deviation over classes against the values of a setting, a column per condition.

    A point is the mean over the seeds, its bar their sample standard deviation. The values stand side by side in
    their order, whatever their distance; a method without the setting is a horizontal line.

    Args:
        name: of the setting.
        panels: condition (or "") -> method -> value as text -> scores; the value "" for a method without the setting.
        score: what it is, such as "accuracy".
    """
    figure = style.figure(3.4 * len(panels) + 0.4, 4.4)
    names = list(dict.fromkeys(method for panel in panels.values() for method in panel))
    grid = figure.subplots(2, len(panels), squeeze=False, sharex="col", sharey="row")
    for column, (condition, panel) in enumerate(panels.items()):
        values = sorted({value for found in panel.values() for value in found if value}, key=float)
        for axes, title, label, of in (
            (grid[0][column], condition, score, lambda found: found.score),
            (grid[1][column], "", "std over classes", lambda found: found.std),
        ):
            style.plain(axes, title=title, y=label if column == 0 else "", grid="y")
            for method, found in panel.items():
                look = style.look(names.index(method))
                if "" in found:
                    axes.axhline(style.finite(of(found[""]), np.mean), **{**look, "marker": ""})
                at = [place for place, value in enumerate(values) if value in found]
                rows = [of(found[values[place]]) for place in at]
                spread = np.nan_to_num([_spread(row) for row in rows])
                means = [style.finite(row, np.mean) for row in rows]
                axes.errorbar(at, means, spread, capsize=2, **look)
                where = [f"{method}{', ' if method else ''}{name} {values[place]}" for place in at]
                said = [f"{one}: {_mean_and_spread(row)}" for one, row in zip(where, rows, strict=True)]
                tips(axes, at, means, said)
        grid[1][column].set_xticks(range(len(values)), values, fontsize=TICK)
        grid[1][column].set_xlabel(name, fontsize=style.LABEL)
    style.legend(figure, style.lines(names), map(style.wrap, names))
    return figure


def by_class(panels: Mapping[str, Mapping[str, Sequence[float]]], *, score: str = SCORE) -> Figure:
    """Draw the score per class index, a line per method, a panel per condition.

    A method has the same look in all panels. More than 200 classes, and more than 25 of more than three methods, are
    drawn as means of neighbours.

    Args:
        panels: condition (or "") -> method -> score of each class, (C,), in [0, 1].
        score: what it is, such as "accuracy".
    """
    columns = min(len(panels), 3) if len(panels) != 4 else 2
    figure = style.figure(3.4 * columns + 0.4, 2.6 * -(-len(panels) // columns) + 0.2)
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    for at, (axes, (condition, panel)) in enumerate(
        zip(style.grid(figure, len(panels), columns), panels.items(), strict=True)
    ):
        style.plain(axes, title=condition, y=score if at % columns == 0 else "", grid="y")
        num_classes = max((len(values) for values in panel.values()), default=1)
        style.class_ticks(axes.xaxis, [str(index) for index in range(num_classes)], 3)
        step = 1
        for name, values in panel.items():
            step = _line(axes, values, names.index(name), len(names), name)
        means = f" (means of {step})" if step > 1 else ""
        axes.set_xlabel(f"class index{means}" if at + columns >= len(panels) else "", fontsize=style.LABEL)
        axes.set_ylim(-0.03, 1.03)
    style.legend(figure, style.lines(names), map(style.wrap, names))
    return figure


def weights(class_counts: Sequence[int], weights: Mapping[str, Sequence[float]], *, counted: str = COUNTED) -> Figure:
    """Draw the weight per class of each weighting (log axis), below the images per class.

    More than 200 classes are put in the order of their images, most first, and drawn as means of neighbours.

    Args:
        class_counts: training images per class, (C,).
        weights: name of a weighting -> weight per class, (C,), >= 0; a weight of 0 has no point, but a word.
        counted: what is counted in training, such as "boxes".
    """
    width = 4.2
    figure = style.figure(width + 0.6, 3.6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.2))
    style.plain(above, y=counted, grid="y")
    style.plain(below, y="weight", grid="y")
    order = bar_order(class_counts)
    label = bars(above, style.floats(class_counts)[order], GREY)
    style.log(above.yaxis)
    above.set_ylim(bottom=0.7)
    names = []
    for index, (name, values) in enumerate(weights.items()):
        w = style.floats(values)[order]
        _line(below, np.where(w > 0, w, np.nan), index, len(weights), name, most=style.MAX_BARS)
        zero = int((w == 0).sum())
        names.append(style.wrap(name) + (f"\n(0 for {zero} classes)" if zero else ""))
    style.log(below.yaxis)
    style.class_ticks(below.xaxis, [str(index) for index in range(len(class_counts))], width)
    below.set_xlabel(label or "class index", fontsize=style.LABEL)
    style.legend(figure, style.lines(weights), names)
    return figure


def confusions(class_names: Sequence[str], counts: Mapping[str, NDArray[np.int64]]) -> Figure:
    """Draw a confusion matrix per method, [true, predicted], as shares of the true class, with one colour bar.

    Args:
        class_names: names, (C,).
        counts: method -> test images, (C, C).
    """
    columns = len(counts) if len(counts) <= 3 else min(math.ceil(math.sqrt(len(counts))), 5)
    side = 2.6 if columns <= 3 else 2.1
    titles = [style.wrap(name, letters=26 if columns <= 3 else 20) for name in counts]
    head = max(style.size(title, TICK)[1] for title in titles)
    below = len(counts) - columns  # panels from here on have none below them
    room = style.class_room(class_names, side)
    rows, labelled = -(-len(counts) // columns), 1 if len(counts) % columns == 0 else 2
    height = (side + head + 0.1) * rows + (style.SLANT * room + 0.4) * labelled
    figure = style.figure((side + 0.1) * columns + room + 1.4, height)
    panels = style.grid(figure, len(counts), columns)
    for at, (axes, title, matrix_counts) in enumerate(zip(panels, titles, counts.values(), strict=True)):
        image = matrix(axes, class_names, matrix_counts, side, values=len(class_names) <= 3)
        axes.set_title(title, fontsize=TICK)
        if at < below:
            axes.tick_params(labelbottom=False)
            axes.set_xlabel("")
        if at % columns:
            axes.tick_params(labelleft=False)
            axes.set_ylabel("")
    shares_bar(figure, image, panels)
    return figure


def _bars(axes: Axes, methods: Mapping[str, Sequence[float]], colour: str, score: str) -> None:
    values = list(methods.values())
    means = [style.finite(row, np.mean) for row in values]
    spread = [_spread(row) for row in values]
    seeds = [int(np.isfinite(style.floats(row)).sum()) for row in values]
    few = [f" (n = {n})" if n < max(seeds) else "" for n in seeds]
    said = [_mean_and_spread(row) + n for row, n in zip(values, few, strict=True)]
    at = np.arange(len(values))
    for bar, name, one in zip(axes.barh(at, means, height=0.62, color=colour), methods, said, strict=True):
        tip(bar, f"{name}: {score} {one}")
    several = np.isfinite(spread)
    axes.errorbar(
        np.array(means)[several],
        at[several],
        xerr=np.array(spread)[several],
        fmt="none",
        ecolor=BLACK,
        elinewidth=0.8,
        capsize=2,
        capthick=0.8,
    )
    style.column(axes, said)


def _mean_and_spread(values: Sequence[float]) -> str:
    """Return `0.769 ± 0.004`; a mean alone for fewer than two values."""
    spread = _spread(values)
    return style.number(style.finite(values, np.mean)) + (f" ± {spread:.3f}" if math.isfinite(spread) else "")


def _spread(values: Sequence[float]) -> float:
    """Return the sample standard deviation of the finite values, NaN for fewer than two."""
    return style.finite(values, lambda found: np.std(found, ddof=1) if len(found) > 1 else math.nan)


def _reach(values: Iterable[Sequence[float]]) -> float:
    """Return where an axis from 0 must end to show the mean and the spread of each row of values."""
    ends = [style.finite(row, np.mean) + np.nan_to_num(_spread(row)) for row in values]
    return float(1.06 * max([0.1, *(end for end in ends if math.isfinite(end))]))


def _line(
    axes: Axes, values: Sequence[float] | NDArray[Any], index: int, of: int, name: str, most: int | None = None
) -> int:
    """Draw values over the classes in the look of the index-th of so many; return how many classes make a point.

    Where classes are many, a marker now and then, each line's at other classes, tells the lines apart.
    """
    points, step = style.neighbours(values, most or (MAX_MARKED if of > FEW_LINES else style.MAX_BARS))
    apart = max(len(points) // 6, 1)
    every = 1 if len(points) <= MAX_MARKED else (index * apart // max(of, 1), apart)
    at = np.arange(len(points)) * step
    axes.plot(at, points, **style.look(index), markevery=every)
    if len(points) * of <= MOST:
        ends = [min(int(c) + step, len(values)) - 1 for c in at]
        classes = [f"class {c}" if step == 1 else f"classes {c} to {end}" for c, end in zip(at, ends, strict=True)]
        said = [f"{name}, {one}: {value:.4g}" for one, value in zip(classes, points, strict=True)]
        tips(axes, at, points, said)
    return step
