"""What a detector looks like: the boxes it finds, its precision, and what its loss is made of."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from longtail.figures import style
from longtail.figures.style import BLUE, GREEN, ORANGE, SKY
from longtail.figures.theory import focal_loss
from longtail.figures.tips import tip

RIGHT = 0.5  # least IoU of a detection with a true box of its class
MAX_NAMED = 10  # classes with a line of their own; of more their mean and spread are drawn
EXTREMES = 3  # best and worst of them that are named
MOST_RISE = 100  # of a loss over the first ones, that is drawn
MAX_POINTS = 400  # of the curve of a cumulative loss
LOOKS: dict[str, dict[str, Any]] = {
    "true": {"edgecolor": GREEN, "linestyle": (0, (3, 1.5))},
    "found": {"edgecolor": SKY, "linestyle": "-"},
    "found, wrong": {"edgecolor": ORANGE, "linestyle": "-"},
}

LOSS_PARTS = {  # columns of the parts of a loss, by the titles of their panels
    "loss": "training loss",
    "easy_negatives": "share of easy negatives",
    "foreground": "share of the foreground",
}

Columns = Mapping[str, Sequence[float]]
PrecisionRecall = tuple[Sequence[float], Columns]
Truth = tuple[ArrayLike, ArrayLike]  # boxes (K, 4) as x1, y1, x2, y2 in pixels, labels (K,)
Found = tuple[ArrayLike, ArrayLike, ArrayLike]  # boxes (K, 4), scores (K,), labels (K,)


def examples(
    images: Sequence[NDArray[np.uint8]],
    truth: Sequence[Truth],
    found: Sequence[Found],
    class_names: Sequence[str],
    *,
    least: float = 0.3,
) -> Figure:
    """Draw images with their true boxes and with those found, these with class and score.

    A detection is right if its IoU with a true box of its class is at least 0.5; of several on one box the most
    certain one. A true box that is not found has its class beside it.

    Args:
        images: each (H, W, 1 or 3).
        truth: of each image.
        found: in each image.
        class_names: names, (C,).
        least: score below which a detection is not shown.
    """
    columns = min(len(images), 4) or 1
    figure = style.figure(2.3 * columns + 0.1, 2.3 * (-(-len(images) // columns) or 1) + 0.1)
    panels = style.grid(figure, len(images), columns) if images else []
    for axes, image, (boxes, labels), detections in zip(panels, images, truth, found, strict=True):
        axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        true, classes = _boxes(boxes), np.asarray(labels, dtype=np.int64)
        shown, scores, guesses = _most_certain(detections, least)
        right, seen = _judge(true, classes, shown, guesses)
        for box, label, hit in zip(true, classes, seen, strict=True):
            _draw_box(axes, box, "true", "" if hit else style.abbreviate(class_names[label], 16))
        for box, label, score, fits in zip(shown, guesses, scores, right, strict=True):
            said = f"{style.abbreviate(class_names[label], 16)} {score:.2f}"
            _draw_box(axes, box, "found" if fits else "found, wrong", said)
    handles = [Rectangle((0, 0), 1, 1, fill=False, linewidth=1.2, **look) for look in LOOKS.values()]
    style.legend(figure, handles, LOOKS)
    return figure


def _boxes(boxes: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(boxes, dtype=np.float64).reshape(-1, 4)


def _most_certain(
    detections: Found, least: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return the boxes, scores and labels of the detections of at least this score, most certain first."""
    boxes, scores = _boxes(detections[0]), np.asarray(detections[1], dtype=np.float64)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= least]
    return boxes[order], scores[order], np.asarray(detections[2], dtype=np.int64)[order]


