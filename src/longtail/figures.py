"""What a run looks like: figures from the collected numbers, without a display."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

BLUE, ORANGE = "#0072b2", "#d55e00"  # told apart by the colour-blind (Okabe and Ito)
MAX_LABELS, MAX_BARS = 25, 200


def classes(class_names: Sequence[str], train_counts: Sequence[int], accuracy: Sequence[float]) -> Figure:
    """Training images per class beside accuracy per class, in the order of the classes."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    index = np.arange(len(class_names))
    if len(index) <= MAX_BARS:
        left.bar(index, train_counts, color=BLUE)
        right.bar(index, accuracy, color=ORANGE)
    else:  # a bar of its own for each of thousands of classes takes seconds
        left.fill_between(index, train_counts, step="mid", color=BLUE)
        right.fill_between(index, accuracy, step="mid", color=ORANGE)
    left.set(title="Training images", yscale="log", xlabel="class")
    std = np.nanstd(np.asarray(accuracy, dtype=float))
    left.set_ylim(bottom=0.7)  # so that a single image is still a bar
    right.set(title=f"Accuracy, std over classes {std:.3f}", ylim=(0, 1), xlabel="class")
    if len(class_names) <= MAX_LABELS:
        for axes in (left, right):
            axes.set_xticks(index, class_names, rotation=45, ha="right")
    return figure


def confusion(class_names: Sequence[str], counts: NDArray[np.int64]) -> Figure:
    """Confusion matrix (C, C), [true, predicted], each row as fractions of the true class."""
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    figure = Figure(figsize=(6, 5.2), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class")
    axes.set(xlabel="predicted", ylabel="true")
    if len(class_names) <= MAX_LABELS:
        index = np.arange(len(class_names))
        axes.set_xticks(index, class_names, rotation=45, ha="right")
        axes.set_yticks(index, class_names)
    return figure
