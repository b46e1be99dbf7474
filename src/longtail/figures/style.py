"""How all figures look: colours, lines and markers, labels that do not overlap."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis, YAxis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from matplotlib.ticker import LogFormatter, MaxNLocator
from numpy.typing import NDArray

from longtail.figures.tips import tip

# Told apart by the colour-blind (Okabe and Ito, without their yellow, which white paper swallows).
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
BLACK, SKY, AMBER = "#000000", "#56b4e9", "#e69f00"
GREY, FAINT = "#777777", "#dddddd"

# The three lengths share no divisor, so that look after look differs in all three, in grey too.
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, BLACK, SKY, AMBER)
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (2.5, 1.2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")

TITLE, LABEL, TICK = 9.0, 8.0, 7.0  # points
ROW = 44  # letters on a line of a name beside its row
SLANT = math.sin(math.pi / 4)
LINE_HEIGHT = 1.3  # of the size of the letters
MAX_BARS = 200  # a bar of its own for each of thousands of classes is a smear, and takes seconds
SCORE = "score"  # what a measure is called that nobody named
COUNTED = "images"  # what a class has more or less of in training


def figure(width: float, height: float) -> Figure:
    """Return an empty figure, in inches, whose parts make room for each other."""
    made = Figure(figsize=(width, height), layout="constrained")
    made.set_facecolor("white")
    return made


def plain(axes: Axes, *, title: str = "", x: str = "", y: str = "", grid: Literal["x", "y"] | None = None) -> None:
    """Set thin lines, small letters, title and axis labels, and grid lines of axis "x" or "y" behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(linewidth=0.6, color=GREY)
    axes.tick_params(which="both", labelsize=TICK, width=0.6, length=2.5, color=GREY)
    axes.tick_params(which="minor", length=1.5)
    axes.set_title(text(title), fontsize=TITLE)
    axes.set_xlabel(text(x), fontsize=LABEL)
    axes.set_ylabel(text(y), fontsize=LABEL)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=FAINT, linewidth=0.5)


class PlainNumbers(LogFormatter):
    """The ticks that Matplotlib labels on a logarithmic axis, as 0.6 and 100."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the label of a tick."""
        return f"{x:g}" if super().__call__(x, pos) else ""


def log(axis: Axis) -> None:
    """Make an axis logarithmic, with plain numbers beside its ticks: powers of ten as formulas are slow to draw."""
    if isinstance(axis, YAxis):
        axis.axes.set_yscale("log")
    else:
        axis.axes.set_xscale("log")
    axis.set_major_formatter(PlainNumbers())
    axis.set_minor_formatter(PlainNumbers())


