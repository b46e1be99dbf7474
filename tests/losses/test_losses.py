import math
from collections.abc import Callable, Iterator
from decimal import Decimal, localcontext
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss

from longtail.errors import text_of
from longtail.losses import (
    LDAM,
    BalancedSoftmax,
    Focal,
    InfluenceBalanced,
    LabelAwareSmoothing,
    LogitAdjustment,
    Sigmoid,
    SigmoidEqualization,
    Softmax,
    SoftmaxEqualization,
    VectorScaling,
)

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


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("num_classes", [2, 10])
def test_focal_equals_that_of_torchvision(gamma: float, num_classes: int) -> None:
    logits, targets = random_batch(num_classes, 3.0, torch.float64)
    one_hot = F.one_hot(targets, num_classes).double()
    expected = sigmoid_focal_loss(logits, one_hot, alpha=-1, gamma=gamma).sum(1)
    torch.testing.assert_close(Focal([1] * num_classes, gamma)(logits, targets), expected, rtol=1e-10, atol=1e-12)
    if gamma == 0:
        torch.testing.assert_close(Sigmoid([1] * num_classes)(logits, targets), expected, rtol=1e-10, atol=1e-12)


@pytest.fixture
def in_float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


COUNTS = [100, 10, 1]
LOGITS, COSINES = [[2, 1, -0.5], [0.2, 0.1, 0.4]], [[0.6, 0.3, -0.1], [0.2, 0.1, 0.4]]
PUBLISHED: list[tuple[Callable[[Any], nn.Module], list[list[float]], list[float]]] = [
    (Softmax, LOGITS, [2.871539, 1.139831]),
    (BalancedSoftmax, LOGITS, [7.142089, 0.097760]),
    (LogitAdjustment, LOGITS, [7.142089, 0.097760]),
    (partial(LogitAdjustment, tau=0.5), LOGITS, [4.919961, 0.342366]),
    (partial(LogitAdjustment, tau=2), LOGITS, [11.714021, 0.009129]),
    (VectorScaling, LOGITS, [6.754025, 0.090876]),
    (partial(VectorScaling, gamma=0.2, tau=1.2), LOGITS, [7.741613, 0.057179]),
    (partial(VectorScaling, gamma=0.2, tau=0), LOGITS, [2.510397, 1.041024]),
    (LabelAwareSmoothing, LOGITS, [2.738206, 1.126498]),
    (partial(SoftmaxEqualization, threshold=0.1, gamma=1), LOGITS, [2.578890, 0]),
    (partial(SigmoidEqualization, threshold=0.1), LOGITS, [3.101005, 0.598139]),
    (LDAM, COSINES, [36.000123, 10.743561]),
    (partial(LDAM, max_m=0), COSINES, [21.000123, 6.002599]),
]
BALANCING: dict[str, Callable[[Any], nn.Module]] = {
    "balanced_softmax": BalancedSoftmax,
    "tau_half": partial(LogitAdjustment, tau=0.5),
    "tau_two": partial(LogitAdjustment, tau=2.0),
    "ldam": LDAM,
    "vs": VectorScaling,
}
ADJUSTED: dict[str, Callable[[Any], nn.Module]] = {
    **BALANCING,
    "cdt": partial(VectorScaling, gamma=0.2, tau=0.0),
    "smoothing": LabelAwareSmoothing,
    "equalization": SoftmaxEqualization,
    "sigmoid_equalization": SigmoidEqualization,
}
SHIFTING = {"vs", "cdt", "sigmoid_equalization"}  # the losses that see where the logits lie
EXTREME = torch.tensor([10_000_000, 5000, 30, 1])


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(("loss", "logits", "expected"), PUBLISHED)
def test_losses_that_know_the_counts_have_the_known_values(
    loss: Callable[[Any], nn.Module], logits: list[list[float]], expected: list[float]
) -> None:
    losses = loss(COUNTS)(torch.tensor(logits), torch.tensor([2, 0]))
    np.testing.assert_allclose(losses.numpy(), expected, rtol=0, atol=6e-7)


@pytest.mark.parametrize("counts", [COUNTS, [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]])
def test_ldam_margins_are_the_published_ones(counts: list[int]) -> None:
    expected = {
        3: [0.158114, 0.281171, 0.5],
        10: [0.158114, 0.179697, 0.204238, 0.232091, 0.263829, 0.299768, 0.340675, 0.387221, 0.440497, 0.5],
    }
    np.testing.assert_allclose(LDAM(counts).margins.numpy(), expected[len(counts)], atol=1e-6)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("tau", [0.3, 1.0, 1.7])
