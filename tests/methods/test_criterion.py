"""Loss x weights x reduction, weights that follow the run, and mixed targets."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.losses import (
    LDAM,
    BalancedSoftmax,
    Deferred,
    Focal,
    InfluenceBalanced,
    LabelAwareSmoothing,
    LogitAdjustment,
    Sigmoid,
    SigmoidEqualization,
    Softmax,
    VectorScaling,
)
from longtail.methods import Criterion
from longtail.reweight import class_balanced, deferred

COUNTS = torch.tensor([200, 60, 20, 5])
WEIGHTS = torch.tensor([0.2, 0.5, 1.1, 2.2])
TARGETS = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3])
OTHERS = TARGETS.flip(0)
LOSSES = [Softmax, Sigmoid, Focal, BalancedSoftmax, LogitAdjustment, LDAM, VectorScaling]
LOSSES += [LabelAwareSmoothing, SigmoidEqualization]


@pytest.fixture
def logits() -> Tensor:
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(0))


def test_reductions_are_the_papers_and_pytorchs(logits: Tensor) -> None:
    total = F.cross_entropy(logits, TARGETS, WEIGHTS, reduction="sum")
    torch.testing.assert_close(Criterion(Softmax(COUNTS), WEIGHTS)(logits, TARGETS), total / 8)
    torch.testing.assert_close(
        Criterion(Softmax(COUNTS), WEIGHTS, "weighted_mean")(logits, TARGETS),
        F.cross_entropy(logits, TARGETS, WEIGHTS),
    )


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("reduction", ["batch_mean", "weighted_mean"])
def test_every_loss_takes_mixed_targets(loss: type[nn.Module], reduction: str, logits: Tensor) -> None:
    unreduced, criterion = loss(COUNTS), Criterion(loss(COUNTS), WEIGHTS, reduction)
    shares = [0.3 * WEIGHTS[TARGETS], 0.7 * WEIGHTS[OTHERS]]
    total = (shares[0] * unreduced(logits, TARGETS) + shares[1] * unreduced(logits, OTHERS)).sum()
    mass = sum(share.sum() for share in shares) if reduction == "weighted_mean" else 8
    torch.testing.assert_close(criterion(logits, [(TARGETS, 0.3), (OTHERS, 0.7)]), total / mass)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("reduction", ["batch_mean", "weighted_mean"])
def test_a_share_of_one_or_equal_targets_is_no_mixing(loss: type[nn.Module], reduction: str, logits: Tensor) -> None:
    criterion = Criterion(loss(COUNTS), WEIGHTS, reduction)
    plain = criterion(logits, TARGETS)
    torch.testing.assert_close(criterion(logits, [(TARGETS, 1.0), (OTHERS, 0.0)]), plain)
    torch.testing.assert_close(criterion(logits, [(TARGETS, torch.full((8,), 0.4)), (TARGETS, 0.6)]), plain)


@pytest.mark.parametrize("reduction", ["batch_mean", "weighted_mean"])
def test_features_reach_a_loss_that_takes_them_under_mixing_too(reduction: str, logits: Tensor) -> None:
    features = torch.rand(8, 5, generator=torch.Generator().manual_seed(1)).bfloat16()
    loss = InfluenceBalanced(COUNTS)
    criterion = Criterion(loss, WEIGHTS, reduction)
    of = {targets: loss(logits, targets, features.float()) for targets in (TARGETS, OTHERS)}
    shares = {TARGETS: 0.3 * WEIGHTS[TARGETS], OTHERS: 0.7 * WEIGHTS[OTHERS]}
    mass = sum(share.sum() for share in shares.values()) if reduction == "weighted_mean" else 8
    expected = sum((shares[targets] * of[targets]).sum() for targets in of) / mass
    torch.testing.assert_close(criterion(logits, [(TARGETS, 0.3), (OTHERS, 0.7)], features), expected)
    plain = Criterion(Softmax(COUNTS), WEIGHTS, reduction)
    assert torch.equal(plain(logits, TARGETS, features), plain(logits, TARGETS))


def test_a_loss_that_takes_features_is_plain_in_an_evaluation_alone(logits: Tensor) -> None:
    criterion = Criterion(InfluenceBalanced(COUNTS), WEIGHTS)
    assert torch.equal(criterion.losses(logits, TARGETS), Softmax(COUNTS)(logits, TARGETS))
    with pytest.raises(ValueError, match="must be given the features that InfluenceBalanced takes"):
        criterion(logits, TARGETS)


def test_a_deferred_loss_follows_the_run(logits: Tensor) -> None:
    criterion = Criterion(Deferred(COUNTS, Softmax, VectorScaling, start=0.8), torch.ones(4))
    for epoch, same in ((0, Softmax), (159, Softmax), (160, VectorScaling), (199, VectorScaling), (0, Softmax)):
        criterion.at(epoch / 200)
        torch.testing.assert_close(criterion(logits, TARGETS), same(COUNTS)(logits, TARGETS).mean())


def test_deferred_weights_follow_the_run(logits: Tensor) -> None:
    criterion = Criterion(Softmax(COUNTS), deferred(COUNTS, class_balanced, start=0.8))
    plain, weighted = (Criterion(Softmax(COUNTS), w) for w in (torch.ones(4), class_balanced(COUNTS)))
    for epoch, same in ((0, plain), (159, plain), (160, weighted), (199, weighted), (0, plain)):
        criterion.at(epoch / 200)
        torch.testing.assert_close(criterion(logits, TARGETS), same(logits, TARGETS))
    assert torch.equal(criterion.weights_at(0.99), class_balanced(COUNTS))


def test_a_batch_of_classes_without_weight_has_no_loss(logits: Tensor) -> None:
    criterion = Criterion(Softmax(COUNTS), torch.tensor([0.0, 0, 0, 1]), "weighted_mean")
    assert float(criterion(logits[:3], TARGETS[:3])) == 0


def test_evaluation_sees_the_loss_without_weights(logits: Tensor) -> None:
    losses = Criterion(Softmax(COUNTS), WEIGHTS).losses(logits.bfloat16(), TARGETS)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, F.cross_entropy(logits.bfloat16().float(), TARGETS, reduction="none"))


@pytest.mark.parametrize("weights", [torch.tensor([1.0, -1]), torch.tensor([1.0, torch.nan]), torch.ones(2, 2)])
def test_bad_weights_are_refused_now_and_later_in_the_run(weights: Tensor) -> None:
    with pytest.raises(ValueError, match="must be weights"):
        Criterion(Softmax(COUNTS), weights)
    with pytest.raises(ValueError, match="must be weights"):
        Criterion(Softmax(COUNTS), lambda progress: torch.ones(2) if progress < 0.5 else weights)


def test_weights_keep_their_number() -> None:
    with pytest.raises(ValueError, match="throughout"):
        Criterion(Softmax(COUNTS), lambda progress: torch.ones(2 if progress < 0.5 else 3))


def test_an_unknown_reduction_is_refused() -> None:
    with pytest.raises(ValueError, match=r"reduction=sum: must be batch_mean or weighted_mean"):
        Criterion(Softmax(COUNTS), WEIGHTS, "sum")
