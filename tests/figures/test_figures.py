"""Figures: they draw the numbers they are given, legibly at few and at many classes and methods, always alike."""

import itertools
import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from PIL import Image

from longtail import figures, losses, reweight
from longtail.figures import Scores, style
from longtail.figures.theory import MEAN, draw_points, focal_loss

pytestmark = [  # such as a layout that collapsed, a mean of nothing, a logarithm of 0
    pytest.mark.filterwarnings("error::RuntimeWarning"),
    pytest.mark.filterwarnings("error::UserWarning:matplotlib"),
]

LONG = (
    "random × focal × class_balanced_squared",
    "loss=sigmoid,sampler=uniform_minibatch,reweight=class_balanced_sqrt,reweight.beta=0.999",
    "a_name_without_any_place_to_break_it_but_signs_" * 4,
    "x" * 90,
    "costs $5 or $x^2",
)


def class_names(num_classes: int) -> list[str]:
    return [f"a class named {i}, with words" if i % 3 == 0 else f"class{i}" for i in range(num_classes)]


def method_names(methods: int) -> list[str]:
    return [f"{LONG[i % len(LONG)]}{i}" if i else "none" for i in range(methods)]


def train_counts(num_classes: int) -> list[int]:
    return [int(500 * 0.01 ** (i / max(num_classes - 1, 1))) for i in range(num_classes)]


def accuracies(num_classes: int, methods: int) -> dict[str, list[float]]:
    rng = np.random.default_rng(num_classes)
    return {
        name: (0.9 - 0.7 * np.arange(num_classes) / num_classes + rng.normal(0, 0.05, num_classes))
        .clip(0, 1)
        .tolist()
        for name in method_names(methods)
    }


def scores(num_classes: int, methods: int, seeds: int = 3) -> dict[str, Scores]:
    rng = np.random.default_rng(methods)
    return {
        name: Scores(rng.random(seeds).tolist(), (rng.random(seeds) / 2).tolist(), np.array(values))
        for name, values in accuracies(num_classes, methods).items()
    }


def over(methods: int) -> dict[str, dict[str, Scores]]:
    """Scores of methods at four values of a number; the first method has no such setting."""
    by_value = {value: scores(10, methods) for value in ("0.9", "0.99", "0.999", "0.9999")}
    first, *others = by_value["0.9"]
    return {first: {"": by_value["0.9"][first]}} | {
        name: {value: found[name] for value, found in by_value.items()} for name in others
    }


def confusion_counts(num_classes: int) -> NDArray[np.int64]:
    counts = np.random.default_rng(0).integers(0, 5, (num_classes, num_classes), dtype=np.int64)
    counts[np.diag_indices(num_classes)] += 20
    counts[-1] = 0
    return counts


def weightings(counts: tuple[int, int]) -> dict[str, list[float]]:
    """Weights of two classes by name."""
    made: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "none": reweight.none,
        "sqrt": partial(reweight.class_balanced, power=0.5),
        "inverse_frequency": reweight.inverse_frequency,
        "squared": partial(reweight.class_balanced, power=2),
    }
    return {name: weighting(torch.tensor(counts)).tolist() for name, weighting in made.items()}


def calibrated() -> tuple[list[float], list[float], list[float]]:
    """Images, sum of confidences and hits of 15 bins, the first of which is empty."""
    images = [float(5 * k * k) for k in range(15)]
    return images, [n * (k + 0.5) / 15 for k, n in enumerate(images)], [n * k / 15 for k, n in enumerate(images)]


