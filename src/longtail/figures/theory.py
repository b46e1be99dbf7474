"""What the methods themselves look like: the focal loss, and how far class weights move a decision boundary."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from longtail.figures import style
from longtail.figures.style import BLACK, FAINT, GREY

if TYPE_CHECKING:  # imported where it is used, for a report draws other figures without waiting for it
    from torch import Tensor

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
    """Focal loss over the probability of the true class, as it is and on a log axis (Lin et al. 2017, figure 1).

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
    axes.set(yscale="log", ylim=(1e-6, 10), ylabel="loss, log axis")
    figure.axes[0].set_ylim(0, 5)
    names = [f"γ = {gamma:g}" + ("  (cross entropy)" if gamma == 0 else "") for gamma in gammas]
    style.legend(figure, style.lines(names), names)
    return figure


def focal_loss(p: NDArray[np.float64], gamma: float) -> NDArray[np.float64]:
    """Binary focal loss -(1 - p)^gamma log p, (P,), from `losses.Focal` with one class, whose logit is that of p."""
    import torch

    from longtail.losses import Focal

    logits = torch.logit(torch.as_tensor(p, dtype=torch.float64))[:, None]
    loss: Tensor = Focal([1], gamma)(logits, torch.zeros(len(logits), dtype=torch.int64))
    return np.asarray(loss)


def train_boundary(points: "Tensor", targets: "Tensor", class_weights: "Tensor") -> Boundary:
    """Train a linear softmax classifier on the sum of w_y * cross entropy, to convergence, and give its boundary.

    Args:
        points: (N, 2).
        targets: (N,) int64, 0 or 1.
        class_weights: (2,), finite and > 0.

    Raises:
        ValueError: a weight is not finite or not above 0.
    """
    import torch

    from longtail.losses import Softmax

    if class_weights.shape != (2,) or not bool((class_weights.isfinite() & (class_weights > 0)).all()):
        raise ValueError(f"class_weights={class_weights.tolist()}: must be two finite numbers > 0")
    points, w = points.double(), class_weights.double()[targets]
    w = w / w.sum()  # the same minimum, at a scale for which the tolerances below are right
    matrix = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    loss = Softmax([1, 1])
    optimizer = torch.optim.LBFGS(
        [matrix, bias],
        max_iter=200,
        tolerance_grad=1e-9,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        optimizer.zero_grad()
        total = (w * loss(points @ matrix.T + bias, targets)).sum()
        total.backward()
        return float(total.detach())

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so few points are done before threads on a busy machine have met
    try:
        optimizer.step(closure)
    finally:
        torch.set_num_threads(threads)
    towards, at = (matrix[1] - matrix[0]).tolist(), (bias[0] - bias[1]).item()
    length = math.hypot(*towards)
    return Boundary((towards[0] / length, towards[1] / length), at / length)


def draw_points(counts: Sequence[int], seed: int) -> "tuple[Tensor, Tensor]":
    """So many points of each of the two classes: points (N, 2) float64, targets (N,) int64."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    targets = torch.repeat_interleave(torch.arange(2), torch.tensor(counts))
    points = torch.randn(len(targets), 2, generator=generator, dtype=torch.float64)
    points[:, 0] += MEAN * (2 * targets - 1)
    return points, targets


def boundary(
    weightings: "Mapping[str, Callable[[Tensor], Tensor]]", counts: Sequence[int] = (5000, 100), seed: int = 0
) -> Figure:
    """How far each weighting moves the boundary between a frequent and a rare class that overlap, trained.

    Two Gaussian classes in the plane, a linear softmax classifier. The legend tells each line's shift: its distance
    from the best boundary for balanced classes, along the axis between the class means, positive towards the second
    (rare) class. The distance between the means is 3.

    Args:
        weightings: name -> function (class_counts) -> weights (2,), as in conf/reweight.
        counts: points of the two classes, >= 1 each.
        seed: of the points.

    Raises:
        ValueError: counts are not two numbers >= 1, or a weight is not finite or not above 0.
    """
    import torch

    if len(counts) != 2 or min(counts) < 1:
        raise ValueError(f"counts={tuple(counts)}: must be two numbers >= 1")
    points, targets = draw_points(counts, seed)
    figure = style.figure(3.8, 3.6)
    axes = figure.subplots()
    style.plain(axes, x="axis between the class means")
    handles: list[Line2D] = []
    for target, (colour, marker) in enumerate(((GREY, "."), (BLACK, "^"))):
        shown = points[targets == target][:SHOWN].numpy()
        handles += axes.plot(*shown.T, marker, color=colour, markersize=3.5, alpha=0.6, markeredgewidth=0)
    height = 3.6
    handles += axes.plot([0, 0], [-height, height], color=FAINT, linewidth=6, solid_capstyle="butt")
    names = [*(f"class of {count:,} points" for count in counts), "best if balanced  0"]
    for index, (name, weighting) in enumerate(weightings.items()):
        line = train_boundary(points, targets, weighting(torch.tensor(counts)))
        y = np.linspace(-height, height, 9)
        x = (line.offset - line.normal[1] * y) / line.normal[0]
        handles += axes.plot(x, y, **style.look(index))
        names.append(f"{style.wrap(name)}  {line.shift:+.2f}")
    axes.set(xlim=(-2 * MEAN - 1, 2 * MEAN + 1), ylim=(-height, height), aspect="equal", yticks=[])
    style.legend(figure, handles, names, "shift towards the rare class")
    return figure
