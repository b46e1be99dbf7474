"""SADE against values computed independently in float64."""

import pytest
import torch

from longtail.errors import text_of
from longtail.losses import Softmax
from longtail.methods import Criterion
from longtail.methods.sade import Sade
from longtail.models import SmallCNN

from .test_experts import COUNTS, TARGETS, Z


def make(strength: float = 2.0, counts: torch.Tensor = COUNTS) -> Sade:
    method = Sade(SmallCNN(1, 3, width=4), Criterion(Softmax(counts), torch.ones(3)), counts, strength, late=False)
    method.model.forward = lambda images: torch.stack([Z] * 3)
    return method


def test_the_third_expert_learns_the_inverse_prior() -> None:
    torch.testing.assert_close(make().shifts[2], torch.tensor([9.3147, 2.406945, -4.50081]), atol=1e-5, rtol=0)


def test_the_experts_learn_three_priors_and_their_losses_are_summed() -> None:
    expected = [2.871539 + 7.142089 + 16.315878, 1.139831 + 0.097760 + 0.000906]
    assert float(make().loss((Z, TARGETS))) == pytest.approx(sum(expected) / 2, abs=1e-5)


def test_the_inverse_prior_follows_the_counts_whatever_their_order() -> None:
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(make(counts=COUNTS[order]).shifts, make().shifts[:, order])


def test_without_the_inverse_prior_the_third_expert_is_the_second() -> None:
    torch.testing.assert_close(make(0).shifts[2], make().shifts[1])


@pytest.mark.parametrize("strength", [-1, float("nan"), float("inf"), "two", True])
def test_a_bad_strength_is_refused(strength: float) -> None:
    with pytest.raises(ValueError, match=rf"^strength={text_of(strength)}: must be a finite number >= 0"):
        make(strength)
