"""What a run looks like: its classes, its confusions, and how a class's score depends on its number of images."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from numpy.typing import NDArray

from longtail.figures import style
from longtail.figures.style import BLUE, COUNTED, FAINT, GREY, MAX_BARS, ORANGE, SCORE, TICK
from longtail.figures.tips import tip, tip_each, tips

MAX_CELLS = 500  # per side of a confusion matrix
MAX_NAMED = 20  # classes of a confusion matrix whose cells have a text
LEAST_SHARE = 0.005  # of a true class, that is said
MAX_POINTS = 2000  # more are drawn as one image, so that an SVG stays small


def classes(
    class_names: Sequence[str],
    train_counts: Sequence[int],
    scores: Sequence[float],
    *,
    std: float | None = None,
    score: str = SCORE,
    counted: str = COUNTED,
) -> Figure:
    """Draw training images per class beside the score of each class, in the order of the classes.

    More than 200 classes are put in the order of their images, most first, and drawn as means of neighbours.

    Args:
        class_names: names, (C,).
        train_counts: training images per class, (C,), on a log axis; 0 has no bar.
        scores: score of each class, (C,), in [0, 1]; NaN has no bar.
        std: standard deviation over classes to print; None for that of `scores`. Where these are means over runs it
            is smaller than that of each run.
        score: what it is, such as "accuracy".
        counted: what is counted in training, such as "boxes".
    """
    width = 3.6
    room = style.SLANT * style.class_room(class_names, width)
    figure = style.figure(2 * (width + room) + 0.6, 2.75 + room)
    left, right = figure.subplots(1, 2)
    std = style.finite(scores, np.std) if std is None else std
    style.plain(left, title=f"training {counted}", grid="y")
    style.plain(right, title=f"{score}, std over classes {style.number(std)}", grid="y")
    order = bar_order(train_counts)
    named = [class_names[c] for c in order]
    for axes, values, colour, what in ((left, train_counts, BLUE, counted), (right, scores, ORANGE, score)):
        said = [
            f"{name}: {style.number(value, '.4g')} {what}"
            for name, value in zip(named, style.floats(values)[order], strict=True)
        ]
        if label := bars(axes, style.floats(values)[order], colour, said):
            axes.set_xlabel(label, fontsize=style.LABEL)
        else:
            style.class_ticks(axes.xaxis, class_names, width)
    style.log(left.yaxis)
    left.set_ylim(bottom=0.7)  # so that a single image is still a bar
    right.set_ylim(0, 1)
    return figure


def bar_order(class_counts: Sequence[int]) -> NDArray[np.int64]:
    """Return the order in which classes are drawn: as given, or most images first where there are too many."""
    many = len(class_counts) > MAX_BARS
    return np.argsort(-np.asarray(class_counts), kind="stable") if many else np.arange(len(class_counts))


def bars(axes: Axes, values: NDArray[np.float64], colour: str, said: Sequence[str] = ()) -> str:
    """Draw a bar per class, or the area below the means of neighbours, and return what to call the axis then.

    What is said of the classes, of each or of none, is shown under the pointer.
    """
    means, step = style.neighbours(values)
    at = np.arange(len(means)) * step
    if step == 1:
        for bar, one in zip(axes.bar(at, means, color=colour), said, strict=False):
            tip(bar, one)
        return ""
    axes.fill_between(at, means, step="mid", color=colour, linewidth=0)
    return f"classes, most frequent first (means of {step})"


def confusion(class_names: Sequence[str], counts: NDArray[np.int64]) -> Figure:
    """Draw a confusion matrix (C, C), [true, predicted], as shares of the true class; hatched where it is empty."""
    side = min(max(0.36 * len(class_names), 2.6), 4.6)
    room = style.class_room(class_names, side)
    figure = style.figure(side + room + 1.7, side + style.SLANT * room + 0.6)
    axes = figure.subplots()
    image = matrix(axes, class_names, counts, side, values=True)
    shares_bar(figure, image, [axes])
    return figure


def matrix(
    axes: Axes, class_names: Sequence[str], counts: NDArray[np.int64], side: float, *, values: bool
) -> ScalarMappable:
    """Draw a confusion matrix on axes of this side in inches, with percentages in the cells if asked and if they fit.

    More than 500 classes are put together in blocks of neighbours.
    """
    step = -(-len(counts) // MAX_CELLS)
    if step > 1:
        starts = np.arange(0, len(counts), step)
        counts = np.add.reduceat(np.add.reduceat(counts, starts, axis=0), starts, axis=1)
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    low, high = -0.5, len(shares) * step - 0.5
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="none", extent=(low, high, high, low))
    style.plain(axes)
    axes.spines[:].set(visible=True, linewidth=0.6, color=GREY)
    axes.patch.set(hatch="/////", edgecolor=FAINT)  # seen where a share is NaN
    for axis, label in ((axes.xaxis, "predicted"), (axes.yaxis, "true")):
        style.class_ticks(axis, class_names, side, label)
    if step == 1 and len(shares) <= MAX_NAMED:
        found = np.argwhere(shares >= LEAST_SHARE)
        said = [f"{class_names[r]} taken for {class_names[c]}: {shares[r, c]:.1%}" for r, c in found]
        tips(axes, found[:, 1], found[:, 0], said, points=60 * side / len(shares))
    if values and 0.3 * len(shares) <= side:
        for (row, column), share in np.ndenumerate(shares):
            if share >= LEAST_SHARE:
                colour = "white" if share > 0.55 else "black"
                axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=TICK, color=colour)
    return image


def shares_bar(figure: Figure, image: ScalarMappable, axes: Sequence[Axes]) -> None:
    """Draw one colour bar for these confusion matrices."""
    bar = figure.colorbar(image, ax=list(axes), shrink=0.8, aspect=30 if len(axes) > 1 else 20)
    bar.outline.set_linewidth(0.6)
    bar.ax.tick_params(labelsize=TICK, width=0.6, length=2.5)
    bar.set_label("share of the true class", fontsize=style.LABEL)


def reliability(images: Sequence[float], confidences: Sequence[float], hits: Sequence[float]) -> Figure:
    """Draw the accuracy over the confidence, in bins of equal width with a point at their mean, and their shares.

    Args:
        images: in each bin, (K,); an empty one has no bar.
        confidences: the sum over the images of each bin, (K,).
        hits: right predictions in each bin, (K,).
    """
    n, total, right = map(style.floats, (images, confidences, hits))
    found, width = n > 0, 1 / len(n)
    error = np.abs(total - right).sum() / n.sum() if found.any() else math.nan
    figure = style.figure(3.2, 3.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    style.plain(upper, title=f"calibration error {style.number(error)}", y="accuracy", grid="y")
    style.plain(lower, x="confidence", y="share of images", grid="y")
    middle, accuracy = (np.arange(len(n)) + 0.5)[found] * width, right[found] / n[found]
    upper.bar(middle, accuracy, 0.94 * width, color=ORANGE)
    upper.plot(total[found] / n[found], accuracy, "o", color=style.BLACK, markersize=2.5)
    upper.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (5, 1.5)))
    lower.bar(middle, n[found] / n.sum(), 0.94 * width, color=BLUE)
    upper.set(xlim=(0, 1), ylim=(0, 1))
    lower.set_ylim(0, 1)
    return figure


def box(per_class: Mapping[str, Sequence[float]], *, score: str = SCORE) -> Figure:
    """Draw a box plot of the scores of the classes per name, with their mean and population standard deviation.

    Args:
        per_class: name of a method or run -> score of each class, (C,), in [0, 1]; NaN is left out.
        score: what it is, such as "accuracy".
    """
    names = [style.wrap(name, style.ROW) for name in per_class]
    figure = style.figure(style.name_width(names) + 4.8, len(names) * style.row_height(names) + 0.9)
    axes = figure.subplots()
    style.plain(axes, grid="x")
    style.boxes(axes, per_class, score)
    style.name_rows(axes, names)
    moments = [(style.finite(row, np.mean), style.finite(row, np.std)) for row in per_class.values()]
    said = [f"{style.number(mean)}, {style.number(std)}" for mean, std in moments]
    style.column(axes, said, "mean, std over classes")
    return figure


def slope(
    train_counts: Sequence[int] | NDArray[np.int64], scores: Sequence[float] | NDArray[np.float64]
) -> tuple[float, float]:
    """Fit the least-squares line of scores over log10 of the training images, a point per class with both.

    Args:
        train_counts: training images per class, (C,); classes without any are left out.
        scores: score of each class, (C,); classes without a finite one are left out.

    Returns:
        Score per decade of images, and score at one image; NaN for both with fewer than two distinct counts.
    """
    n, a = style.floats(train_counts), style.floats(scores)
    kept = (n > 0) & np.isfinite(a)
    x, y = np.log10(n[kept]), a[kept]
    if len(np.unique(x)) < 2:
        return math.nan, math.nan
    centred = x - x.mean()
    steep = float(centred @ y / (centred @ centred))
    return steep, float(y.mean() - steep * x.mean())


def by_count(
    train_counts: Sequence[int],
    scores: Mapping[str, Sequence[float]],
    *,
    score: str = SCORE,
    counted: str = COUNTED,
) -> Figure:
    """Draw scores over training images (log axis): a point per class, and per method the line that `slope` fits.

    The line ends where it would leave the scores that there are, from 0 to 1.

    Args:
        train_counts: training images per class, (C,); classes without any are left out.
        scores: name of a method or run -> score of each class, (C,), in [0, 1].
        score: what it is, such as "accuracy".
        counted: what is counted in training, such as "boxes".
    """
    figure = style.figure(4.2, 3)
    axes = figure.subplots()
    style.plain(axes, x=f"training {counted} of the class", y=f"{score} of the class", grid="y")
    n = style.floats(train_counts)
    names = []
    for index, (name, values) in enumerate(scores.items()):
        look, a = style.look(index), style.floats(values)
        kept = (n > 0) & np.isfinite(a)
        many = len(n) * len(scores) > MAX_POINTS
        [points] = axes.plot(
            n[kept],
            a[kept],
            **{**look, "linestyle": "none", "markersize": 2 if many else 4, "alpha": 0.25 if many else 0.6},
            rasterized=many,
            zorder=1.5,  # below the lines, and together, so that they become one image
        )
        said = [f"{name}, {images:g} {counted}: {value:.3f}" for images, value in zip(n[kept], a[kept], strict=True)]
        if said and not many:
            tip_each(points, said)
        steep, start = slope(train_counts, values)
        if math.isfinite(steep):
            within = sorted((edge - start) / steep for edge in (0, 1)) if steep else (-math.inf, math.inf)
            ends = np.clip(np.log10([n[kept].min(), n[kept].max()]), *within)
            [line] = axes.plot(10**ends, start + steep * ends, **{**look, "marker": "none", "linewidth": 1.6})
            tip(line, f"{name}: {steep:+.3f} per decade of {counted}")
        names.append(f"{style.wrap(name)}  {style.number(steep, '+.3f')}")
    style.log(axes.xaxis)
    axes.set_ylim(-0.03, 1.03)
    style.legend(figure, style.lines(scores), names, f"{score} per decade of {counted}")
    return figure
