"""A loss after another: which one when, and what both ask of the head."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from longtail.losses import (
    LDAM,
    BalancedSoftmax,
    Deferred,
    Focal,
    InfluenceBalanced,
    Sigmoid,
    SigmoidEqualization,
    Softmax,
    VectorScaling,
)
from longtail.losses.deferred import MakeLoss

COUNTS = torch.tensor([100, 10, 1])
LOGITS = torch.tensor([[2, 1, -0.5], [0.2, 0.1, 0.4]])
TARGETS = torch.tensor([2, 0])


def test_losses_follow_each_other_and_a_deferred_one_another() -> None:
    loss = Deferred(
        COUNTS, partial(Deferred, first=Softmax, then=VectorScaling, start=0.2), BalancedSoftmax, start=0.5
    )
    for progress, same in ((0.1, Softmax), (0.3, VectorScaling), (0.6, BalancedSoftmax)):
        loss.at(progress)
        assert torch.equal(loss(LOGITS, TARGETS), same(COUNTS)(LOGITS, TARGETS))


def test_features_reach_the_loss_that_takes_them_alone() -> None:
    loss, features = Deferred(COUNTS, Softmax, InfluenceBalanced, start=0.5), torch.ones(2, 4)
    assert loss.takes_features
    assert torch.equal(loss(LOGITS, TARGETS, features), Softmax(COUNTS)(LOGITS, TARGETS))
    loss.at(0.5)
    assert torch.equal(loss(LOGITS, TARGETS, features), InfluenceBalanced(COUNTS)(LOGITS, TARGETS, features))
    assert torch.equal(loss(LOGITS, TARGETS), Softmax(COUNTS)(LOGITS, TARGETS))


def test_what_it_asks_for_follows_from_both() -> None:
    plain = Deferred(COUNTS, Softmax, Softmax)
    assert not any((plain.takes_features, plain.takes_cosines, plain.balances_classes))
    assert plain.initial_bias is None
    assert Deferred(COUNTS, LDAM, partial(LDAM, max_m=0.2)).takes_cosines
    assert Deferred(COUNTS, Softmax, BalancedSoftmax).balances_classes
    sigmoids = Deferred(COUNTS, Sigmoid, SigmoidEqualization)
    assert sigmoids.initial_bias == Sigmoid(COUNTS).initial_bias


def test_probabilities_are_those_of_the_present_loss() -> None:
    class Halved(Softmax):
        def log_probabilities(self, logits: Tensor) -> Tensor:
            return F.log_softmax(logits / 2, 1)

    loss = Deferred(COUNTS, Softmax, Halved, start=0.5)
    assert torch.equal(loss.log_probabilities(LOGITS), F.log_softmax(LOGITS, 1))
    loss.at(0.7)
    assert torch.equal(loss.log_probabilities(LOGITS), F.log_softmax(LOGITS / 2, 1))


@pytest.mark.parametrize(
    ("first", "then", "line"),
    [
        (Softmax, LDAM, "then=LDAM: must not take cosines, for first=Softmax does not"),
        (LDAM, Softmax, "then=Softmax: must take cosines, for first=LDAM does"),
        (Softmax, Focal, "then=Focal: must not start the head's bias at a prior, for first=Softmax does not"),
        (Sigmoid, Softmax, "then=Softmax: must start the head's bias at a prior, for first=Sigmoid does"),
        (partial(Focal, gamma=-1), Focal, "first.gamma=-1: must be a finite number >= 0"),
        (Softmax, partial(VectorScaling, tau=-1), "then.tau=-1: must be a finite number >= 0"),
    ],
)
def test_losses_for_different_heads_and_bad_settings_are_refused(first: MakeLoss, then: MakeLoss, line: str) -> None:
    with pytest.raises(ValueError, match=f"^{line}$"):
        Deferred(COUNTS, first, then)


@pytest.mark.parametrize("start", [-0.1, 1, float("nan"), "0.5", True, None])
def test_a_bad_start_is_refused(start: float) -> None:
    with pytest.raises(ValueError, match=r"^start=.*: must be a fraction of the run"):
        Deferred(COUNTS, Softmax, Softmax, start)
