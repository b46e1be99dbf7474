"""RIDE against its two terms."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.losses import LDAM, Softmax
from longtail.methods import Criterion
from longtail.methods.ride import Ride
from longtail.models import SmallCNN

COUNTS = torch.tensor([100, 10, 1])
TARGETS = torch.tensor([2, 0])
COSINES = torch.tensor([[[0.6, 0.3, -0.1], [0.2, 0.1, 0.4]], [[0.1, 0.3, 0.2], [0.5, -0.1, 0.4]]])


def make(loss: nn.Module | None = None, logits: Tensor = COSINES, **settings: Any) -> Ride:
    criterion = Criterion(loss or LDAM(COUNTS), torch.ones(3))
    settings = {"experts": len(logits), "late": False} | settings
    method = Ride(SmallCNN(1, 3, width=4, head="cosine"), criterion, COUNTS, **settings)
    method.model.forward = lambda images: logits
    return method


def test_without_diversity_each_expert_has_its_own_loss() -> None:
    # LDAM of the first expert's cosines, computed independently in float64.
    one = make(logits=COSINES[:1], diversity=0)
    assert float(one.loss((COSINES, TARGETS))) == pytest.approx((36.000123 + 10.743561) / 2, abs=1e-4)
    both = sum(float(make(logits=z[None], diversity=0).loss((z, TARGETS))) for z in COSINES)
    assert float(make(diversity=0).loss((COSINES, TARGETS))) == pytest.approx(both)


@pytest.mark.parametrize("progress", [0.79, 0.8])
@pytest.mark.parametrize(("loss", "scale"), [(LDAM(COUNTS), 30), (Softmax(COUNTS), 1)])
def test_what_experts_differ_by_is_rewarded(loss: nn.Module, scale: float, progress: float) -> None:
    method, plain = make(loss), make(loss, diversity=0)
    method.at(progress)
    prior = COUNTS / COUNTS.sum()
    t = 0.05 * 3 * prior + 0.95
    t = t / t.max() if progress == 0.8 else torch.ones(3)
    z = scale * COSINES.double()
    difference = sum(
        F.kl_div(F.log_softmax(each / t, 1), F.softmax(z.mean(0) / t, 1), reduction="batchmean") for each in z
    )
    expected = plain.loss((COSINES, TARGETS)) - 0.45 * t.mean() ** 2 * difference
    torch.testing.assert_close(method.loss((COSINES, TARGETS)).double(), expected.double(), rtol=1e-5, atol=1e-5)


def test_identical_experts_differ_by_nothing_and_predict_as_one() -> None:
    method = make(logits=COSINES[:1].expand(3, -1, -1))
    assert float(method.difference(COSINES[:1].expand(3, -1, -1))) == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(method.predict(COSINES), COSINES[0])


def test_no_gradient_flows_to_the_mean() -> None:
    logits = COSINES.clone().requires_grad_()
    make().difference(logits).backward()
    z = (30 * COSINES.double()).requires_grad_()
    fixed = z.detach().mean(0)
    sum(F.kl_div(F.log_softmax(each, 1), F.softmax(fixed, 1), reduction="batchmean") for each in z).backward()  # type: ignore[union-attr]
    assert logits.grad is not None
    assert z.grad is not None
    torch.testing.assert_close(logits.grad, 30 * z.grad.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("experts", 0), ("experts", 101), ("experts", 1.5), ("diversity", float("nan")), ("start", 2), ("start", "x")],
)
def test_a_bad_setting_is_refused(setting: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{setting}={value}: must be a "):
        make(None, COSINES, **{setting: value})
