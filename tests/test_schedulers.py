import math
from typing import Any

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import LRScheduler

from longtail.schedulers import cosine, one_cycle, warmup_multistep


def optimizer(*rates: float) -> SGD:
    return SGD([{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in rates])


def rates(scheduler: LRScheduler, steps: int) -> list[float]:
    seen = []
    for _ in range(steps):
        seen.append(float(scheduler.get_last_lr()[0]))
        scheduler.optimizer.step()
        scheduler.step()
    return seen


def published_factor(step: int, steps_per_epoch: int, gamma: float) -> float:
    epoch = step // steps_per_epoch
    if epoch < 5:
        return (step + 1) / (5 * steps_per_epoch)
    if epoch < 160:
        return 1.0
    return gamma if epoch < 180 else gamma * gamma


@pytest.mark.parametrize("gamma", [0.01, 0.1])
@pytest.mark.parametrize("steps_per_epoch", [1, 3, 10])
def test_defaults_over_200_epochs_are_the_published_schedule(gamma: float, steps_per_epoch: int) -> None:
    steps = 200 * steps_per_epoch
    scheduler = warmup_multistep(optimizer(0.1), steps, gamma=gamma)
    expected = [0.1 * published_factor(step, steps_per_epoch, gamma) for step in range(steps)]
    assert rates(scheduler, steps) == pytest.approx(expected, rel=1e-12)


def test_schedule_scales_with_the_length_of_the_run() -> None:
    short, long = (rates(warmup_multistep(optimizer(1.0), n), n) for n in (200, 2000))
    assert short == pytest.approx(long[9::10], rel=1e-12)


def test_warm_up_of_zero_starts_at_the_full_rate_and_no_milestone_keeps_it() -> None:
    assert rates(warmup_multistep(optimizer(0.3), 10, warmup=0, milestones=()), 12) == [0.3] * 12


def test_a_milestone_at_the_end_is_never_reached() -> None:
    assert (
        rates(warmup_multistep(optimizer(1.0), 10, warmup=0, milestones=(0.5, 1), gamma=0.5), 10)
        == [1.0] * 5 + [0.5] * 5
    )


def test_every_parameter_group_follows_its_own_rate() -> None:
    both = optimizer(0.1, 0.2)
    scheduler = warmup_multistep(both, 100, warmup=0.1)
    for _ in range(85):
        assert both.param_groups[1]["lr"] == pytest.approx(2 * both.param_groups[0]["lr"])
        both.step()
        scheduler.step()
    assert both.param_groups[0]["lr"] == pytest.approx(0.001)


@pytest.mark.parametrize("total_steps", [1, 7, 200, 1000])
def test_cosine_is_half_a_cosine_from_the_full_rate_to_zero(total_steps: int) -> None:
    scheduler = cosine(optimizer(0.1), total_steps)
    expected = [0.05 * (1 + math.cos(math.pi * step / total_steps)) for step in range(total_steps + 1)]
    assert rates(scheduler, total_steps + 1) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("total_steps", "warmup"), [(8, 0.25), (40, 0.25), (1000, 0.1), (40, 0), (10, 0.99)])
def test_one_cycle_rises_to_the_full_rate_and_falls_to_a_step_above_zero(total_steps: int, warmup: float) -> None:
    seen = rates(one_cycle(optimizer(0.2), total_steps, warmup), total_steps)
    top = seen.index(max(seen))
    assert seen[top] == pytest.approx(0.2)
    assert top == max(round(warmup * total_steps) - 1, 0) or total_steps == 10
    assert seen[: top + 1] == sorted(seen[: top + 1])
    assert seen[top:] == sorted(seen[top:], reverse=True)
    down = total_steps - min(round(warmup * total_steps), total_steps - 1)
    assert seen[-1] == pytest.approx(0.2 / down)


@pytest.mark.parametrize(
    ("total_steps", "expected"),
    [
        (1, [1]),
        (2, [1, 0.5]),
        (3, [1, 1, 0.5]),
        (4, [1, 1, 2 / 3, 1 / 3]),
        (8, [0.5, 1, *(n / 6 for n in (6, 5, 4, 3, 2, 1))]),
    ],
)
def test_one_cycle_of_a_few_steps_trains_at_every_step(total_steps: int, expected: list[float]) -> None:
    assert rates(one_cycle(optimizer(1.0), total_steps), total_steps) == pytest.approx(expected)


@pytest.mark.parametrize("warmup", [0, 0.1, 0.25, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("total_steps", [1, 2, 3, 4, 10])
def test_one_cycle_has_a_rate_at_every_step_and_none_after_the_last(total_steps: int, warmup: float) -> None:
    *seen, after = rates(one_cycle(optimizer(0.1), total_steps, warmup), total_steps + 1)
    assert all(0 < rate <= 0.1 * (1 + 1e-9) for rate in seen)
    assert after == 0


def test_one_cycle_leaves_the_momentum_alone() -> None:
    sgd = SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9)
    rates(one_cycle(sgd, 10), 10)
    assert sgd.param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize("warmup", [-0.1, 1, 5, float("nan")])
def test_one_cycle_refuses_a_warm_up_outside_its_range(warmup: float) -> None:
    with pytest.raises(ValueError, match=f"warmup={warmup}: must be a fraction"):
        one_cycle(optimizer(0.1), 100, warmup=warmup)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"warmup": -0.1}, r"warmup=-0\.1"),
        ({"warmup": 1}, "warmup=1"),
        ({"warmup": 5}, "warmup=5"),
        ({"warmup": float("nan")}, "warmup=nan"),
        ({"milestones": (0.9, 0.8)}, r"milestones=\[0\.9, 0\.8\]"),
        ({"milestones": (0.0, 0.5)}, "milestones="),
        ({"milestones": (160, 180)}, "milestones="),
        ({"milestones": (float("nan"),)}, "milestones="),
        ({"gamma": 0}, "gamma=0"),
        ({"gamma": -0.1}, r"gamma=-0\.1"),
        ({"gamma": float("nan")}, "gamma=nan"),
    ],
)
def test_settings_outside_their_range_are_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        warmup_multistep(optimizer(0.1), 100, **settings)
