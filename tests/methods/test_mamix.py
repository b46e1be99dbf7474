"""MAMix against its definition, worked out by hand, and against mixup."""

from typing import Any

import pytest
import torch

from longtail.losses import Softmax
from longtail.methods import Criterion
from longtail.methods.mamix import MarginAwareMixup
from longtail.models import SmallCNN

RARE, FREQUENT = torch.tensor([0]), torch.tensor([1])


def make(counts: tuple[int, ...] = (10, 1000), **settings: Any) -> MarginAwareMixup:
    given = torch.tensor(counts)
    criterion = Criterion(Softmax(given), torch.ones(len(given)))
    return MarginAwareMixup(SmallCNN(1, len(given), width=4), criterion, given, **settings)


@pytest.mark.parametrize(("other", "expected"), [(0.4, 0.736754), (0.9, 0.208114), (0.759747, 0.5), (0, 1), (1, 0)])
def test_the_label_changes_hands_at_the_boundary(other: float, expected: float) -> None:
    method = make()
    assert float(method.label_share(RARE, FREQUENT, 1 - other)) == pytest.approx(expected, abs=2e-6)
    assert float(method.label_share(FREQUENT, RARE, other)) == pytest.approx(1 - expected, abs=2e-6)


@pytest.mark.parametrize("method", [make((7, 7)), make(omega=0.0)])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_equal_counts_or_an_omega_of_zero_are_mixup(method: MarginAwareMixup, share: float) -> None:
    assert float(method.label_share(RARE, FREQUENT, share)) == pytest.approx(share)


def test_extreme_counts_have_a_boundary_too() -> None:
    method = make((1, 10_000_000), omega=-100.0)
    pairs = [(RARE, FREQUENT), (FREQUENT, RARE), (RARE, RARE), (FREQUENT, FREQUENT)]
    for share, expected in ((0.0, [0, 0, 0, 0]), (0.5, [0.75, 0.25, 0.5, 0.5]), (1.0, [1, 1, 1, 1])):
        assert [float(method.label_share(*pair, share)) for pair in pairs] == expected


@pytest.mark.parametrize("omega", [0.1, -101, float("nan"), "low"])
def test_a_bad_omega_is_refused(omega: float) -> None:
    with pytest.raises(ValueError, match=rf"^omega={omega}: must be a number in .-100, 0."):
        make(omega=omega)
