"""Class weights: a function `(class_counts) -> weights`, (C,) int64 -> (C,) float32, finite and >= 0.

The formulas are evaluated in float64 and rounded once at the end. A deferred weighting returns a function of the
run's progress in [0, 1) instead of weights.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from longtail.ranges import check_finite, check_start


def none(class_counts: Tensor | Sequence[int]) -> Tensor:
    """Weigh all classes alike: w_i = 1."""
    return torch.ones(len(class_counts), dtype=torch.float32)


def inverse_frequency(class_counts: Tensor | Sequence[int]) -> Tensor:
    """Weigh by inverse frequency: w_i proportional to 1 / n_i, sum C; `class_balanced` in the limit beta -> 1."""
    n = _as_float64(class_counts)
    return _sum_to_c(1 / n).float()


def class_balanced(
    class_counts: Tensor | Sequence[int],
    beta: float | Literal["auto"] = 0.9999,
    power: float = 1.0,
    normalize: str = "after_power",
) -> Tensor:
    """Weigh by the inverse effective number of samples, or a power of it.

    E_n = (1 - beta ** n) / (1 - beta), w_i proportional to (1 / E_{n_i}) ** power (Cui et al. 2019, eq. 6 and 9;
    powers 1/2 and 2: Park and Hwang 2022). beta = 0 gives equal weights, beta -> 1 `inverse_frequency`.

    Args:
        class_counts: training images per class, (C,), each >= 1.
        beta: in [0, 1), or "auto" for (N - 1) / N with N the number of training images.
        power: exponent p of 1 / E_n, finite and >= 0.
        normalize: "after_power" makes the weights sum to C; "before_power" makes the terms 1 / E_n sum to C and
            then takes the power; "none" leaves (1 / E_n) ** p as it is. The paper does not say which it uses.

    Returns:
        (C,) float32.

    Raises:
        ValueError: a setting is outside its range.
    """
    n = _as_float64(class_counts)
    if beta == "auto":
        total = n.sum()
        beta = float((total - 1) / total)
    if not (isinstance(beta, int | float) and 0 <= beta < 1):
        raise ValueError(f"beta={beta}: must be a number in [0, 1) or 'auto' for (N - 1) / N")
    check_finite("power", power)
    if normalize not in ("after_power", "before_power", "none"):
        raise ValueError(f"normalize={normalize}: must be after_power, before_power or none")
    term = 1 / _effective_number(n, float(beta))
    if normalize == "before_power":
        return (_sum_to_c(term) ** power).float()
    if normalize == "after_power":
        return _sum_to_c((term / term.max()) ** power).float()
    return (term**power).float()


def clipped_inverse(class_counts: Tensor | Sequence[int], low: float = 1.0, high: float | None = None) -> Tensor:
    """Weigh by w_i = N / (n_i * C), clipped to [low, high] (Park, Piao and Kim, uniform mini-batches).

    Args:
        class_counts: training images per class, (C,), each >= 1.
        low: smallest weight, finite and >= 0.
        high: largest weight, finite and >= low; None for the paper's C ** 0.25.

    Returns:
        (C,) float32.

    Raises:
        ValueError: low is negative, a bound is not finite, or low > high.
    """
    n = _as_float64(class_counts)
    upper = len(n) ** 0.25 if high is None else high
    for name, bound in (("low", low), ("high", upper)):
        if not (isinstance(bound, int | float) and 0 <= bound < float("inf")):
            raise ValueError(f"{name}={bound}: must be a finite number >= 0")
    if low > upper:
        raise ValueError(f"low={low}: must be <= high={upper:.4g}")
    return (n.sum() / (n * len(n))).clamp(low, upper).float()


def deferred(
    class_counts: Tensor | Sequence[int],
    then: Callable[[Tensor | Sequence[int]], Tensor],
    start: float = 0.8,
) -> Callable[[float], Tensor]:
    """Deferred re-weighting (DRW): no weights at first, `then` for the rest of the run.

    Cao et al. 2019, section 3.3; they start at epoch 160 of 200, where the learning rate first drops.

    Args:
        class_counts: training images per class, (C,), each >= 1.
        then: the weighting from `start` on.
        start: fraction of the run in [0, 1).

    Returns:
        A function of the progress in [0, 1): weights (C,) float32.

    Raises:
        ValueError: start or a setting of `then`, named `then.beta` and the like, is outside its range, or `then` is
            itself deferred.
    """
    check_start("start", start)
    try:
        before, after = none(class_counts), then(class_counts)
    except ValueError as error:
        raise ValueError(f"then.{error}") from error
    if not isinstance(after, Tensor):
        raise ValueError(f"then={type(after).__name__}: must give weights (C,), which a deferred weighting does not")
    return lambda progress: after if progress >= start else before


def _effective_number(n: Tensor, beta: float) -> Tensor:
    if beta == 0:
        return torch.ones_like(n)
    # 1 - beta ** n as -expm1(n * log1p(beta - 1)), which keeps its digits for beta near 1.
    return -torch.expm1(n * torch.log1p(torch.tensor(beta - 1, dtype=torch.float64))) / (1 - beta)


def _sum_to_c(w: Tensor) -> Tensor:
    return w * (len(w) / w.sum())


def _as_float64(class_counts: Tensor | Sequence[int]) -> Tensor:
    n = torch.as_tensor(class_counts, dtype=torch.float64)
    if n.ndim != 1 or not bool((n >= 1).all()):
        raise ValueError(f"class_counts={n.tolist()[:20]}: must be (C,), each >= 1")
    return n
