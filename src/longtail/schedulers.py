"""Learning-rate schedules: `(optimizer, total_steps=)` -> a PyTorch scheduler, stepped after every batch.

Milestones are fractions of the run, so that a schedule scales with `epochs=`.
"""

import math
from collections.abc import Callable, Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_multistep(
    optimizer: Optimizer,
    total_steps: int,
    warmup: float = 0.025,
    milestones: Sequence[float] = (0.8, 0.9),
    gamma: float = 0.01,
) -> LambdaLR:
    """Warm up linearly, then multiply by gamma at every milestone (Cui et al. 2019, section 5).

    Over 200 epochs the defaults are the paper's for long-tailed sets: 5 epochs of warm-up, x 0.01 at epoch 160 and
    x 0.0001 at 180. Its balanced runs have gamma = 0.1.

    Args:
        optimizer: holds the learning rates that the warm-up leads to.
        total_steps: optimisation steps of the run, >= 1.
        warmup: fraction of the steps, in [0, 1), over which the rate rises from 1 / (warm-up steps) of its value.
        milestones: ascending fractions of the steps, in (0, 1].
        gamma: factor at each milestone, finite and > 0.

    Raises:
        ValueError: a setting is outside its range.
    """
    _check_warmup(warmup)
    if list(milestones) != sorted(milestones) or not all(0 < m <= 1 for m in milestones):
        raise ValueError(f"milestones={list(milestones)}: must be ascending fractions of the run in (0, 1]")
    if not 0 < gamma < math.inf:
        raise ValueError(f"gamma={gamma}: must be a finite number > 0")
    warmup_steps = round(warmup * total_steps)
    steps = [round(m * total_steps) for m in milestones]

    def factor(step: int) -> float:
        return float(gamma ** sum(step >= m for m in steps))

    return _after_warmup(optimizer, warmup_steps, factor)


def one_cycle(optimizer: Optimizer, total_steps: int, warmup: float = 0.25) -> LambdaLR:
    """Warm up linearly, then decay linearly to what would be 0 one step after the run.

    For runs of a few epochs (Smith and Topin 2019, super-convergence, here at constant momentum). PyTorch's
    OneCycleLR gives a run of one step a rate of 0, and divides by zero where the warm-up is one step.

    Args:
        optimizer: holds the highest learning rates of the cycle.
        total_steps: optimisation steps of the run, >= 1.
        warmup: fraction of the steps, in [0, 1), over which the rate rises from 1 / (warm-up steps) of its value.

    Raises:
        ValueError: warmup is outside its range.
    """
    _check_warmup(warmup)
    warmup_steps = min(round(warmup * total_steps), total_steps - 1)

    def factor(step: int) -> float:
        return float(max(total_steps - step, 0) / (total_steps - warmup_steps))

    return _after_warmup(optimizer, warmup_steps, factor)


def cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.0) -> LambdaLR:
    """Warm up linearly, if at all, then anneal to 0 along a half cosine (Loshchilov and Hutter 2017).

    Args:
        optimizer: holds the learning rates that the warm-up leads to.
        total_steps: optimisation steps of the run, >= 1.
        warmup: fraction of the steps, in [0, 1), over which the rate rises from 1 / (warm-up steps) of its value.

    Raises:
        ValueError: warmup is outside its range.
    """
    _check_warmup(warmup)
    warmup_steps = min(round(warmup * total_steps), total_steps - 1)

    def factor(step: int) -> float:
        return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps)))

    return _after_warmup(optimizer, warmup_steps, factor)


def _after_warmup(optimizer: Optimizer, warmup_steps: int, factor: Callable[[int], float]) -> LambdaLR:
    """Rise linearly to the full rate over the first steps, then follow `factor`, a function of the step."""
    return LambdaLR(optimizer, lambda step: (step + 1) / warmup_steps if step < warmup_steps else factor(step))


def _check_warmup(warmup: float) -> None:
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup={warmup}: must be a fraction of the run in [0, 1)")
