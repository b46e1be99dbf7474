"""Figures of a detector: right and wrong boxes, precision over recall, and what the loss is made of."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from longtail import figures
from longtail.figures import style
from longtail.figures.detection import Truth
from longtail.figures.theory import focal_loss

from .test_figures import faults, labels, x_of, y_of

pytestmark = [
    pytest.mark.filterwarnings("error::RuntimeWarning"),
    pytest.mark.filterwarnings("error::UserWarning:matplotlib"),
]

RECALL = np.linspace(0, 1, 101).tolist()


def drawn_boxes(figure: Figure, panel: int = 0) -> list[tuple[str, tuple[float, ...]]]:
    """The colour, and the x, y, width and height of each box."""
    boxes = [patch for patch in figure.axes[panel].patches if isinstance(patch, Rectangle)]
    return [(to_hex(b.get_edgecolor()), (*b.get_xy(), b.get_width(), b.get_height())) for b in boxes]


def texts(figure: Figure, panel: int = 0) -> list[str]:
    return [text.get_text() for text in figure.axes[panel].texts]


def noise(channels: int = 1) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.random.default_rng(0).integers(0, 256, (48, 64, channels), dtype=np.uint8)


def curves(classes: int) -> dict[str, list[float]]:
    return {f"class {c}": np.clip(1 - np.array(RECALL) * (c + 1) / classes, 0, 1).tolist() for c in range(classes)}


def shares(steps: Sequence[float] = (0, 10, 20)) -> dict[str, list[float]]:
    easy = np.linspace(0.7, 0.1, len(steps))
    return {"step": list(steps), "easy_negatives": easy.tolist(), "foreground": (1 - easy).tolist(), "positives": []}


def test_a_detection_is_right_once_per_true_box_of_its_class() -> None:
    truth = ([[10, 10, 30, 30], [40, 10, 60, 30]], [0, 1])
    found = (
        [[12, 10, 30, 30], [10, 10, 30, 30], [40, 10, 60, 30], [0, 35, 9, 44], [0, 0, 5, 5]],
        [0.6, 0.9, 0.8, 0.7, 0.1],
        [0, 0, 0, 1, 1],
    )
    figure = figures.examples([noise()], [truth], [found], ["cat", "dog"])
    colours = [colour for colour, _ in drawn_boxes(figure)]
    assert colours == [style.GREEN] * 2 + [style.SKY] + [style.ORANGE] * 3  # the last one is not shown
    assert drawn_boxes(figure)[2] == (style.SKY, (9.5, 9.5, 20, 20))
    assert texts(figure) == ["dog", "cat 0.90", "cat 0.80", "dog 0.70", "cat 0.60"]  # the true box that is missed


def test_each_image_has_its_own_boxes() -> None:
    none: Truth = (np.zeros((0, 4)), [])
    one = ([[5, 5, 20, 20]], [1])
    figure = figures.examples([noise(3), noise()], [none, one], [([], [], []), ([], [], [])], ["cat", "dog"])
    assert [len(drawn_boxes(figure, panel)) for panel in (0, 1)] == [0, 1]
    assert labels(figure) == ["true", "found", "found, wrong"]


def test_a_class_has_its_precision_and_the_mean_of_it() -> None:
    curves = {"good": [1.0] * 101, "half": [0.5] * 101, "gone": [math.nan] * 101}
    figure = figures.precision_recall({"": (RECALL, curves)})
    assert labels(figure) == ["good  1.000", "half  0.500", "gone  –"]
    assert figure.legends[0].get_title().get_text() == "AP, mean 0.750"
    np.testing.assert_allclose(y_of(figure.axes[0].lines[1]), 0.5)


def test_of_many_classes_the_extremes_are_named() -> None:
    figure = figures.precision_recall({"": (RECALL, curves(80))})
    found = labels(figure)
    assert [name.split("  ")[0] for name in found[2:]] == [f"class {c}" for c in (0, 1, 2, 77, 78, 79)]
    (mean,) = figure.axes[0].lines
    np.testing.assert_allclose(y_of(mean), np.mean([*curves(80).values()], axis=0))
    assert len(figure.axes[0].collections) == 1


def test_methods_stand_side_by_side() -> None:
    figure = figures.precision_recall({"focal": (RECALL, curves(3)), "plain": (RECALL, {"class 2": [0.5] * 101})})
    left, right = figure.axes
    assert "mean AP 0.500" in right.get_title()
    shown = [line for line in right.lines if np.isfinite(y_of(line)).any()]
    assert [line.get_color() for line in shown] == [left.lines[2].get_color()]
    assert labels(figure) == ["class 0", "class 1", "class 2"]
    many = figures.precision_recall({name: (RECALL, curves(80)) for name in ("focal", "plain")})
    assert labels(many) == ["mean of the classes", "10th to 90th percentile"]


def test_each_method_has_its_shares() -> None:
    figure = figures.loss_shares({"cross entropy": [shares()], "focal": [shares([0, 50])]})
    easy, foreground = figure.axes
    np.testing.assert_allclose(y_of(easy.lines[0]), [0.7, 0.4, 0.1])
    np.testing.assert_allclose(y_of(foreground.lines[1]), [0.3, 0.9])
    np.testing.assert_allclose(x_of(easy.lines[1]), [0, 50])
    assert labels(figure) == ["cross entropy", "focal"]


def test_a_run_that_diverged_ends_with_a_cross() -> None:
    def run(*losses: float) -> dict[str, list[float]]:
        return {"step": list(range(1, len(losses) + 1)), "loss": list(losses)}

    alive, dead = run(9, 8, 7), [run(500, 4e4, math.nan), run(500, 4e4, 4e9, math.inf)]
    figure = figures.loss_shares({"with a prior": [alive], "without": dead})
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    crosses = [line for line in axes.lines if line.get_marker() == "x"]
    assert [(x_of(line)[0], y_of(line)[0]) for line in crosses] == [(2, 4e4), (3, 5e4)]
    assert labels(figure) == ["with a prior", "without\n   diverged at step 3, 4"]


def test_the_loss_accumulates_from_easy_to_hard() -> None:
    negatives = np.random.default_rng(0).uniform(0, 0.9, 2000)
    figure = figures.cumulative_loss(negatives, [0.9, 0.5], gammas=(0, 2))
    _, panel = figure.axes
    for line, gamma in zip(panel.lines, (0, 2), strict=True):
        losses = np.sort(focal_loss(1 - negatives, gamma))
        np.testing.assert_allclose(y_of(line)[::100], [losses[: 500 * i].sum() / losses.sum() for i in range(5)])
        hardest = losses[-20:].sum() / losses.sum(), losses[-200:].sum() / losses.sum()
        assert f"negatives {hardest[0]:.0%} / {hardest[1]:.0%}" in labels(figure)[(0, 2).index(gamma)]
    assert y_of(panel.lines[1])[200] < y_of(panel.lines[0])[200]  # focal loss lies on the hard ones


def test_certain_samples_have_no_infinite_loss() -> None:
    figure = figures.cumulative_loss([0.0, 1.0, math.nan], [0.0, 1.0])
    for axes in figure.axes:
        assert all(np.isfinite(y_of(line)).all() for line in axes.lines)


NO_BOXES: Truth = (np.zeros((0, 4)), [])
DEGENERATE = {
    "no_image": lambda: figures.examples([], [], [], []),
    "no_boxes": lambda: figures.examples([noise()], [NO_BOXES], [(*NO_BOXES, [])], ["cat"]),
    "nothing_true": lambda: figures.examples([noise()], [NO_BOXES], [([[1, 1, 9, 9]], [0.9], [0])], ["$cat"]),
    "one_class": lambda: figures.precision_recall({"": (RECALL, {"only": [0.5] * 101})}),
    "no_class": lambda: figures.precision_recall({"": (RECALL, {})}),
    "no_truth": lambda: figures.precision_recall({"": (RECALL, {f"c{c}": [math.nan] * 101 for c in range(80)})}),
    "no_run": lambda: figures.precision_recall({"gone": (RECALL, {"c": [math.nan] * 101})}),
    "many_runs": lambda: figures.precision_recall({f"loss {i}": (RECALL, curves(80)) for i in range(5)}),
    "no_step": lambda: figures.loss_shares({"gone": [{}], "one": [shares([3])], "none": []}),
    "not_finite": lambda: figures.loss_shares(
        {"nan": [{"step": [0, 1], name: [math.nan] * 2} for name in ("foreground", "loss")]}
    ),
    "no_samples": lambda: figures.cumulative_loss([], [math.nan]),
    "no_loss": lambda: figures.cumulative_loss([0.0] * 5, [1.0] * 5),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_little_is_drawn_and_saved_too(name: str, tmp_path: Path) -> None:
    figure = DEGENERATE[name]()
    assert not faults(figure)
    assert all(path.stat().st_size > 1000 for path in figures.save(figure, tmp_path / name))


def test_files_of_a_full_figure_are_small_and_no_text_overlaps(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    full = {
        "precision_recall": figures.precision_recall({"": (RECALL, curves(10))}),
        "precision_recalls": figures.precision_recall({f"loss named {i}": (RECALL, curves(10)) for i in range(5)}),
        "loss_shares": figures.loss_shares({f"a loss named {i}": [shares(list(range(500)))] for i in range(5)}),
        "cumulative_loss": figures.cumulative_loss(rng.beta(0.2, 9, 300_000), rng.beta(3, 2, 1000)),
    }
    for name, figure in full.items():
        assert not faults(figure), name
        assert figures.save(figure, tmp_path / name)[1].stat().st_size < 300_000, name
