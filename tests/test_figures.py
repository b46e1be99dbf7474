"""Figures: they draw the numbers they are given, at few and at many classes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longtail import figures


@pytest.mark.parametrize("num_classes", [2, 10, 100])
def test_bars_are_the_counts_and_the_accuracies(num_classes: int, tmp_path: Path) -> None:
    names = [f"class {i}" for i in range(num_classes)]
    counts, accuracy = list(range(1, num_classes + 1)), np.linspace(0, 1, num_classes).tolist()
    figure = figures.classes(names, counts, accuracy)
    left, right = figure.axes
    assert [bar.get_height() for bar in left.patches] == counts  # type: ignore[attr-defined]
    assert [bar.get_height() for bar in right.patches] == accuracy  # type: ignore[attr-defined]
    figure.savefig(tmp_path / "classes.png")
    assert Image.open(tmp_path / "classes.png").size[0] > 500


def test_confusion_shows_shares_of_the_true_class() -> None:
    figure = figures.confusion(["a", "b", "c"], np.array([[3, 1, 0], [0, 0, 0], [2, 2, 4]]))
    shares = figure.axes[0].images[0].get_array()
    assert shares is not None
    np.testing.assert_allclose(np.ma.filled(shares, np.nan), [[0.75, 0.25, 0], [np.nan] * 3, [0.25, 0.25, 0.5]])
