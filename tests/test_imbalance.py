from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from longtail.imbalance import exponential, hold_out, none, step, subsample

CIFAR10, CIFAR100 = [5000] * 10, [500] * 100
FACTOR = {10: 0.1, 50: 0.02, 100: 0.01, 200: 0.005, 500: 0.002}
PROFILES = [exponential, step]

Profile = Callable[[list[int], float], Tensor]


def interleaved(counts: list[int], seed: int = 1) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))


@pytest.mark.parametrize(
    ("available", "ratio", "total"),
    [
        (CIFAR10, 10, 20431),
        (CIFAR10, 50, 13996),
        (CIFAR10, 100, 12406),
        (CIFAR10, 200, 11203),
        (CIFAR10, 500, 10011),
        (CIFAR100, 10, 19573),
        (CIFAR100, 50, 12608),
        (CIFAR100, 100, 10847),
        (CIFAR100, 200, 9502),
    ],
)
def test_exponential_has_the_published_totals(available: list[int], ratio: int, total: int) -> None:
    counts = exponential(available, ratio)
    last, n_max = len(available) - 1.0, available[0]
    assert counts.dtype == torch.int64
    assert int(counts.sum()) == total
    assert counts.tolist() == [int(n_max * FACTOR[ratio] ** (i / last)) for i in range(len(available))]


def test_realised_ratio_of_cifar100_at_200_is_250() -> None:
    counts = exponential(CIFAR100, 200)
    assert (int(counts[0]), int(counts[-1])) == (500, 2)


@pytest.mark.parametrize(
    ("num_classes", "ratio", "expected"),
    [
        (4, 10, [5000, 5000, 500, 500]),
        (5, 3, [5000, 5000, 1666, 1666, 1666]),
        (1, 1, [5000]),
        (2, 5000, [5000, 1]),
    ],
)
def test_step_keeps_the_first_half(num_classes: int, ratio: float, expected: list[int]) -> None:
    counts = step([5000] * num_classes, ratio)
    assert counts.dtype == torch.int64
    assert counts.tolist() == expected


@pytest.mark.parametrize("profile", PROFILES)
def test_ratio_of_one_keeps_every_image(profile: Profile) -> None:
    assert profile([30, 100, 5], 1).tolist() == [30, 100, 5]


def test_none_keeps_every_image() -> None:
    assert none([30, 100, 5]).tolist() == [30, 100, 5]
    assert none(torch.tensor([3, 1])).dtype == torch.int64


@pytest.mark.parametrize(
    ("profile", "expected"), [(exponential, [30, 46, 5, 10]), (step, [30, 100, 5, 10])], ids=["exponential", "step"]
)
def test_a_class_with_too_few_images_keeps_all_of_them(profile: Profile, expected: list[int]) -> None:
    assert profile([30, 100, 5, 80], 10).tolist() == expected


def test_a_single_class_keeps_every_image() -> None:
    assert exponential([7], 100).tolist() == [7]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("ratio", [0.99, 0, -2, float("inf"), float("nan"), "10", None])
def test_a_ratio_that_is_no_finite_number_from_one_up_is_refused(profile: Profile, ratio: float) -> None:
    with pytest.raises(ValueError, match=f"ratio={ratio}: must be a finite number"):
        profile(CIFAR10, ratio)


def test_a_ratio_that_empties_a_class_names_the_first_one() -> None:
    with pytest.raises(ValueError, match=r"ratio=100.*class 8 "):
        exponential([50] * 10, 100)
    with pytest.raises(ValueError, match=r"ratio=51.*class 5 "):
        step([50] * 10, 51)
    with pytest.raises(ValueError, match="class 1 "):
        none([3, 0, 1])


