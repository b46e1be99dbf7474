"""Images in rows, each with what a classifier says of it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from longtail.figures import style

COLUMNS, SIDE = 6, 1.5  # panels in a row, and inches of each
LETTERS = 22  # of a line beside a panel


def contact_sheet(
    images: Sequence[NDArray[np.uint8]],
    names: Sequence[str],
    guesses: Sequence[Sequence[tuple[str, float]]],
    title: str = "",
) -> Figure:
    """Draw images with their names above them, and below them their likeliest classes, each with its probability.

    Args:
        images: each (H, W, 3).
        names: of each image.
        guesses: of each image, the likeliest class first.
        title: above all.
    """
    rows, lines = -(-len(images) // COLUMNS) or 1, max(map(len, guesses), default=1)
    columns = min(len(images), COLUMNS) or 1
    height = SIDE + (1 + lines) * style.TICK * style.LINE_HEIGHT / 72 + 0.15
    figure = style.figure(SIDE * max(columns, 2) + 0.2, height * rows + (0.35 if title else 0.1))
    figure.suptitle(style.text(title), fontsize=style.TITLE)
    for axes, image, name, likeliest in zip(
        style.grid(figure, len(images), COLUMNS if rows > 1 else columns), images, names, guesses, strict=True
    ):
        axes.imshow(image, interpolation="nearest" if max(image.shape) < 100 else "antialiased")
        (tall, wide), side = image.shape[:2], max(image.shape[:2])  # all panels are squares
        left, top = (wide - side) / 2 - 0.5, (tall - side) / 2 - 0.5
        axes.set(xticks=[], yticks=[], xlim=(left, left + side), ylim=(top + side, top))
        axes.spines[:].set_visible(False)
        axes.set_title(style.text(style.abbreviate(name, LETTERS)), fontsize=style.TICK, color=style.GREY, pad=3)
        said = [f"{style.abbreviate(name, LETTERS - 5)}: {probability:.2f}" for name, probability in likeliest]
        axes.set_xlabel("\n".join(map(style.text, said)), fontsize=style.TICK, labelpad=3)
    return figure
