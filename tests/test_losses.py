import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from longtail.losses import Focal, Sigmoid, Softmax

GAMMAS = [0, 0.5, 1, 2, 5]
LOSSES: dict[str, Callable[[Any], nn.Module]] = {
    "softmax": Softmax,
    "sigmoid": Sigmoid,
    **{f"focal_{gamma}": partial(Focal, gamma=gamma) for gamma in GAMMAS},
}


def naive(name: str, logits: Tensor, targets: Tensor) -> list[float]:
    """The published formulas, literally, in digits enough that nothing cancels or overflows."""
    with localcontext() as context:
        context.prec = 120
        losses = []
        for row, y in zip(logits.double().tolist(), targets.tolist(), strict=True):
            z = [Decimal(v) for v in row]
            if name == "softmax":
                losses.append(float(-(z[y].exp() / sum(v.exp() for v in z)).ln()))
                continue
            gamma = Decimal(0) if name == "sigmoid" else Decimal(name.removeprefix("focal_"))
            p = [1 / (1 + (-v).exp()) for v in z]
            p_t = [v if j == y else 1 - v for j, v in enumerate(p)]
            losses.append(float(-sum((1 - v) ** gamma * v.ln() for v in p_t)))
        return losses


def random_batch(num_classes: int, scale: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(num_classes)
    logits = scale * torch.randn(9, num_classes, generator=generator, dtype=dtype)
    return logits, torch.randint(num_classes, (9,), generator=generator)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("num_classes", [2, 7])
@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"),
    [(torch.float64, 1e-11, 1e-30), (torch.float32, 2e-6, 1e-6)],
    ids=["float64", "float32"],
)
def test_loss_equals_the_naive_formula(
    name: str, num_classes: int, dtype: torch.dtype, rtol: float, atol: float
) -> None:
    logits, targets = random_batch(num_classes, 4.0, dtype)
    loss = LOSSES[name]([1] * num_classes)(logits, targets)
    assert loss.shape == (9,)
    assert loss.dtype == dtype
    np.testing.assert_allclose(loss.numpy(), naive(name, logits, targets), rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", LOSSES)
def test_extreme_logits_have_the_exact_loss_and_a_finite_gradient(name: str) -> None:
    logits = torch.tensor([[a, b, c] for a in (-100.0, 100.0) for b in (-100.0, 100.0) for c in (-100.0, 100.0)])
    logits.requires_grad_()
    targets = torch.zeros(8, dtype=torch.int64)
    loss = LOSSES[name]([1, 1, 1])(logits, targets)
    np.testing.assert_allclose(loss.detach(), naive(name, logits, targets), rtol=1e-6, atol=1e-30)
    loss.sum().backward()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_is_the_derivative_of_the_loss(name: str) -> None:
    logits, targets = random_batch(4, 3.0, torch.float64)
    loss = LOSSES[name]([1] * 4)
    assert torch.autograd.gradcheck(lambda z: loss(z, targets[:3]), logits[:3].requires_grad_())


def test_softmax_is_the_negative_log_softmax_of_the_true_class() -> None:
    logits, targets = random_batch(7, 4.0, torch.float64)
    z = logits.numpy()
    log_softmax = z - np.log(np.exp(z).sum(1, keepdims=True))
    expected = -log_softmax[np.arange(9), targets.numpy()]
    np.testing.assert_allclose(Softmax([1] * 7)(logits, targets).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_focal_without_focusing_is_sigmoid_exactly(scale: float, dtype: torch.dtype) -> None:
    logits, targets = random_batch(10, scale, dtype)
    assert torch.equal(Focal([1] * 10, gamma=0)(logits, targets), Sigmoid([1] * 10)(logits, targets))


def test_focal_at_gamma_two_damps_an_easy_sample_as_published() -> None:
    logits, targets = (
        torch.tensor([0.9, 0.968], dtype=torch.float64).logit()[:, None],
        torch.zeros(2, dtype=torch.int64),
    )
    damping = Sigmoid([1])(logits, targets) / Focal([1], gamma=2)(logits, targets)
    assert damping.tolist() == pytest.approx([100, 1 / 0.032**2])


@pytest.mark.parametrize("name", LOSSES)
def test_counts_do_not_change_the_loss(name: str) -> None:
    logits, targets = random_batch(3, 2.0, torch.float32)
    by_counts = [LOSSES[name](counts)(logits, targets) for counts in ([1, 1, 1], torch.tensor([900, 30, 1]))]
    assert torch.equal(*by_counts)


@pytest.mark.parametrize("num_classes", [2, 10, 8142])
@pytest.mark.parametrize("loss", [Sigmoid, Focal])
def test_sigmoid_losses_start_at_the_prior(loss: type[Sigmoid | Focal], num_classes: int) -> None:
    bias = loss([1] * num_classes).initial_bias
    assert bias == pytest.approx(-math.log(num_classes - 1), abs=1e-15)
    assert bias is not None
    assert 1 / (1 + math.exp(-bias)) == pytest.approx(1 / num_classes)


def test_softmax_starts_at_no_prior() -> None:
    assert Softmax([1] * 10).initial_bias is None


def test_two_classes_by_hand() -> None:
    logits, targets = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64), torch.tensor([1])
    assert float(Softmax([1, 1])(logits, targets)) == pytest.approx(math.log(4 / 3))
    assert float(Sigmoid([1, 1])(logits, targets)) == pytest.approx(math.log(2) + math.log(4 / 3))
    assert float(Focal([1, 1], 1.0)(logits, targets)) == pytest.approx(math.log(2) / 2 + math.log(4 / 3) / 4)


@pytest.mark.parametrize("gamma", [-0.1, float("nan"), float("inf"), "1", None])
def test_gamma_outside_its_range_is_refused(gamma: Any) -> None:
    with pytest.raises(ValueError, match=f"gamma={gamma}"):
        Focal([1, 1], gamma=gamma)
