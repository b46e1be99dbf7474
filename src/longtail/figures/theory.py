"""What the methods themselves look like: the focal loss, and how far class weights move a decision boundary."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from longtail.figures import style
from longtail.figures.style import BLACK, FAINT, GREY

MEAN = 1.5  # the classes lie at (-MEAN, 0) and (MEAN, 0) with unit variance: 7 % of a balanced set on the wrong side
SHOWN = 250  # points of a class that are drawn


@dataclass(frozen=True)
class Boundary:
    """The line normal . x = offset in the plane; normal is a unit vector that points to the second class."""

    normal: tuple[float, float]
    offset: float

    @property
    def shift(self) -> float:
        """Where the line crosses the axis from the first class (negative) to the second (positive)."""
        return self.offset / self.normal[0]


def focal(gammas: Sequence[float] = (0, 0.5, 1, 2, 5)) -> Figure:
    """Draw the focal loss over the true class's probability, also on a log axis (Lin et al. 2017, figure 1).

    Args:
        gammas: focusing parameters, each >= 0; 0 is the cross entropy.
    """
    figure = style.figure(6.4, 2.9)
    p = np.linspace(0.005, 0.995, 199)
    for axes in figure.subplots(1, 2):
        style.plain(axes, x="probability of the true class", y="loss", grid="y")
        for index, gamma in enumerate(gammas):
            axes.plot(p, focal_loss(p, gamma), **style.look(index), markevery=(4 * index % 25, 25))
        axes.set_xlim(0, 1)
    style.log(axes.yaxis)
    axes.set(ylim=(1e-6, 10), ylabel="loss, log axis")
    figure.axes[0].set_ylim(0, 5)
    names = [f"γ = {gamma:g}" + ("  (cross entropy)" if gamma == 0 else "") for gamma in gammas]
    style.legend(figure, style.lines(names), names)
    return figure


def focal_loss(p: NDArray[np.float64], gamma: float) -> NDArray[np.float64]:
    """Return the binary focal loss -(1 - p)^gamma log p, (P,), of the probabilities (P,) of the true class."""
    return -((1 - p) ** gamma) * np.log(p)


def train_boundary(
    points: NDArray[np.float64], targets: NDArray[np.int64], class_weights: Sequence[float]
) -> Boundary:
    """Train a linear softmax classifier on the sum of w_y * cross entropy, to convergence, and return its boundary.

    With two classes this is logistic regression, solved by Newton's method with the step halved where it overshoots.

    Args:
        points: (N, 2).
        targets: (N,), 0 or 1, of classes that no line separates.
        class_weights: (2,), finite and > 0.

    Raises:
        ValueError: a weight is not finite or not above 0.
    """
    w = np.asarray(class_weights, dtype=np.float64)
    if w.shape != (2,) or not (np.isfinite(w) & (w > 0)).all():
        raise ValueError(f"class_weights={w.tolist()}: must be two finite numbers > 0")
    x = np.column_stack([points, np.ones(len(points))])
    sign = 2.0 * targets - 1
    w = w[targets] / w[targets].sum()

    def loss(theta: NDArray[np.float64]) -> float:
        return float(w @ np.logaddexp(0, -sign * (x @ theta)))

    theta = np.zeros(3)
    for _ in range(100):
        wrong = np.exp(-np.logaddexp(0, sign * (x @ theta)))  # probability of the other class
        gradient = -x.T @ (w * sign * wrong)
        step = np.linalg.solve(x.T @ (x * (w * wrong * (1 - wrong))[:, None]), gradient)
        while loss(theta - step) > loss(theta) and np.abs(step).max() > 1e-12:
            step = step / 2
        theta = theta - step
        if np.abs(step).max() < 1e-10:
            break
    length = math.hypot(theta[0], theta[1])
    return Boundary((float(theta[0]) / length, float(theta[1]) / length), -float(theta[2]) / length)


def draw_points(counts: Sequence[int], seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw so many points of each of the two classes: points (N, 2), targets (N,)."""
    targets = np.repeat(np.arange(2), counts)
    points = np.random.default_rng(seed).standard_normal((len(targets), 2))
    points[:, 0] += MEAN * (2 * targets - 1)
    return points, targets


def boundary(weights: Mapping[str, Sequence[float]], counts: Sequence[int] = (5000, 100), seed: int = 0) -> Figure:
    """Draw how far each weighting moves the boundary between a frequent and a rare class that overlap, trained.

    Two Gaussian classes in the plane, a linear softmax classifier. The legend tells each line's shift: its distance
    from the best boundary for balanced classes, along the axis between the class means, positive towards the second
    (rare) class. The distance between the means is 3. The order of the weightings here need not be that of networks:
    squared class-balanced weights can end nearer to the best boundary than none, but are the worst of Park and Hwang
    2022, Table 2.

    Args:
        weights: name of a weighting -> weights of the two classes, (2,).
        counts: points of the two classes, >= 1 each.
        seed: of the points.

    Raises:
        ValueError: counts are not two numbers >= 1, or a weight is not finite or not above 0.
    """
    if len(counts) != 2 or min(counts) < 1:
        raise ValueError(f"counts={tuple(counts)}: must be two numbers >= 1")
    points, targets = draw_points(counts, seed)
    figure = style.figure(3.8, 3.6)
    axes = figure.subplots()
    style.plain(axes, x="axis between the class means")
    handles: list[Line2D] = []
    for target, (colour, marker) in enumerate(((GREY, "."), (BLACK, "^"))):
        shown = points[targets == target][:SHOWN]
        handles += axes.plot(*shown.T, marker, color=colour, markersize=3.5, alpha=0.6, markeredgewidth=0)
    height = 3.6
    handles += axes.plot([0, 0], [-height, height], color=FAINT, linewidth=6, solid_capstyle="butt")
    names = [*(f"class of {count:,} points" for count in counts), "best if balanced  0"]
    for index, (name, class_weights) in enumerate(weights.items()):
        line = train_boundary(points, targets, class_weights)
        y = np.linspace(-height, height, 9)
        x = (line.offset - line.normal[1] * y) / line.normal[0]
        handles += axes.plot(x, y, **style.look(index))
        names.append(f"{style.wrap(name)}  {line.shift:+.2f}")
    axes.set(xlim=(-2 * MEAN - 1, 2 * MEAN + 1), ylim=(-height, height), aspect="equal", yticks=[])
    style.legend(figure, handles, names, "shift towards the rare class")
    return figure