def everything(num_classes: int, methods: int) -> dict[str, Callable[[], Figure]]:
    names, n, by_method = class_names(num_classes), train_counts(num_classes), accuracies(num_classes, methods)
    some = dict(list(by_method.items())[: (methods + 1) // 2])
    conditions = {"ratio 50": by_method, "ratio 100": some}
    counts = confusion_counts(num_classes)
    return {
        "classes": lambda: figures.classes(names, n, next(iter(by_method.values()))),
        "confusion": lambda: figures.confusion(names, counts),
        "box": lambda: figures.box(by_method),
        "by_count": lambda: figures.by_count(n, by_method),
        "methods": lambda: figures.methods(
            {"ratio 50": scores(num_classes, methods), "ratio 100": scores(num_classes, (methods + 1) // 2)}
        ),
        "by_class": lambda: figures.by_class(conditions),
        "along": lambda: figures.along("reweight.beta", {"ratio 50": over(methods), "ratio 100": over(methods)}),
        "weights": lambda: figures.weights(n, {name: [1 / k for k in n] for name in by_method}),
        "confusions": lambda: figures.confusions(names, dict.fromkeys(by_method, counts)),
        "reliability": lambda: figures.reliability(*calibrated()),
    }


def drawn_texts(figure: Figure) -> Iterator[tuple[Text, str]]:
    """Every text that is seen in a figure, and what it belongs to."""
    for legend in figure.legends:
        yield from ((text, "legend") for text in [legend.get_title(), *legend.get_texts()])
    for at, axes in enumerate(figure.axes):
        inside = axes.get_window_extent()
        for text in [axes.title, axes._left_title, *axes.texts, axes.xaxis.label, axes.yaxis.label]:  # type: ignore[attr-defined]
            yield text, f"text {at}"
        for axis, which in ((axes.xaxis, 0), (axes.yaxis, 1)):
            for text in axis.get_ticklabels(which="both"):
                place = text.get_transform().transform(text.get_position())[which]
                if inside.min[which] - 1 <= place <= inside.max[which] + 1:
                    yield text, f"{axis.axis_name} ticks {at}"


def faults(figure: Figure) -> list[str]:
    """Texts of a figure that overlap or lie outside it; slanted neighbours are compared across their slant."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    found = [(text, of) for text, of in drawn_texts(figure) if text.get_visible() and text.get_text().strip()]
    boxes = [text.get_window_extent(renderer) for text, _ in found]
    inner = [box.shrunk(0.95, 0.95) for box in boxes]
    bad = [
        f"{text.get_text()!r} is cut off"
        for (text, _), box in zip(found, boxes, strict=True)
        if min(box.x0, box.y0) < -1 or box.x1 > figure.bbox.x1 + 1 or box.y1 > figure.bbox.y1 + 1
    ]
    for one, two in itertools.combinations(range(len(found)), 2):
        (a, a_of), (b, b_of) = found[one], found[two]
        if a_of == b_of and a.get_rotation() == b.get_rotation() == 45:
            places = [text.get_transform().transform(text.get_position())[0] for text in (a, b)]
            overlap = abs(places[1] - places[0]) * math.sin(math.pi / 4) < float(a.get_fontsize()) / 72 * figure.dpi
        else:
            overlap = inner[one].overlaps(inner[two])
        if overlap:
            bad.append(f"{a.get_text()!r} ({a_of}) overlaps {b.get_text()!r} ({b_of})")
    for legend in figure.legends:
        box = legend.get_window_extent()
        if any(Bbox.intersection(box, axes.get_window_extent()) for axes in figure.axes):
            bad.append("the legend covers a panel")
        if not all(figure.bbox.padded(1).contains(*corner) for corner in box.corners()):
            bad.append("the legend is cut off")
    return bad


@pytest.mark.parametrize(("num_classes", "methods"), [(2, 1), (10, 20), (20, 3), (100, 1), (100, 12)])
def test_no_text_overlaps_another_or_leaves_the_figure(num_classes: int, methods: int) -> None:
    for name, draw in everything(num_classes, methods).items():
        assert not faults(draw()), name


@pytest.mark.parametrize("draw", [figures.focal, lambda: figures.boundary(weightings((5000, 100)))])
def test_no_text_of_the_methods_overlaps_another(draw: Callable[[], Figure]) -> None:
    assert not faults(draw())


def test_the_search_for_overlaps_finds_them() -> None:
    figure = Figure(figsize=(3, 3))
    axes = figure.subplots()
    axes.set_xticks(range(20), ["a long label"] * 20)
    axes.text(0.5, 0.5, "wide" * 40)
    found = faults(figure)
    assert any("overlaps" in fault for fault in found)
    assert any("is cut off" in fault for fault in found)


def test_thousands_of_classes_are_drawn_small(tmp_path: Path) -> None:
    num_classes = 8142
    by_method = {
        name: [*values[:-2], math.nan, math.nan] for name, values in list(accuracies(num_classes, 3).items())
    }
    n = train_counts(num_classes)
    drawn = {
        "classes": figures.classes(class_names(num_classes), n, by_method["none"]),
        "box": figures.box(by_method),
        "by_count": figures.by_count(n, by_method),
        "by_class": figures.by_class({"": by_method}),
        "methods": figures.methods({"": scores(num_classes, 3)}),
        "weights": figures.weights(n, {"inverse": [1 / k for k in n]}),
    }
    for name, figure in drawn.items():
        assert not faults(figure), name
        assert figures.save(figure, tmp_path / name)[1].stat().st_size < 400_000, name


def test_what_is_missing_is_left_out() -> None:
    nan = [math.nan] * 3
    empty = Scores([math.nan], [math.nan], np.array(nan))
    drawn = [
        figures.classes(["a", "b", "c"], [0, 0, 5], nan),
        figures.confusion(["a", "b", "c"], np.zeros((3, 3), dtype=np.int64)),
        figures.box({"gone": nan, "some": [0.5, math.nan, 0.7]}),
        figures.box({"gone": nan}),
        figures.reliability(*[[0.0] * 15] * 3),
        figures.by_count([0, 7, 7], {"gone": nan, "flat": [0.1, 0.2, 0.3]}),
        figures.methods({"": {"gone": empty}, "none at all": {}}),
        figures.by_class({"": {"gone": nan}, "none at all": {}}),
        figures.weights([5, 5, 5], {"zero": [0.0, 0.0, 0.0]}),
        figures.confusions(["a", "b"], {"gone": np.zeros((2, 2), dtype=np.int64)}),
    ]
    for figure in drawn:
        FigureCanvasAgg(figure).draw()


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def seen(axes: Axes) -> list[Line2D]:
    """The lines, without the marks that only carry a text."""
    return [line for line in axes.lines if line.get_alpha() != 0]


def x_of(line: Line2D) -> NDArray[np.float64]:
    return np.asarray(line.get_xdata(), dtype=np.float64)


def y_of(line: Line2D) -> NDArray[np.float64]:
    return np.asarray(line.get_ydata(), dtype=np.float64)


def xy_of(line: Line2D) -> NDArray[np.float64]:
    return np.stack((x_of(line), y_of(line)), axis=1)


def widths(axes: Axes) -> list[float]:
    return [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]


# One run


@pytest.mark.parametrize("num_classes", [2, 10, 100])
def test_bars_are_the_counts_and_the_accuracies(num_classes: int) -> None:
    names = [f"class {i}" for i in range(num_classes)]
    counts, accuracy = list(range(1, num_classes + 1)), np.linspace(0, 1, num_classes).tolist()
    left, right = figures.classes(names, counts, accuracy).axes
    assert [bar.get_height() for bar in left.patches] == counts  # type: ignore[attr-defined]
    assert [bar.get_height() for bar in right.patches] == accuracy  # type: ignore[attr-defined]
    assert f"{np.std(accuracy):.3f}" in right.get_title()


def test_many_classes_are_means_of_neighbours_in_the_order_of_their_images() -> None:
    counts = np.random.default_rng(0).permutation(np.repeat([400, 40, 4], 200))
    left, right = figures.classes(class_names(600), counts.tolist(), (counts / 400).tolist()).axes
    for axes, largest in ((left, 400), (right, 1)):
        heights = np.asarray(axes.collections[0].get_paths()[0].vertices)[:, 1]
        assert set(np.round(heights[heights > 0], 6)) >= {largest, largest / 10, largest / 100}
        assert "means of 3" in axes.get_xlabel()


def test_classes_are_named_where_names_fit_and_numbered_elsewhere() -> None:
    def ticks(num_classes: int) -> list[str]:
        axes = figures.classes(class_names(num_classes), [1] * num_classes, [0.5] * num_classes).axes[0]
        return [tick.get_text() for tick in axes.get_xticklabels()]

    assert ticks(10) == [style.abbreviate(name, 24) for name in class_names(10)]
    assert not set(ticks(100)) & set(class_names(100))


def test_confusion_shows_shares_of_the_true_class() -> None:
    figure = figures.confusion(["a", "b", "c"], np.array([[3, 1, 0], [0, 0, 0], [2, 2, 4]]))
    shares = figure.axes[0].images[0].get_array()
    assert shares is not None
    np.testing.assert_allclose(np.ma.filled(shares, np.nan), [[0.75, 0.25, 0], [np.nan] * 3, [0.25, 0.25, 0.5]])
    assert [text.get_text() for text in figure.axes[0].texts] == ["75", "25", "25", "25", "50"]
    assert figure.axes[0].patch.get_hatch()


def test_the_confusion_of_many_classes_is_drawn_in_blocks() -> None:
    counts = np.kron(np.array([[3, 1], [0, 4]]), np.ones((505, 505), dtype=np.int64))
    axes = figures.confusion(class_names(1010), counts).axes[0]
    shares = axes.images[0].get_array()
    assert shares is not None
    assert shares.shape == (337, 337)
    np.testing.assert_allclose(shares.sum(1), 1)
    assert axes.get_xlim() == (-0.5, 337 * 3 - 0.5)


def test_reliability_shows_the_accuracy_of_each_bin_and_the_error() -> None:
    upper, lower = figures.reliability(*calibrated()).axes
    assert [bar.get_height() for bar in upper.patches] == pytest.approx([k / 15 for k in range(1, 15)])  # type: ignore[attr-defined]
    np.testing.assert_allclose(x_of(upper.lines[0]), [(k + 0.5) / 15 for k in range(1, 15)])
    assert sum(bar.get_height() for bar in lower.patches) == pytest.approx(1)  # type: ignore[attr-defined]
    assert upper.get_title() == "calibration error 0.033"


def test_a_box_shows_the_classes_with_mean_and_standard_deviation() -> None:
    figure = figures.box({"one": [0.0, 0.5, 1.0], "two": [0.2, math.nan, 0.4]})
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["0.500, 0.408", "0.300, 0.100", "mean, std over classes"]
    medians = [x_of(line)[0] for line in axes.lines if to_hex(line.get_color()) == style.ORANGE]
    np.testing.assert_allclose(medians, [0.5, 0.3])


def test_slope_is_the_least_squares_line_over_decades() -> None:
    n, a = np.array([1000, 300, 40, 8, 2]), np.array([0.9, 0.8, 0.55, 0.2, 0.1])
    np.testing.assert_allclose(figures.slope(n, a), np.polyfit(np.log10(n), a, 1))
    np.testing.assert_allclose(figures.slope([1, 10, 100], [0.1, 0.4, 0.7]), (0.3, 0.1))
    np.testing.assert_allclose(figures.slope([1, 10, 100, 1000, 0], [0.1, 0.4, 0.7, math.nan, 0.9]), (0.3, 0.1))


@pytest.mark.parametrize("n", [[], [5], [5, 5, 5], [0, 0, 5]])
def test_slope_has_no_value_for_fewer_than_two_counts(n: list[int]) -> None:
    assert all(math.isnan(value) for value in figures.slope(n, [0.1, 0.5, 0.9][: len(n)]))


def test_by_count_shows_each_class_and_each_fitted_line() -> None:
    figure = figures.by_count([100, 10, 1], {"up": [0.9, 0.5, 0.1], "none": [0.5, math.nan, math.nan]})
    points, line, lonely = figure.axes[0].lines
    np.testing.assert_allclose(xy_of(points), [[100, 0.9], [10, 0.5], [1, 0.1]])
    np.testing.assert_allclose(xy_of(line), [[1, 0.1], [100, 0.9]], atol=1e-12)
    np.testing.assert_allclose(xy_of(lonely), [[100, 0.5]])
    assert labels(figure) == ["up  +0.400", "none  –"]


def test_a_fitted_line_ends_where_it_would_leave_the_scores() -> None:
    _, line = figures.by_count([1000, 100, 10, 1], {"steep": [1.0, 1.0, 0.0, 0.0]}).axes[0].lines
    steep, start = figures.slope([1000, 100, 10, 1], [1.0, 1.0, 0.0, 0.0])
    np.testing.assert_allclose(y_of(line), [0, 1], atol=1e-12)
    np.testing.assert_allclose(start + steep * np.log10(x_of(line)), [0, 1], atol=1e-12)
    _, flat = figures.by_count([10, 1], {"flat": [0.5, 0.5]}).axes[0].lines
    np.testing.assert_allclose(xy_of(flat), [[1, 0.5], [10, 0.5]])


# A sweep


def test_methods_shows_means_and_sample_deviations_over_seeds() -> None:
    panels = {
        "ratio 50": {
            "two": Scores([0.4, 0.6], [0.1, 0.3], np.array([0.2, 0.8])),
            "one": Scores([0.7], [0.2], np.array([0.5, 0.9])),
        },
        "ratio 100": {"two": Scores([0.3, math.nan], [0.1, math.nan], np.array([0.2, 0.8]))},
    }
    figure = figures.methods(panels)
    left, middle, right, below = figure.axes[:4]
    assert widths(left) == pytest.approx([0.5, 0.7])
    np.testing.assert_allclose(widths(middle), [0.2, 0.2])
    assert [text.get_text() for text in left.texts] == ["0.500 ± 0.141", "0.700 (n = 1)"]
    assert [text.get_text() for text in middle.texts] == ["0.200 ± 0.141", "0.200 (n = 1)"]
    (bars,) = left.collections
    np.testing.assert_allclose(bars.get_segments()[0][:, 0], [0.5 - 0.02**0.5, 0.5 + 0.02**0.5])  # type: ignore[attr-defined]
    assert len(bars.get_segments()) == 1  # type: ignore[attr-defined]
    assert len(right.patches) == 2
    assert [text.get_text() for text in below.texts] == ["0.300"]
    assert [axes.get_title(loc="left") for axes in (left, below)] == ["ratio 50", "ratio 100"]
    assert [text.get_text() for text in left.get_yticklabels()] == ["two", "one"]


def test_along_draws_means_in_the_order_of_the_values_and_a_line_for_none() -> None:
    def of(*values: float) -> Scores:
        return Scores(values, values, np.array(values))

    panels = {"": {"cb": {"10": of(0.4, 0.6), "2": of(0.1)}, "none": {"": of(0.3)}}}
    figure = figures.along("beta", panels, score="accuracy")
    above = figure.axes[0]
    swept = next(line for line in above.lines if len(x_of(line)) == 2 and y_of(line)[0] == 0.1)
    np.testing.assert_allclose(xy_of(swept), [[0, 0.1], [1, 0.5]])
    assert any(list(y_of(line)) == [0.3, 0.3] for line in above.lines)
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["2", "10"]


def test_by_class_gives_a_method_the_same_look_in_all_panels() -> None:
    figure = figures.by_class({"ratio 50": {"a": [0.9, 0.1], "b": [0.8, 0.2]}, "ratio 100": {"b": [0.7, 0.3]}})
    left, right = figure.axes
    (a, b), (same,) = seen(left), seen(right)
    assert [y_of(line).tolist() for line in (a, b, same)] == [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]
    assert b.get_color() == same.get_color() != a.get_color()
    assert b.get_marker() == same.get_marker() != a.get_marker()
    assert labels(figure) == ["a", "b"]
    assert [axes.get_title() for axes in figure.axes] == ["ratio 50", "ratio 100"]


def test_weights_are_drawn_below_the_images_and_zeros_are_told() -> None:
    figure = figures.weights([100, 10, 1], {"inverse": [0.01, 0.1, 1], "tail": [0, 0, 3]})
    above, below = figure.axes
    assert [bar.get_height() for bar in above.patches] == [100, 10, 1]  # type: ignore[attr-defined]
    inverse, tail = seen(below)
    np.testing.assert_array_equal(y_of(inverse), [0.01, 0.1, 1])
    np.testing.assert_array_equal(y_of(tail), [math.nan, math.nan, 3])
    assert below.get_yscale() == "log"
    assert labels(figure) == ["inverse", "tail\n(0 for 2 classes)"]


def test_confusions_have_a_panel_per_method_and_one_colour_bar() -> None:
    counts = {name: np.array([[i, 4 - i], [0, 2]]) for i, name in enumerate("abc")}
    *panels, bar = figures.confusions(["x", "y"], counts).axes
    assert [axes.get_title() for axes in panels] == ["a", "b", "c"]
    for i, axes in enumerate(panels):
        shares = axes.images[0].get_array()
        assert shares is not None
        np.testing.assert_allclose(shares, np.array([[i / 4, 1 - i / 4], [0.0, 1.0]]))
    assert bar.get_ylabel() == "share of the true class"


# The methods themselves


def test_focal_loss_is_the_binary_one() -> None:
    p = np.array([0.1, 0.5, 0.9, 0.968])
    np.testing.assert_allclose(focal_loss(p, 0), -np.log(p))
    np.testing.assert_allclose(focal_loss(p, 2), -((1 - p) ** 2) * np.log(p))
    reduced = focal_loss(p, 0) / focal_loss(p, 2)
    assert reduced[2] == pytest.approx(100)
    assert reduced[3] == pytest.approx(1000, rel=0.05)
    logits, of_one = torch.logit(torch.from_numpy(p))[:, None], torch.zeros(len(p), dtype=torch.int64)
    np.testing.assert_allclose(focal_loss(p, 2), losses.Focal([1], 2)(logits, of_one), err_msg="of one class")


def test_focal_draws_a_line_per_gamma_on_both_axes() -> None:
    figure = figures.focal((0, 2))
    for axes in figure.axes:
        for line, gamma in zip(axes.lines, (0, 2), strict=True):
            np.testing.assert_allclose(y_of(line), focal_loss(x_of(line), gamma))
    assert labels(figure) == ["γ = 0  (cross entropy)", "γ = 2"]


def trained(counts: tuple[int, int], weights: Sequence[float]) -> float:
    return figures.train_boundary(*draw_points(counts, seed=0), weights).shift


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 3.0), (1.0, 10.0), (1.0, 100.0)])
def test_a_trained_boundary_lies_where_the_weighted_densities_are_equal(weights: tuple[float, float]) -> None:
    counts = (40_000, 4_000)
    # n_0 w_0 exp(-(x + m)^2 / 2) = n_1 w_1 exp(-(x - m)^2 / 2)
    expected = math.log(counts[0] * weights[0] / (counts[1] * weights[1])) / (2 * MEAN)
    assert trained(counts, weights) == pytest.approx(expected, abs=0.06)


def test_weightings_move_the_boundary_in_their_order() -> None:
    counts = (5000, 100)
    shift = {name: trained(counts, pair) for name, pair in weightings(counts).items()}
    assert shift["none"] > 1
    assert shift["none"] > shift["sqrt"] + 0.3 > shift["inverse_frequency"] + 0.6
    assert shift["inverse_frequency"] == pytest.approx(0, abs=0.15)
    assert shift["squared"] < -0.5


def test_a_boundary_does_not_depend_on_the_scale_of_the_weights_or_on_the_order_of_the_points() -> None:
    points, targets = draw_points((500, 50), seed=1)
    first = figures.train_boundary(points, targets, [0.5, 5.0])
    scaled = figures.train_boundary(points[::-1], targets[::-1], [500.0, 5000.0])
    assert (scaled.offset, *scaled.normal) == pytest.approx((first.offset, *first.normal), abs=1e-5)
    assert math.hypot(*first.normal) == pytest.approx(1)


def test_boundary_draws_each_line_where_it_was_trained() -> None:
    figure = figures.boundary(weightings((1000, 50)), counts=(1000, 50), seed=3)
    points, targets = draw_points((1000, 50), seed=3)
    frequent, rare, _, *lines = figure.axes[0].lines
    assert len(x_of(frequent)) == 250
    assert len(x_of(rare)) == 50
    for line, pair, label in zip(lines, weightings((1000, 50)).values(), labels(figure)[3:], strict=True):
        found = figures.train_boundary(points, targets, pair)
        np.testing.assert_allclose(xy_of(line) @ found.normal, found.offset, atol=1e-9)
        assert label.endswith(f"{found.shift:+.2f}")


@pytest.mark.parametrize("weights", [[1.0, 0.0], [1.0, math.inf], [1.0, -1.0], [1.0]])
def test_a_boundary_needs_two_positive_weights(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="must be two finite numbers > 0"):
        figures.train_boundary(np.zeros((2, 2)), np.array([0, 1]), weights)


@pytest.mark.parametrize("counts", [(5,), (5, 0), (5, 5, 5)])
def test_a_boundary_needs_two_classes(counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"counts=.* must be two numbers >= 1"):
        figures.boundary({}, counts=counts)


# Their style


def test_two_methods_never_look_the_same() -> None:
    looks = [style.look(index) for index in range(35)]
    assert len({(look["color"], str(look["linestyle"])) for look in looks}) == 35
    assert len({(str(look["linestyle"]), look["marker"]) for look in looks}) == 35  # in grey


@pytest.mark.parametrize("name", [*LONG, "", "short", "two  spaces\nand a line", "a" * 33])
def test_names_are_wrapped_without_loss_unless_too_long(name: str) -> None:
    rows = style.wrap(name).replace(r"\$", "$").split("\n")
    assert len(rows) <= 4
    assert max(map(len, rows)) <= 32
    if "…" not in "".join(rows):
        assert "".join(rows).replace(" ", "") == "".join(name.split())
    else:
        assert len(name) > 96
        assert rows[-1][-5:] == name[-5:]


def test_names_break_at_words_before_signs() -> None:
    assert style.wrap("random × focal × class_balanced_squared") == "random × focal ×\nclass_balanced_squared"
    assert style.wrap("class_balanced_squared", letters=16) == "class_balanced_\nsquared"


def test_a_shortened_name_keeps_both_ends() -> None:
    assert style.abbreviate("abcdefghij", 7) == "abc…hij"
    assert style.abbreviate("abcdefg", 7) == "abcdefg"


def test_neighbours_are_averaged_without_the_missing() -> None:
    means, step = style.neighbours([1, 3, math.nan, 5, math.nan, math.nan, 7], most=4)
    assert step == 2
    np.testing.assert_array_equal(means, [2, 5, math.nan, 7])
    means, step = style.neighbours([1, math.nan], most=4)
    assert step == 1
    np.testing.assert_array_equal(means, [1, math.nan])


def test_files_are_the_same_each_time(tmp_path: Path) -> None:
    draw = everything(10, 3)["methods"]
    figure = draw()
    first = figures.save(figure, tmp_path / "new" / "ratio 0.5")
    assert [path.name for path in first] == ["ratio 0.5.png", "ratio 0.5.svg"]
    for again in (figures.save(figure, tmp_path / "again"), figures.save(draw(), tmp_path / "anew")):
        assert [path.read_bytes() for path in again] == [path.read_bytes() for path in first]


@pytest.mark.parametrize("name", ["classes", "confusion", "by_count", "by_class", "weights", "confusions", "box"])
def test_an_svg_is_small_and_keeps_its_text(name: str, tmp_path: Path) -> None:
    png, svg = figures.save(everything(100, 5)[name](), tmp_path / name)
    assert Image.open(png).size[0] > 500
    assert svg.stat().st_size < 200_000
    root = ET.fromstring(svg.read_text())
    texts = ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert any("score" in text or "weight" in text or "true" in text for text in texts)
    assert not list(root.iter("{http://purl.org/dc/elements/1.1/}date"))


@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_browser_shows_values_under_the_pointer(tmp_path: Path) -> None:
    figure = figures.by_count([10, 100], {'<b> & "c", d\n\x1b': [0.5, 0.6]})
    _, svg = figures.save(figure, tmp_path / "figure")
    titles = [title.text for title in ElementTree.parse(svg).iter("{http://www.w3.org/2000/svg}title")]
    name = '<b> & "c", d \ufffd'
    assert titles == [
        f"{name}, 10 images: 0.500",
        f"{name}, 100 images: 0.600",
        f"{name}: +0.100 per decade of images",
    ]


def test_bars_boxes_and_points_have_a_text() -> None:
    def said(figure: Figure) -> list[str]:
        ids = [artist.get_gid() or "" for artist in figure.findobj()]
        return [unquote(text) for gid in ids if gid for text in gid.partition(":")[2].split(",")]

    one = Scores([0.4, 0.6], [0.1, 0.1], np.array([0.1, 0.2]))
    assert said(figures.by_class({"": {"a": [0.25, math.nan, 0.75]}})) == ["a, class 0: 0.25", "a, class 2: 0.75"]
    assert said(figures.classes(["x", "y"], [100, 1], [0.5, math.nan])) == [
        "x: 100 images", "y: 1 images", "x: 0.5 score", "y: – score",
    ]  # fmt: skip
    assert said(figures.methods({"": {"a": one}})) == [
        "a: score 0.500 ± 0.141",
        "a: std over classes 0.100 ± 0.000",
        "a: mean 0.150, median 0.150, quartiles 0.125 and 0.175, from 0.100 to 0.200",
    ]
    assert said(figures.confusion(["x", "y"], np.array([[3, 1], [0, 0]]))) == [
        "x taken for x: 75.0%", "x taken for y: 25.0%",
    ]  # fmt: skip
    assert said(figures.along("beta", {"": {"a": {"1": one}}}))[0] == "a, beta 1: 0.500 ± 0.141"


def test_of_many_methods_neighbouring_classes_make_a_point() -> None:
    values = np.linspace(1, 0, 50).tolist()
    few, many = (figures.by_class({"": dict.fromkeys("abcd"[:n], values)}).axes[0] for n in (3, 4))
    assert [len(x_of(seen(axes)[0])) for axes in (few, many)] == [50, 25]
    assert many.get_xlabel() == "class index (means of 2)"


def test_a_figure_that_cannot_be_drawn_leaves_no_file(tmp_path: Path) -> None:
    figure = Figure()
    figure.text(0.5, 0.5, "$broken^$")
    with pytest.raises(ValueError, match=r"ParseException|Expected"):
        figures.save(figure, tmp_path / "broken")
    assert not list(tmp_path.iterdir())


def test_drawing_changes_no_global_setting(tmp_path: Path) -> None:
    before = matplotlib.rcParams.copy()
    figures.save(figures.focal(), tmp_path / "focal")
    assert matplotlib.rcParams == before


def test_importing_the_figures_does_not_import_torch() -> None:
    command = "import sys, longtail.figures; sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0
