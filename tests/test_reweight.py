from collections.abc import Callable
from decimal import Decimal, localcontext
from functools import partial
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from longtail.errors import text_of
from longtail.reweight import class_balanced, clipped_inverse, deferred, inverse_frequency, none

RATIO_50 = [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100]
RATIO_100 = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
DECADES = [1, 2, 3, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000]
NEARLY_ONE = 1 - 1e-12
ROUNDING = 1.2e-7


def reference(counts: list[int], beta: float | Literal["auto"], power: float, normalize: str) -> list[float]:
    with localcontext() as context:
        context.prec = 60
        total, c = sum(counts), len(counts)
        b = Decimal(total - 1) / Decimal(total) if beta == "auto" else Decimal(beta)
        terms = [(1 - b) / (1 - b**n) for n in counts]
        if normalize == "before_power":
            terms = [t * c / sum(terms) for t in terms]
        terms = [t ** Decimal(power) for t in terms]
        if normalize == "after_power":
            terms = [t * c / sum(terms) for t in terms]
        return [float(t) for t in terms]


def assert_same(weights: Tensor, expected: list[float]) -> None:
    assert weights.dtype == torch.float32
    np.testing.assert_allclose(weights.double().numpy(), expected, rtol=ROUNDING, atol=0)


@pytest.mark.parametrize("counts", [RATIO_50, DECADES, [7], [1, 1]], ids=["ratio_50", "decades", "one", "singles"])
@pytest.mark.parametrize("beta", [0, 0.9, 0.9999, 0.999999, NEARLY_ONE, "auto"])
@pytest.mark.parametrize("power", [0, 0.5, 1, 2])
@pytest.mark.parametrize("normalize", ["after_power", "before_power", "none"])
def test_class_balanced_equals_the_formula_in_sixty_digits(
    counts: list[int], beta: float | Literal["auto"], power: float, normalize: str
) -> None:
    assert_same(class_balanced(counts, beta, power, normalize), reference(counts, beta, power, normalize))


@pytest.mark.parametrize("counts", [RATIO_50, DECADES])
def test_inverse_frequency_is_proportional_to_one_over_n(counts: list[int]) -> None:
    with localcontext() as context:
        context.prec = 60
        total = sum(1 / Decimal(n) for n in counts)
        assert_same(inverse_frequency(counts), [float(len(counts) / (n * total)) for n in counts])


@pytest.mark.parametrize(
    "weights",
    [
        none(DECADES),
        inverse_frequency(DECADES),
        class_balanced(DECADES),
        class_balanced(DECADES, beta="auto", power=0.5),
        class_balanced(DECADES, beta=0.9, power=2),
    ],
)
def test_weights_sum_to_the_number_of_classes(weights: Tensor) -> None:
    assert float(weights.double().sum()) == pytest.approx(len(DECADES), rel=1e-6)


@pytest.mark.parametrize("normalize", ["after_power", "before_power", "none"])
def test_beta_of_zero_is_no_weighting(normalize: str) -> None:
    weights = class_balanced(DECADES, beta=0, power=2, normalize=normalize)
    assert weights.tolist() == none(DECADES).tolist() == [1.0] * 10


def test_beta_towards_one_tends_to_inverse_frequency() -> None:
    limit = inverse_frequency(RATIO_50)
    distance = [float((class_balanced(RATIO_50, beta) - limit).abs().max()) for beta in (0.999, 0.99999, NEARLY_ONE)]
    assert distance[0] > 10 * distance[1] > 100 * distance[2]
    assert distance[2] < 1e-6


def test_auto_is_the_data_volume() -> None:
    assert torch.equal(class_balanced([3, 1], beta="auto"), class_balanced([3, 1], beta=0.75))


@pytest.mark.parametrize(("normalize", "largest"), [("after_power", 5.76), ("before_power", 12.39)])
def test_squared_weights_have_the_published_maximum(normalize: str, largest: float) -> None:
    weights = class_balanced(RATIO_50, 0.9999, power=2, normalize=normalize)
    assert float(weights.max()) == pytest.approx(largest, abs=0.005)


@pytest.mark.parametrize("normalize", ["after_power", "none"])
@pytest.mark.parametrize("power", [100, 1000])
def test_weights_stay_finite_for_a_large_power(power: float, normalize: str) -> None:
    weights = class_balanced([5000, 5000, 5000], power=power, normalize=normalize)
    expected = 1.0 if normalize == "after_power" else 0.0
    assert weights.tolist() == pytest.approx([expected] * 3)


