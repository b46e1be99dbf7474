"""Label-aware smoothing and the influence-balanced loss against their formulas."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from longtail.losses import InfluenceBalanced, LabelAwareSmoothing
from longtail.methods import Criterion
from longtail.reweight import inverse_frequency

COUNTS = [100, 10, 1]
LOGITS = torch.tensor([[2, 1, -0.5], [0.2, 0.1, 0.4]], dtype=torch.float64)
TARGETS = torch.tensor([2, 0])
FEATURES = torch.tensor([[1.0, -3.0], [0.5, 1.5]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("concave", [0.4, 0.142694, 0.1]),
        ("linear", [0.4, 0.127273, 0.1]),
        ("convex", [0.4, 0.103054, 0.1]),
    ],
)
def test_smoothing_runs_from_the_head_to_the_tail(shape: str, expected: list[float]) -> None:
    smoothing = LabelAwareSmoothing(COUNTS, 0.4, 0.1, shape).smoothing  # type: ignore[arg-type]
    np.testing.assert_allclose(smoothing.numpy(), expected, atol=1e-6)
    assert LabelAwareSmoothing([7, 7], 0.4, 0.1, shape).smoothing.tolist() == pytest.approx([0.4, 0.4])  # type: ignore[arg-type]


def test_the_same_smoothing_of_all_classes_is_pytorchs() -> None:
    losses = LabelAwareSmoothing(COUNTS, 0.3, 0.3)(LOGITS, TARGETS)
    torch.testing.assert_close(losses, F.cross_entropy(LOGITS, TARGETS, reduction="none", label_smoothing=0.3))


def test_an_unknown_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^shape=bent: must be concave, linear or convex"):
        LabelAwareSmoothing(COUNTS, shape="bent")  # type: ignore[arg-type]


def influence_balanced(logits: Tensor, features: Tensor) -> Tensor:
    """The published formula, literally."""
    p = logits.softmax(1)
    influence = (p - F.one_hot(TARGETS, 3)).abs().sum(1) * features.abs().sum(1)
    return -p[torch.arange(2), TARGETS].log() * 1000 / (influence + 0.001)


def test_influence_divides_the_loss() -> None:
    losses = InfluenceBalanced(COUNTS)(LOGITS, TARGETS, FEATURES)
    torch.testing.assert_close(losses, influence_balanced(LOGITS, FEATURES), rtol=1e-12, atol=0)
    torch.testing.assert_close(
        losses / F.cross_entropy(LOGITS, TARGETS, reduction="none"),
        torch.tensor([132.483564, 367.443374], dtype=torch.float64),
        rtol=1e-8,
        atol=0,
    )
    criterion = Criterion(InfluenceBalanced(COUNTS), inverse_frequency(COUNTS))
    weighted = (1028.193848 + 11.319551) / 2
    assert float(criterion(LOGITS, TARGETS, FEATURES)) == pytest.approx(weighted, rel=1e-6)


def test_the_gradient_passes_through_the_influence() -> None:
    logits, features = LOGITS.clone().requires_grad_(), FEATURES.clone().requires_grad_()
    loss = InfluenceBalanced(COUNTS)
    assert torch.autograd.gradcheck(lambda z, h: loss(z, TARGETS, h), (logits, features))
    found = torch.autograd.grad(loss(logits, TARGETS, features).sum(), (logits, features))
    expected = torch.autograd.grad(influence_balanced(logits, features).sum(), (logits, features))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    assert bool((found[1] != 0).all())


@pytest.mark.parametrize("size", [0.0, 1e4])
def test_extreme_logits_and_features_have_a_finite_gradient(size: float) -> None:
    logits = torch.tensor([[100.0, -100.0, 0.0], [-100.0, 100.0, 100.0]], requires_grad=True)
    features = torch.full((2, 64), size, requires_grad=True)
    losses = InfluenceBalanced(COUNTS)(logits, torch.tensor([0, 0]), features)
    losses.sum().backward()
    assert float(losses.detach()[0]) == 0
    for given in (logits, features):
        assert given.grad is not None
        assert bool(given.grad.isfinite().all())


def test_without_features_it_is_cross_entropy() -> None:
    losses = InfluenceBalanced(COUNTS)(LOGITS, TARGETS)
    torch.testing.assert_close(losses, F.cross_entropy(LOGITS, TARGETS, reduction="none"))