def test_logit_adjustment_multiplies_each_exponential_by_a_power_of_its_prior(tau: float) -> None:
    logits, targets = random_batch(4, 4.0, torch.float64)
    prior = EXTREME.numpy() / float(EXTREME.sum())
    terms = np.exp(logits.numpy()) * prior**tau
    expected = -np.log(terms[np.arange(9), targets] / terms.sum(1))
    np.testing.assert_allclose(
        LogitAdjustment(EXTREME, tau)(logits, targets).numpy(), expected, rtol=1e-11, atol=1e-14
    )


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(("gamma", "tau"), [(0.0, 0.7), (0.2, 0.0), (0.3, 1.0)])
def test_vector_scaling_has_a_factor_and_a_margin_for_each_class(gamma: float, tau: float) -> None:
    logits, targets = random_batch(4, 4.0, torch.float64)
    n = EXTREME.double().numpy()
    z = (n / n.max()) ** gamma * logits.numpy() + tau * np.log(n / n.sum())
    expected = np.log(np.exp(z).sum(1)) - z[np.arange(9), targets]
    loss = VectorScaling(EXTREME, gamma, tau)
    np.testing.assert_allclose(loss(logits, targets).numpy(), expected, rtol=1e-11, atol=1e-14)
    if gamma == 0:
        torch.testing.assert_close(loss(logits, targets), LogitAdjustment(EXTREME, tau)(logits, targets))


@pytest.mark.usefixtures("in_float64")
def test_ldam_lowers_the_true_cosine_alone() -> None:
    cosines, targets = random_batch(4, 0.3, torch.float64)
    counts = EXTREME.double().numpy()
    margins = 0.4 * counts**-0.25 / (counts**-0.25).max()
    expected = []
    for row, y in zip(cosines.numpy(), targets.tolist(), strict=True):
        z = 20 * row
        z[y] -= 20 * margins[y]
        expected.append(np.log(np.exp(z).sum()) - z[y])
    np.testing.assert_allclose(
        LDAM(EXTREME, max_m=0.4, s=20)(cosines, targets).numpy(), expected, rtol=1e-11, atol=1e-14
    )


@pytest.mark.usefixtures("in_float64")
def test_each_reduces_to_cross_entropy() -> None:
    logits, targets = random_batch(4, 0.4, torch.float64)
    plain = F.cross_entropy(logits, targets, reduction="none")
    for loss in (
        LogitAdjustment(EXTREME, tau=0),
        LogitAdjustment([7] * 4, tau=1.5),
        BalancedSoftmax([7] * 4),
        VectorScaling(EXTREME, gamma=0, tau=0),
        VectorScaling([7] * 4),
        LabelAwareSmoothing(EXTREME, smooth_head=0, smooth_tail=0),
        SoftmaxEqualization(EXTREME, threshold=1, gamma=0),
        SoftmaxEqualization(EXTREME, threshold=0, gamma=1),
        SoftmaxEqualization(EXTREME, threshold=1, gamma=1).eval(),
    ):
        torch.testing.assert_close(loss(logits, targets), plain)
    torch.testing.assert_close(
        SigmoidEqualization(EXTREME, threshold=0)(logits, targets), Sigmoid(EXTREME)(logits, targets)
    )
    scaled = F.cross_entropy(12 * logits, targets, reduction="none")
    torch.testing.assert_close(LDAM(EXTREME, max_m=0, s=12)(logits, targets), scaled)
    assert LDAM([7] * 4).margins.tolist() == [0.5] * 4


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("name", sorted(ADJUSTED.keys() - SHIFTING))
def test_adding_a_constant_to_all_logits_changes_nothing(name: str) -> None:
    logits, targets = random_batch(4, 1.0, torch.float64)
    loss = ADJUSTED[name](EXTREME).eval()
    torch.testing.assert_close(loss(logits + 5, targets), loss(logits, targets))


@pytest.mark.parametrize("name", ADJUSTED)
def test_extreme_logits_and_counts_have_a_finite_loss_and_gradient(name: str) -> None:
    corners = [[a, b, c, 0.0] for a in (-100.0, 100.0) for b in (-100.0, 100.0) for c in (-100.0, 100.0)]
    for y in range(4):
        logits = torch.tensor(corners, requires_grad=True)
        loss = ADJUSTED[name](EXTREME)(logits, torch.full((8,), y))
        loss.sum().backward()
        assert logits.grad is not None
        assert bool((loss.isfinite() & (loss >= 0)).all() and logits.grad.isfinite().all())


@pytest.mark.parametrize("name", BALANCING)
def test_a_rarer_class_costs_more_at_the_same_logits(name: str) -> None:
    losses = BALANCING[name](EXTREME)(torch.zeros(4, 4), torch.arange(4))
    assert bool((losses.diff() > 0).all())