def test_clipped_inverse_has_the_published_values() -> None:
    weights = clipped_inverse(RATIO_100)
    np.testing.assert_allclose(weights.numpy(), [1, 1, 1, 1.152] + [1.778] * 6, atol=5e-4)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1e9), (1.0, None), (0.5, 3.0), (0, 0), (2, 2)])
def test_clipped_inverse_equals_the_formula(low: float, high: float | None) -> None:
    total, c = sum(DECADES), len(DECADES)
    upper = c**0.25 if high is None else high
    assert_same(clipped_inverse(DECADES, low, high), [min(max(total / (n * c), low), upper) for n in DECADES])


@pytest.mark.parametrize("weighting", [none, inverse_frequency, class_balanced, clipped_inverse])
def test_balanced_counts_and_a_single_class_have_unit_weights(weighting: Callable[[Any], Tensor]) -> None:
    assert weighting(torch.tensor([40] * 5)).tolist() == pytest.approx([1.0] * 5)
    assert weighting([3]).tolist() == [1.0]


def test_deferred_weights_are_ones_before_the_start_and_the_published_ones_from_it_on() -> None:
    weights = deferred(RATIO_100, class_balanced)
    published = [0.050611, 0.0769, 0.121134, 0.195037, 0.318805, 0.52459, 0.868349, 1.442627, 2.409223, 3.992724]
    for epoch in range(200):
        expected = [1.0] * 10 if epoch < 160 else published
        np.testing.assert_allclose(weights(epoch / 200).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("progress", [0.0, 0.5, 0.999])
def test_weights_deferred_by_nothing_are_the_weights(progress: float) -> None:
    assert torch.equal(deferred(DECADES, inverse_frequency, start=0)(progress), inverse_frequency(DECADES))


@pytest.mark.parametrize("start", [-0.1, 1, 1.5, float("nan"), "0.8", None])
def test_a_start_outside_the_run_is_refused(start: Any) -> None:
    with pytest.raises(ValueError, match=f"^start={text_of(start)}: must be a fraction of the run in"):
        deferred(DECADES, inverse_frequency, start)


def test_a_setting_of_deferred_weights_is_named_in_full() -> None:
    with pytest.raises(ValueError, match=r"^then\.beta=2: must be a number"):
        deferred(DECADES, partial(class_balanced, beta=2))


def test_weights_are_deferred_once() -> None:
    with pytest.raises(ValueError, match=r"^then=function: must give weights \(C,\)"):
        deferred(DECADES, lambda counts: deferred(counts, inverse_frequency))  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("beta", [-0.1, 1, 1.0, 1.5, float("nan"), float("inf"), "0.9", "Auto", None])
def test_beta_outside_its_range_is_refused(beta: Any) -> None:
    with pytest.raises(ValueError, match=f"beta={beta}"):
        class_balanced(RATIO_50, beta=beta)


@pytest.mark.parametrize("power", [-0.5, float("nan"), float("inf"), "1", None])
def test_power_outside_its_range_is_refused(power: Any) -> None:
    with pytest.raises(ValueError, match=f"power={text_of(power)}"):
        class_balanced(RATIO_50, power=power)


@pytest.mark.parametrize("normalize", ["sum", "", None])
def test_an_unknown_normalisation_is_refused(normalize: Any) -> None:
    with pytest.raises(ValueError, match="normalize="):
        class_balanced(RATIO_50, normalize=normalize)


@pytest.mark.parametrize("bound", [-1, float("nan"), float("inf"), "1"])
def test_bounds_outside_their_range_are_refused(bound: Any) -> None:
    with pytest.raises(ValueError, match=f"low={bound}"):
        clipped_inverse(RATIO_100, low=bound)
    with pytest.raises(ValueError, match=f"high={bound}"):
        clipped_inverse(RATIO_100, high=bound)


@pytest.mark.parametrize(("low", "high"), [(2, 1), (1.8, None)])
def test_a_lower_bound_above_the_upper_is_refused(low: float, high: float | None) -> None:
    with pytest.raises(ValueError, match=r"low=.*must be <= high="):
        clipped_inverse(RATIO_100, low, high)


@pytest.mark.parametrize("weighting", [inverse_frequency, class_balanced, clipped_inverse])
@pytest.mark.parametrize("counts", [[3, 0], [3, -1], [[3, 1]]])
def test_counts_below_one_or_of_another_shape_are_refused(weighting: Callable[[Any], Tensor], counts: Any) -> None:
    with pytest.raises(ValueError, match="class_counts="):
        weighting(counts)