def ldam_subset(targets: NDArray[np.int64], counts: list[int], seed: int) -> list[int]:
    state = np.random.get_state()
    np.random.seed(seed)
    chosen: list[int] = []
    for c, n in zip(np.unique(targets), counts, strict=True):
        members = np.where(targets == c)[0]
        np.random.shuffle(members)
        chosen.extend(members[:n])
    np.random.set_state(state)
    return chosen


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("profile", [exponential, step, lambda available, _: none(available)])
def test_subset_is_ldams_bit_for_bit_and_in_order(profile: Profile, seed: int) -> None:
    available = [500, 480, 500, 499, 30, 500, 500, 100, 250, 500]
    targets, counts = interleaved(available), profile(available, 50)
    chosen = subsample(targets, counts, seed)
    assert chosen.dtype == np.int64
    assert chosen.tolist() == ldam_subset(targets, counts.tolist(), seed)


def test_subset_does_not_depend_on_the_container_of_the_targets() -> None:
    targets = interleaved([9, 8, 7])
    expected = subsample(targets, [4, 2, 1]).tolist()
    assert subsample(targets.tolist(), torch.tensor([4, 2, 1])).tolist() == expected
    assert subsample(torch.from_numpy(targets), [4, 2, 1]).tolist() == expected


def test_subset_leaves_the_global_random_state_alone() -> None:
    np.random.seed(3)
    before = np.random.random(5).tolist()
    np.random.seed(3)
    subsample(interleaved([9, 8]), [4, 2])
    hold_out(interleaved([9, 8]), 2, 3)
    assert np.random.random(5).tolist() == before


def test_subset_refuses_more_images_than_there_are() -> None:
    with pytest.raises(ValueError, match=r"counts=6: must be in \[0, 5\], the images of class 1"):
        subsample(interleaved([9, 5]), [9, 6])
    with pytest.raises(ValueError, match=r"must be in \[0, 0\], the images of class 1"):
        subsample([0, 2], [1, 1, 1])


def test_subset_refuses_targets_beyond_the_counts() -> None:
    with pytest.raises(ValueError, match="class"):
        subsample([0, 1, 2, 2, 2], [1, 2])


@pytest.mark.parametrize("per_class", [1, 4])
def test_held_out_images_are_balanced_and_disjoint_from_the_pool(per_class: int) -> None:
    available = [40, 5, 17]
    targets = interleaved(available)
    pool, held_out = hold_out(targets, 3, per_class)
    assert np.bincount(targets[held_out]).tolist() == [per_class] * 3
    assert np.bincount(targets[pool]).tolist() == [n - per_class for n in available]
    assert sorted([*pool, *held_out]) == list(range(62))
    assert pool.tolist() == sorted(pool)
    assert held_out.tolist() == sorted(held_out)


def test_held_out_images_are_random_and_repeatable() -> None:
    targets = interleaved([50, 50])
    draws = [hold_out(targets, 2, 10, seed)[1].tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    first_ten = [np.flatnonzero(targets == c)[:10] for c in range(2)]
    assert draws[0] != sorted(np.concatenate(first_ten).tolist())


def test_holding_out_nothing_leaves_the_pool_as_it_is() -> None:
    pool, held_out = hold_out(interleaved([6, 3]), 2, 0)
    assert pool.tolist() == list(range(9))
    assert held_out.tolist() == []


def test_a_whole_number_given_as_a_float_holds_out_as_many() -> None:
    targets = interleaved([6, 3])
    whole: Any = 2.0
    assert hold_out(targets, 2, whole)[1].tolist() == hold_out(targets, 2, 2)[1].tolist()


@pytest.mark.parametrize("per_class", [-1, 1.5, 3, 10])
def test_holding_out_an_impossible_number_is_refused(per_class: int) -> None:
    with pytest.raises(ValueError, match=f"validation_per_class={per_class}"):
        hold_out(interleaved([6, 3]), 2, per_class)


def test_holding_out_too_many_names_the_class() -> None:
    with pytest.raises(ValueError, match="class 1 has 3"):
        hold_out(interleaved([6, 3]), 2, 3)