@pytest.mark.parametrize("name", [*LOSSES, *ADJUSTED])
def test_a_loss_adds_nothing_to_a_checkpoint(name: str) -> None:
    assert not (LOSSES | ADJUSTED)[name](COUNTS).state_dict()


@pytest.mark.parametrize("name", [*LOSSES, *ADJUSTED])
def test_a_loss_waits_for_nothing_on_its_device(name: str) -> None:
    # Tensors without values cannot be read back.
    loss = (LOSSES | ADJUSTED)[name]([100, 10, 1, 1]).to("meta")
    losses = loss(torch.zeros(9, 4, device="meta"), torch.zeros(9, dtype=torch.int64, device="meta"))
    assert losses.shape == (9,)


@pytest.mark.parametrize("num_classes", [2, 10, 8142])
@pytest.mark.parametrize("loss", [Sigmoid, Focal])
def test_sigmoid_losses_start_at_the_prior(loss: type[Sigmoid | Focal], num_classes: int) -> None:
    bias = loss([1] * num_classes).initial_bias
    assert bias == pytest.approx(-math.log(num_classes - 1), abs=1e-15)
    assert bias is not None
    assert 1 / (1 + math.exp(-bias)) == pytest.approx(1 / num_classes)


def test_softmax_starts_at_no_prior() -> None:
    assert Softmax([1] * 10).initial_bias is None


def test_ldam_alone_takes_cosines() -> None:
    losses = (Softmax, *BALANCING.values(), LabelAwareSmoothing, SoftmaxEqualization, Sigmoid, Focal)
    assert [loss for loss in losses if getattr(loss(COUNTS), "takes_cosines", False)] == [LDAM]


def test_two_classes_by_hand() -> None:
    logits, targets = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64), torch.tensor([1])
    assert float(Softmax([1, 1])(logits, targets)) == pytest.approx(math.log(4 / 3))
    assert float(Sigmoid([1, 1])(logits, targets)) == pytest.approx(math.log(2) + math.log(4 / 3))
    assert float(Focal([1, 1], 1.0)(logits, targets)) == pytest.approx(math.log(2) / 2 + math.log(4 / 3) / 4)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "1", None])
@pytest.mark.parametrize(
    ("loss", "name"),
    [
        *((Focal, "gamma"), (LogitAdjustment, "tau"), (LDAM, "max_m"), (LDAM, "s")),
        *((VectorScaling, "gamma"), (VectorScaling, "tau")),
        *((InfluenceBalanced, "alpha"), (InfluenceBalanced, "epsilon")),
    ],
)
def test_a_setting_outside_its_range_is_refused(loss: Callable[..., nn.Module], name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name}={text_of(value)}: must be a finite number >"):
        loss([1, 1], **{name: value})


@pytest.mark.parametrize("loss", [Sigmoid, Focal, SigmoidEqualization])
def test_sigmoids_are_normalised_over_the_classes(loss: type[Sigmoid | Focal | SigmoidEqualization]) -> None:
    logits = torch.tensor([[2.0, 1.0, -0.5], [0.2, 0.1, 0.4]])
    sigmoids = logits.sigmoid()
    expected = sigmoids / sigmoids.sum(1, keepdim=True)
    torch.testing.assert_close(loss([100, 10, 1]).log_probabilities(logits).exp(), expected)


def test_ldam_says_its_scaled_cosines() -> None:
    cosines = torch.tensor([[0.6, 0.3, -0.1]])
    torch.testing.assert_close(LDAM([100, 10, 1]).log_probabilities(cosines), (30 * cosines).log_softmax(1))


@pytest.mark.parametrize(
    ("loss", "name"), [(LDAM, "s"), (InfluenceBalanced, "alpha"), (InfluenceBalanced, "epsilon")]
)
def test_a_factor_or_divisor_of_zero_is_refused(loss: Callable[..., nn.Module], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}=0: must be a finite number > 0"):
        loss([1, 1], **{name: 0})


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "1", True])
@pytest.mark.parametrize(
    ("loss", "name"),
    [
        *((LabelAwareSmoothing, "smooth_head"), (LabelAwareSmoothing, "smooth_tail")),
        *((SoftmaxEqualization, "threshold"), (SoftmaxEqualization, "gamma")),
        *((SigmoidEqualization, "threshold"), (SigmoidEqualization, "prior")),
    ],
)
def test_a_share_outside_its_range_is_refused(loss: Callable[..., nn.Module], name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name}={text_of(value)}: must be a number in [\[(]0, 1"):
        loss([1, 1], **{name: value})