def _judge(
    true: NDArray[np.float64], classes: NDArray[np.int64], found: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[list[bool], NDArray[np.bool_]]:
    """Return which detections, most certain first, are right, and which true boxes are found."""
    seen, right = np.zeros(len(true), dtype=bool), []
    for box, label in zip(found, labels, strict=True):
        overlap = np.where((classes == label) & ~seen, _iou(true, box), 0)
        right.append(bool(len(true)) and bool(overlap.max() >= RIGHT))
        if right[-1]:
            seen[overlap.argmax()] = True
    return right, seen


def _iou(boxes: NDArray[np.float64], box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of boxes (K, 4) with one box (4,), (K,)."""
    sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    shared = sides.clip(0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return np.asarray(shared / np.maximum(areas - shared, np.finfo(float).tiny))


def _draw_box(axes: Axes, box: NDArray[np.float64], kind: str, said: str) -> None:
    (x1, y1, x2, y2), look = box, LOOKS[kind]
    axes.add_patch(Rectangle((x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, fill=False, linewidth=1.2, **look))
    if said:
        width, height = axes.get_xlim()[1], axes.get_ylim()[0]
        left, below = x1 < width / 2, kind == "true"  # so that it does not cover what is found there
        inside = y2 > 0.92 * height if below else y1 < 0.08 * height
        label = axes.text(
            x1 if left else x2,
            (y2 if below else y1) - 0.5,
            style.text(said),
            ha="left" if left else "right",
            va="top" if below != inside else "bottom",
            fontsize=6,
            bbox={"facecolor": look["edgecolor"], "alpha": 0.75, "pad": 0.4, "linewidth": 0},
        )
        label.set_in_layout(False)


def precision_recall(runs: Mapping[str, PrecisionRecall]) -> Figure:
    """Draw precision over recall, a panel per run, with a line per class, or of more than 10 their mean and spread.

    The AP is the mean of the precision over the recalls, so with 101 of them that of COCO. A single run has that of
    its classes in the legend, or of more than 10 that of the best and the worst.

    Args:
        runs: name -> recall (R,), in [0, 1], and class -> precision at these recalls, (R,); NaN where there is no
            test box.
    """
    columns = min(len(runs), 3) if len(runs) != 4 else 2
    figure = style.figure(
        *((3.8, 3) if len(runs) == 1 else (2.7 * columns + 0.3, 2.6 * -(-len(runs) // columns) + 0.2))
    )
    names = list(dict.fromkeys(name for _, precision in runs.values() for name in precision))
    panels = style.grid(figure, len(runs), columns, sharex=True, sharey=True)
    for at, (axes, (run, (recall, precision))) in enumerate(zip(panels, runs.items(), strict=True)):
        below, left = at + columns >= len(runs), at % columns == 0
        style.plain(axes, x="recall" if below else "", y="precision" if left else "", grid="y")
        axes.tick_params(labelbottom=below, labelleft=left)
        if len(runs) > 1:
            axes.set_title(f"{style.wrap(run, 30)}\nmean AP {_mean_ap(precision)}", fontsize=7)
        _curves(axes, recall, {name: precision.get(name, [math.nan] * len(recall)) for name in names})
    _classes_legend(figure, names, *(precision for _, precision in runs.values()))
    return figure


def _classes_legend(figure: Figure, names: Sequence[str], *precision: Columns) -> None:
    """Name the classes, or of more than 10 their mean and spread; of a single run say the AP too."""
    ap = {name: style.finite(values, np.mean) for name, values in precision[0].items()} if len(precision) == 1 else {}
    handles: list[Artist] = [*style.lines(names)]
    spread: list[str] = []
    if len(names) > MAX_NAMED:
        best_first = sorted((name for name in ap if math.isfinite(ap[name])), key=lambda name: -ap[name])
        names = [*best_first[:EXTREMES], *best_first[EXTREMES:][-EXTREMES:]]
        handles = [Line2D([], [], color=BLUE, linewidth=1.6), Rectangle((0, 0), 1, 1, color=BLUE, alpha=0.2, lw=0)]
        handles += [Line2D([], [], linestyle="none") for _ in names]
        spread = ["mean of the classes", "10th to 90th percentile"]
    labels = [style.wrap(name) + (f"  {style.number(ap[name])}" if ap else "") for name in names]
    style.legend(figure, handles, [*spread, *labels], f"AP, mean {_mean_ap(precision[0])}" if ap else "")


def _mean_ap(precision: Columns) -> str:
    ap = [style.finite(values, np.mean) for values in precision.values()]
    return style.number(style.finite(ap, np.mean))


def _curves(axes: Axes, recall: Sequence[float], precision: Mapping[str, Sequence[float]]) -> None:
    """Draw a line per class, or for more than 10 their mean and the band from their 10th to 90th percentile."""
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.03, 1.03))
    x = style.floats(recall)
    if len(precision) <= MAX_NAMED:
        for index, (name, values) in enumerate(precision.items()):
            look = style.look(index)
            [line] = axes.plot(x, style.floats(values), **look, markevery=(2 * index, 25), clip_on=False)
            tip(line, f"{name}: AP {style.number(style.finite(values, np.mean))}")
        return
    table = np.stack([style.floats(values) for values in precision.values()])
    table = table[np.isfinite(table).all(1)]
    if len(table):
        low, high = np.percentile(table, (10, 90), axis=0)
        axes.fill_between(x, low, high, color=BLUE, alpha=0.2, linewidth=0)
        axes.plot(x, table.mean(0), color=BLUE, linewidth=1.6)


def loss_shares(shares: Mapping[str, Sequence[Columns]]) -> Figure:
    """Draw the loss over training, and which part of the classification loss easy negatives and foreground have.

    The runs of a method look alike. One whose last loss is not finite has diverged: a cross is at the loss before, or
    where it leaves the panel, and the legend says at which step. A panel without a number is left out.

    Args:
        shares: method -> of each of its runs `step`, `loss`, `easy_negatives` and `foreground`, (S,) each, the shares
            in [0, 1].
    """
    every = [columns for own in shares.values() for columns in own]
    parts = [part for part in LOSS_PARTS if any(np.isfinite(style.floats(c.get(part, []))).any() for c in every)]
    figure = style.figure(3.2 * (len(parts) or 1) + 0.2, 2.8)
    panels = style.grid(figure, len(parts), len(parts)) if parts else []
    for axes, part in zip(panels, parts, strict=True):
        style.plain(axes, title=LOSS_PARTS[part], x="training step", grid="y")
        for index, (method, own) in enumerate(shares.items()):
            for columns in own:
                steps, values = style.floats(columns.get("step", [])), style.floats(columns.get(part, []))
                kept, apart = min(len(steps), len(values)), max(len(steps) // 6, 1)
                markers = (index * apart // len(shares), apart)
                [line] = axes.plot(steps[:kept], values[:kept], **style.look(index), markevery=markers)
                last = style.floats(values[:kept])[np.isfinite(values[:kept])][-1:]
                tip(line, f"{method}" + "".join(f": {value:.3g} at the end" for value in last))
        if part == "loss":
            _loss_axes(axes, every)
        else:
            axes.set_ylim(-0.03, 1.03)
    names = []
    for method, own in shares.items():
        ends = sorted({int(columns["step"][-1]) for columns in own if _diverged(columns.get("loss", []))})
        names.append(style.wrap(method) + (f"\n   diverged at step {', '.join(map(str, ends))}" if ends else ""))
    style.legend(figure, style.lines(shares), names)
    return figure


def _loss_axes(axes: Axes, runs: Sequence[Columns]) -> None:
    """Make both axes logarithmic, cut off what is far above the first losses, and mark where runs diverged."""
    style.log(axes.xaxis)
    style.log(axes.yaxis)
    losses = [columns["loss"] for columns in runs if columns.get("loss")]
    top = MOST_RISE * style.finite([run[0] for run in losses], np.max)
    if top < style.finite(np.concatenate(losses), np.max):
        axes.set_ylim(top=top)
    for line in axes.lines[:]:
        x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        if len(y) > 1 and _diverged(y):
            end = min(y[-2], axes.get_ylim()[1])
            axes.plot(x[-2], end, "x", color=line.get_color(), ms=7, mew=1.5, clip_on=False)


def _diverged(losses: Sequence[float] | NDArray[Any]) -> bool:
    """Return whether the last loss of a run is not finite."""
    return len(losses) > 0 and not math.isfinite(losses[-1])


def cumulative_loss(
    negatives: ArrayLike, positives: ArrayLike, gammas: Sequence[float] = (0, 0.5, 1, 2, 5)
) -> Figure:
    """Draw the cumulative focal loss over samples sorted by their loss, normalised (Lin et al. 2017, figure 4).

    The legend says which part of the whole loss the 1 % and the 10 % of the samples have that are hardest.

    Args:
        negatives: probability of an object that a trained network gives to samples without one, (N,).
        positives: the same of samples with one, (P,).
        gammas: focusing parameters, each >= 0; 0 is the cross entropy.
    """
    figure = style.figure(6.4, 3)
    names = [f"γ = {gamma:g}" + ("  (cross entropy)" if gamma == 0 else "") for gamma in gammas]
    kinds = {"positives": np.asarray(positives, np.float64), "negatives": 1 - np.asarray(negatives, np.float64)}
    for axes, (kind, p) in zip(figure.subplots(1, 2), kinds.items(), strict=True):
        p = np.sort(p[np.isfinite(p)])[::-1].clip(np.finfo(np.float32).eps, 1)
        style.plain(axes, title=f"{len(p):,} {kind}", x="share of the samples, hardest last", grid="y")
        for index, gamma in enumerate(gammas):
            share, within = _cumulative(focal_loss(p, gamma))
            axes.plot(share, within, **style.look(index), markevery=(4 * index, 50))
            hardest = (style.number(float(1 - np.interp(1 - part, share, within)), ".0%") for part in (0.01, 0.1))
            names[index] += f"\n   {kind} {' / '.join(hardest)}"
        axes.set(xlim=(0, 1), ylim=(0, 1))
    figure.axes[0].set_ylabel("cumulative loss", fontsize=style.LABEL)
    style.legend(figure, style.lines(names), names, "loss of the hardest 1 % / 10 %")
    return figure


def _cumulative(losses: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return shares of the samples, and that of the whole loss (ascending) which they have; NaN without a loss."""
    sums = np.concatenate([[0], np.cumsum(losses)])
    at = np.unique(np.linspace(0, len(losses), MAX_POINTS + 1).astype(np.int64))
    within = sums[at] / sums[-1] if sums[-1] > 0 else np.full(len(at), np.nan)
    return at / max(len(losses), 1), within
