"""The terms of each anchor and class: against torchvision's focal loss, and which anchors are mined."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss

from longtail.detection.losses import Focal, HardNegativeMining

COUNTS = [30, 7, 2]
ALL = torch.ones(2, 40, dtype=torch.bool)


@pytest.fixture
def logits() -> Tensor:
    return (3 * torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(0))).double().requires_grad_()


@pytest.fixture
def positive() -> Tensor:
    return torch.rand(2, 40, 3, generator=torch.Generator().manual_seed(1)) < 0.1


def gradient(loss: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(loss.sum(), logits)[0]


@pytest.mark.parametrize("gamma", [0, 0.5, 2, 5])
@pytest.mark.parametrize("alpha", [None, 0.25, 0.75])
def test_focal_and_its_gradient_are_torchvisions(
    gamma: float, alpha: float | None, logits: Tensor, positive: Tensor
) -> None:
    ours = Focal(COUNTS, gamma, alpha)(logits, positive, ALL)
    theirs = sigmoid_focal_loss(logits, positive.double(), alpha=-1 if alpha is None else alpha, gamma=gamma)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient(ours, logits), gradient(theirs, logits))


@pytest.mark.parametrize(("p", "factor"), [(0.9, 100), (0.968, 1 / 0.032**2)])
def test_focusing_damps_an_easy_negative_as_published(p: float, factor: float) -> None:
    logits, valid = -torch.tensor(p, dtype=torch.float64).logit().reshape(1, 1, 1), ALL[:1, :1]
    plain, damped = (Focal([1], gamma)(logits, torch.zeros(1, 1, 1, dtype=torch.bool), valid) for gamma in (0, 2))
    assert float(plain / damped) == pytest.approx(factor)


@pytest.mark.parametrize("loss", [Focal(COUNTS, 2), Focal(COUNTS, 0.5, 0.25), HardNegativeMining(COUNTS)])
def test_extreme_logits_have_a_finite_loss_and_gradient(loss: nn.Module, positive: Tensor) -> None:
    logits = torch.where(torch.rand(2, 40, 3) < 0.5, -1e4, 1e4).requires_grad_()
    terms = loss(logits, positive, ALL)
    assert bool(terms.isfinite().all() and gradient(terms, logits).isfinite().all())


@pytest.mark.parametrize("loss", [Focal(COUNTS), HardNegativeMining(COUNTS)])
def test_an_anchor_that_is_not_valid_counts_nowhere(loss: nn.Module, logits: Tensor, positive: Tensor) -> None:
    valid = torch.arange(40).expand(2, -1) % 3 > 0
    terms = loss(logits, positive, valid)
    assert not terms[~valid].any()
    harder = torch.where(valid[..., None], logits, 50.0)
    assert torch.equal(loss(harder, positive, valid), terms)


def test_mining_keeps_the_hardest_negatives_three_for_each_positive(logits: Tensor) -> None:
    positive = torch.zeros(2, 40, 3, dtype=torch.bool)
    positive[0, :5, 1] = True  # the other image has none
    terms = HardNegativeMining(COUNTS)(logits, positive, ALL)
    everything = Focal(COUNTS, gamma=0)(logits, positive, ALL)
    kept = terms.sum(-1) > 0
    assert kept.sum(1).tolist() == [5 + 15, HardNegativeMining.LEAST]
    assert torch.equal(terms[kept], everything[kept])
    assert bool(kept[0, :5].all())
    hardness = everything.sum(-1)
    assert bool(hardness[0, 5:][kept[0, 5:]].min() >= hardness[0, 5:][~kept[0, 5:]].max())


@pytest.mark.parametrize(
    ("loss", "settings", "message"),
    [
        (Focal, {"gamma": -1}, "gamma=-1: must be a finite number >= 0"),
        (Focal, {"alpha": 1.5}, r"alpha=1\.5: must be a number in \[0, 1\]"),
        (Focal, {"alpha": True}, "alpha=true: must be a number in"),
        (Focal, {"gamma": None}, "gamma=null: must be a finite number >= 0"),
        (HardNegativeMining, {"ratio": True}, "ratio=true: must be a finite number > 0"),
        (HardNegativeMining, {"ratio": 0}, "ratio=0: must be a finite number > 0"),
    ],
)
def test_a_setting_outside_its_range_is_refused(loss: Any, settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        loss(COUNTS, **settings)