def look(index: int) -> dict[str, Any]:
    """Return the colour, line and marker of the index-th method; any two of 35 differ in colour or line."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": LINES[index % len(LINES)],
        "marker": MARKERS[index % len(MARKERS)],
        "linewidth": 1.2,
        "markersize": 4.0,
        "markeredgewidth": 0.0,
    }


def text(name: str) -> str:
    """Return a name on one line, with its dollar signs escaped, which would start a formula."""
    return re.sub(r"\s+", " ", name).replace("$", r"\$")


def abbreviate(name: str, letters: int) -> str:
    """Return a name of at most so many letters, its middle left out: long names often differ only at the end."""
    if len(name) <= letters:
        return name
    tail = (letters - 1) // 2
    return f"{name[: letters - 1 - tail]}…{name[len(name) - tail :]}"


def wrap(name: str, letters: int = 32, lines: int = 4) -> str:
    """Break a name into up to `lines` lines of up to `letters` letters, its middle left out where it is longer.

    A line breaks after a space or a comma if possible, else after another sign, else anywhere.
    """
    name = re.sub(r"\s+", " ", name).strip()
    rows = _break(name, letters)
    longest = letters * lines
    while len(rows) > lines:
        rows = _break(abbreviate(name, longest), letters)
        longest -= 1
    return "\n".join(row.replace("$", r"\$") for row in rows)


def _break(name: str, letters: int) -> list[str]:
    parts = []
    for word in re.findall(r"[^ ,]*[ ,]|[^ ,]+", name):
        weak = re.findall(rf"[^\W_]{{0,{letters - 1}}}[\W_]|[^\W_]{{1,{letters}}}", word)
        parts += [word] if len(word.rstrip()) <= letters else weak
    rows = [""]
    for part in parts:
        if len((rows[-1] + part).rstrip()) > letters:
            rows.append("")
        rows[-1] += part
    return [row.strip() for row in rows]


def size(label: str, points: float) -> tuple[float, float]:
    """Return the width and height of a label in inches."""
    rows = label.split("\n")
    font = FontProperties(size=points)
    widths = [text_to_path.get_text_width_height_descent(row, font, False)[0] for row in rows]
    return max(widths) / 72, len(rows) * points * LINE_HEIGHT / 72


def class_ticks(axis: Axis, class_names: Sequence[str], inches: float, label: str = "class") -> None:
    """Name the classes at 0, 1, 2, ... along an axis of this length, or number some where names do not fit."""
    if not _names_fit(len(class_names), inches):
        locator = MaxNLocator(nbins=8, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
        axis.set_major_locator(locator)
        axis.set_label_text(f"{label} index", fontsize=LABEL)
        return
    names = [_tick(name) for name in class_names]
    axis.set_label_text(label, fontsize=LABEL)
    if isinstance(axis, YAxis) or name_width(names) < 0.85 * inches / len(names):
        axis.set_ticks(range(len(names)), names)
    else:
        axis.set_ticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")


def class_room(class_names: Sequence[str], inches: float) -> float:
    """Return the inches that horizontal class names need beside such an axis; slanted ones need SLANT of it."""
    return name_width(map(_tick, class_names)) if _names_fit(len(class_names), inches) else 0.25


def _names_fit(names: int, inches: float) -> bool:
    """Return whether slanted names do not touch, and so horizontal ones neither."""
    return names > 0 and inches / names >= TICK * LINE_HEIGHT / 72 / SLANT


def _tick(name: str) -> str:
    return text(abbreviate(name, 24))


def neighbours(values: Sequence[float] | NDArray[Any], most: int = MAX_BARS) -> tuple[NDArray[np.float64], int]:
    """Return at most `most` means over neighbouring classes, NaN left out, and how many classes make one mean."""
    array = floats(values)
    step = -(-len(array) // most)
    if step <= 1:
        return array, 1
    starts = np.arange(0, len(array), step)
    finite = np.isfinite(array)
    sums, found = np.add.reduceat(np.where(finite, array, 0), starts), np.add.reduceat(finite, starts, dtype=np.int64)
    return np.divide(sums, found, out=np.full(len(starts), np.nan), where=found > 0), step


def legend(figure: Figure, handles: Sequence[Artist], names: Iterable[str], title: str = "") -> None:
    """Draw a legend to the right of all panels, and widen the figure by what it takes."""
    labels = list(names)
    sizes = [size(label, TICK) for label in labels] or [(0.0, 0.0)]
    width = max(max(wide for wide, _ in sizes) + 0.5, size(title, TICK)[0]) + 0.2
    height = sum(high + 0.4 * TICK / 72 for _, high in sizes) + 2.5 * TICK / 72 + size(title, TICK)[1]
    old_width, old_height = figure.get_size_inches()
    figure.set_size_inches(old_width + width, max(old_height, height + 0.1))
    made = figure.legend(
        handles,
        labels,
        loc="outside right upper",
        fontsize=TICK,
        title=title or None,
        title_fontsize=TICK,
        frameon=False,
        handlelength=3.2,
        alignment="left",
    )
    made.get_title().set_multialignment("left")


def lines(methods: Iterable[str]) -> list[Line2D]:
    """Return what a legend shows of each method, in order."""
    return [Line2D([], [], **look(index)) for index, _ in enumerate(methods)]


def grid(figure: Figure, panels: int, columns: int, **shared: Any) -> list[Axes]:
    """Return so many axes in rows of so many columns, the last row filled from the left."""
    rows = -(-panels // columns)
    made = figure.subplots(rows, columns, squeeze=False, **shared).ravel().tolist()
    for empty in made[panels:]:
        empty.remove()
    return list(made[:panels])


def boxes(axes: Axes, per_class: Mapping[str, Sequence[float] | NDArray[Any]], score: str) -> None:
    """Box plots, one below the other at 0, 1, 2, ...: quartiles, whiskers of at most 1.5 of their distance, mean.

    What is not finite is left out; where nothing is left there is no box.
    """
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel(f"{score} of a class\n(line: median, diamond: mean)", fontsize=LABEL)
    found = [(at, numbers[np.isfinite(numbers)]) for at, numbers in enumerate(map(floats, per_class.values()))]
    found = [(at, numbers) for at, numbers in found if len(numbers)]
    if not found:
        return
    drawn = axes.boxplot(
        [numbers for _, numbers in found],
        positions=[at for at, _ in found],
        widths=0.55,
        orientation="horizontal",
        manage_ticks=False,
        patch_artist=True,
        showmeans=True,
        boxprops={"facecolor": "#f3f3f3", "edgecolor": BLACK, "linewidth": 0.7},
        whiskerprops={"linewidth": 0.7},
        capprops={"linewidth": 0.7},
        medianprops={"color": ORANGE, "linewidth": 1.5},
        meanprops={"marker": "D", "markerfacecolor": BLUE, "markeredgecolor": "white", "markersize": 4.5},
        flierprops={"marker": "o", "markersize": 2.5, "markerfacecolor": "none", "markeredgewidth": 0.5},
    )
    for box, (at, numbers) in zip(drawn["boxes"], found, strict=True):
        low, median, high = np.percentile(numbers, (25, 50, 75))
        said = f"mean {numbers.mean():.3f}, median {median:.3f}, quartiles {low:.3f} and {high:.3f}"
        tip(box, f"{list(per_class)[at]}: {said}, from {numbers.min():.3f} to {numbers.max():.3f}")
    for outliers in drawn["fliers"]:
        outliers.set_rasterized(len(outliers.get_xdata()) > MAX_BARS)


def column(axes: Axes, values: Sequence[str], head: str = "") -> None:
    """Write values in a column to the right of the axes, at the heights 0, 1, 2, ..., and what they are above it."""
    across = axes.get_yaxis_transform()
    for at, value in enumerate(values):
        axes.text(1.03, at, value, transform=across, va="center", fontsize=TICK)
    if head:
        axes.text(1.03, 1.0, head, transform=axes.transAxes, va="bottom", fontsize=TICK, color=GREY)


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Name the rows, from top to bottom at the heights 0, 1, 2, ..."""
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)


def row_height(names: Iterable[str]) -> float:
    """Return the inches that each row needs for the tallest of the wrapped names."""
    return max([0.24, *(size(name, TICK)[1] + 0.06 for name in names)])


def name_width(names: Iterable[str]) -> float:
    """Return the inches of the widest of the wrapped names."""
    return max([0.0, *(size(name, TICK)[0] for name in names)])


def floats(values: Sequence[float] | NDArray[Any]) -> NDArray[np.float64]:
    """Return numbers as an array; None becomes NaN."""
    return np.asarray(values, dtype=np.float64)


def finite(values: Sequence[float] | NDArray[Any], of: Callable[[NDArray[np.float64]], Any]) -> float:
    """Apply a function to the finite values; NaN if there are none."""
    numbers = floats(values)
    numbers = numbers[np.isfinite(numbers)]
    return float(of(numbers)) if len(numbers) else math.nan


def number(value: float, form: str = ".3f") -> str:
    """Format a number beside what is drawn; a dash for NaN."""
    return format(value, form) if math.isfinite(value) else "–"
