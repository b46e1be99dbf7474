from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import chain, pairwise, permutations
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, TensorDataset

from longtail.samplers import (
    ClassBalanced,
    Deferred,
    EpochBatches,
    Random,
    Sequential,
    UniformMinibatch,
    uniform_minibatch,
)

Maker = Callable[..., EpochBatches]


def interleaved(counts: list[int]) -> NDArray[np.int64]:
    return np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))


TARGETS = interleaved([40, 20, 11, 6, 3])
MAKERS: dict[str, Maker] = {
    "random": partial(Random, TARGETS, num_classes=5, batch_size=8),
    "class_balanced": partial(ClassBalanced, TARGETS, num_classes=5, batch_size=8),
    "uniform": partial(UniformMinibatch, TARGETS, num_classes=5, samples_per_class=2),
    "uniform_slices": partial(UniformMinibatch, TARGETS, num_classes=5, samples_per_class=2, classes_per_batch=3),
}
every_sampler = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def batches(sampler: EpochBatches, epoch: int) -> list[list[int]]:
    sampler.set_epoch(epoch)
    return list(sampler)


def drawn(sampler: EpochBatches, epoch: int) -> NDArray[np.int64]:
    return np.fromiter(chain.from_iterable(batches(sampler, epoch)), dtype=np.int64)


def uses_of(sampler: EpochBatches, epochs: int, num_images: int) -> NDArray[np.int64]:
    return np.bincount(np.concatenate([drawn(sampler, epoch) for epoch in range(epochs)]), minlength=num_images)


def spread_within_classes(uses: NDArray[np.int64], targets: NDArray[np.int64]) -> int:
    return max(int(np.ptp(uses[targets == c])) for c in np.unique(targets))


def is_uniform(observed: NDArray[np.int64]) -> bool:
    expected = observed.sum() / len(observed)
    freedom = len(observed) - 1
    return bool(((observed - expected) ** 2 / expected).sum() < freedom + 6 * np.sqrt(2 * freedom))


@every_sampler
def test_an_epoch_is_a_function_of_seed_and_epoch_alone(make: Maker) -> None:
    fresh = {epoch: batches(make(seed=5), epoch) for epoch in range(6)}
    used = make(seed=5)
    for epoch in (4, 0, 0, 5, 1, 3, 2, 4):
        np.random.seed(epoch)
        torch.manual_seed(epoch)
        assert batches(used, epoch) == fresh[epoch]
    assert fresh[0] != fresh[1]
    assert batches(make(seed=6), 0) != fresh[0]


@every_sampler
def test_an_epoch_leaves_the_global_random_states_alone(make: Maker) -> None:
    after = []
    for epochs in (0, 3):
        np.random.seed(0)
        torch.manual_seed(0)
        for epoch in range(epochs):
            batches(make(), epoch)
        after.append((np.random.random(), float(torch.rand(()))))
    assert after[0] == after[1]


@every_sampler
def test_epoch_zero_comes_first(make: Maker) -> None:
    assert list(make()) == batches(make(), 0)


def steps_of(make: Callable[..., Any], world_size: int, epoch: int, **settings: Any) -> list[list[list[int]]]:
    """The batches of each step, of all processes."""
    ranks = [make(rank=rank, world_size=world_size, **settings) for rank in range(world_size)]
    assert len({len(rank) for rank in ranks}) == 1
    steps = list(zip(*(batches(rank, epoch) for rank in ranks), strict=True))
    assert len(steps) == len(ranks[0])
    return [list(step) for step in steps]


@every_sampler
@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_the_processes_share_the_order_of_an_epoch(make: Maker, world_size: int) -> None:
    size = make().batch_size
    for epoch in (0, 3):
        steps = steps_of(make, world_size, epoch)
        order = make(world_size=world_size).order(epoch).tolist()
        assert [index for step in steps for batch in step for index in batch] == order
        assert all(len(batch) == size for step in steps[:-1] for batch in step)
        last = [len(batch) for batch in steps[-1]]
        assert max(last) - min(last) <= 1
        assert min(last) >= 1


@pytest.mark.parametrize(
    ("make", "one", "two"),
    [
        (partial(Random, TARGETS[:77], 5), {"batch_size": 16}, {"batch_size": 8}),
        (partial(ClassBalanced, TARGETS, 5), {"batch_size": 18}, {"batch_size": 9}),
        (partial(UniformMinibatch, TARGETS, 5), {"samples_per_class": 4}, {"samples_per_class": 2}),
        (partial(UniformMinibatch, TARGETS, 5, 2), {"classes_per_batch": 4}, {"classes_per_batch": 2}),
        (
            partial(UniformMinibatch, TARGETS, 5, epoch_length="match_iterations"),
            {"samples_per_class": 6, "batch_size": 32},
            {"samples_per_class": 3, "batch_size": 16},
        ),
        (
            partial(Deferred, TARGETS, 5, start=0.5, epochs=4),
            {name: partial(made, batch_size=14) for name, made in (("first", Random), ("then", ClassBalanced))},
            {name: partial(made, batch_size=7) for name, made in (("first", Random), ("then", ClassBalanced))},
        ),
    ],
)
def test_two_processes_see_what_one_sees_with_batches_twice_as_large(
    make: Callable[..., Any], one: dict[str, Any], two: dict[str, Any]
) -> None:
    for epoch in range(4):
        alone = steps_of(make, 1, epoch, seed=3, **one)
        together = steps_of(make, 2, epoch, seed=3, **two)
        assert len(alone) > 1
        assert [sorted(a + b) for a, b in together] == [sorted(batch) for (batch,) in alone]


def test_no_process_is_left_without_an_image() -> None:
    sizes = [[len(batch) for batch in step] for step in steps_of(partial(Random, [0] * 25, 1, 8), 3, epoch=0)]
    assert sizes == [[8, 7, 7], [1, 1, 1]]


@every_sampler
def test_batches_are_lists_of_python_integers(make: Maker) -> None:
    for batch in make():
        assert type(batch) is list
        assert {type(index) for index in batch} == {int}


@every_sampler
def test_len_is_the_number_of_batches(make: Maker) -> None:
    sampler = make()
    assert [len(batches(sampler, epoch)) for epoch in range(3)] == [len(sampler)] * 3


@every_sampler
def test_the_epoch_can_be_set_through_the_attribute_that_lightning_uses(make: Maker) -> None:
    sampler = make()
    sampler.sampler.set_epoch(2)
    assert list(sampler) == batches(make(), 2)


@every_sampler
def test_more_processes_than_batches_are_refused(make: Maker) -> None:
    with pytest.raises(ValueError, match="processes"):
        make(world_size=81)


@every_sampler
def test_a_data_loader_gives_the_batches(make: Maker) -> None:
    dataset = TensorDataset(torch.arange(80), torch.from_numpy(TARGETS))
    loader: DataLoader[Any] = DataLoader(dataset, batch_sampler=make())
    assert len(loader) == len(make())
    loaded = list(loader)
    assert [images.tolist() for images, _ in loaded] == list(make())
    assert all(np.array_equal(labels, TARGETS[images]) for images, labels in loaded)


@pytest.mark.parametrize("batch_size", [1, 7, 8, 80])
def test_random_draws_every_image_once(batch_size: int) -> None:
    sampler = Random(TARGETS, 5, batch_size)
    for epoch in range(3):
        sizes = [len(batch) for batch in batches(sampler, epoch)]
        assert sizes == [batch_size] * (80 // batch_size) + [80 % batch_size] * (80 % batch_size > 0)
        assert sorted(drawn(sampler, epoch)) == list(range(80))


def test_random_puts_every_image_everywhere() -> None:
    sampler = Random([0] * 10, 1, batch_size=10)
    where = np.zeros((10, 10), dtype=np.int64)
    for epoch in range(2000):
        where[np.arange(10), drawn(sampler, epoch)] += 1
    assert all(is_uniform(row) for row in where)


def test_class_balanced_draws_classes_uniformly_and_images_uniformly_within() -> None:
    sampler = ClassBalanced(TARGETS, 5, batch_size=8)
    uses = uses_of(sampler, 500, 80)
    assert uses.sum() == 500 * 80
    assert is_uniform(np.bincount(TARGETS, weights=uses).astype(np.int64))
    assert all(is_uniform(uses[members]) for members in np.eye(5, dtype=bool)[:, TARGETS])


def test_class_balanced_draws_with_replacement() -> None:
    assert max(Counter(drawn(ClassBalanced(TARGETS, 5, 8), 0).tolist()).values()) > 1


def test_class_balanced_has_the_length_of_random() -> None:
    for batch_size in (7, 8, 80):
        assert len(ClassBalanced(TARGETS, 5, batch_size)) == len(Random(TARGETS, 5, batch_size))
        assert len(drawn(ClassBalanced(TARGETS, 5, batch_size), 0)) == 80


@pytest.mark.parametrize("samples_per_class", [1, 2, 3, 5, 12])
def test_uniform_minibatch_has_as_many_images_of_every_class(samples_per_class: int) -> None:
    sampler = UniformMinibatch(TARGETS, 5, samples_per_class)
    for epoch in range(3):
        for batch in batches(sampler, epoch):
            assert np.bincount(TARGETS[batch], minlength=5).tolist() == [samples_per_class] * 5


@pytest.mark.parametrize("classes_per_batch", [None, 1, 2, 3, 4])
@pytest.mark.parametrize("samples_per_class", [1, 3, 7])
@pytest.mark.parametrize("epoch_length", ["images", "oversample"])
def test_images_of_a_class_are_used_equally_often_give_or_take_one(
    classes_per_batch: int | None, samples_per_class: int, epoch_length: str
) -> None:
    sampler = UniformMinibatch(
        TARGETS, 5, samples_per_class, classes_per_batch=classes_per_batch, epoch_length=epoch_length, seed=3
    )
    uses = np.zeros(80, dtype=np.int64)
    for epoch in range(40):
        for batch in batches(sampler, epoch):
            np.add.at(uses, batch, 1)
            assert spread_within_classes(uses, TARGETS) <= 1


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_images_are_used_equally_often_over_all_ranks_together(world_size: int) -> None:
    ranks = [UniformMinibatch(TARGETS, 5, 2, rank=rank, world_size=world_size) for rank in range(world_size)]
    uses = np.zeros(80, dtype=np.int64)
    for epoch in range(40):
        np.add.at(uses, np.concatenate([drawn(rank, epoch) for rank in ranks]), 1)
        assert spread_within_classes(uses, TARGETS) <= 1


def test_images_whose_keys_collide_are_used_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    full_hash = uniform_minibatch._hash32
    monkeypatch.setattr(uniform_minibatch, "_hash32", lambda seed, a, b: full_hash(seed, a, b) >> np.uint64(28))
    targets = interleaved([4000, 700, 50])
    sampler = UniformMinibatch(targets, 3, samples_per_class=7)
    assert spread_within_classes(uses_of(sampler, 9, 4750), targets) <= 1


def test_a_class_smaller_than_its_share_wraps_within_a_batch() -> None:
    sampler = UniformMinibatch(TARGETS, 5, samples_per_class=7)
    uses = Counter(index for index in batches(sampler, 0)[0] if TARGETS[index] == 4)
    assert sorted(uses.values()) == [2, 2, 3]


def test_every_pass_over_a_class_is_a_fresh_uniform_permutation() -> None:
    targets = np.array([0] * 200 + [1] * 4)
    sampler = UniformMinibatch(targets, 2, samples_per_class=4)
    passes: Counter[tuple[int, ...]] = Counter()
    successive_equal = 0
    for epoch in range(200):
        tails = [tuple(i for i in batch if i >= 200) for batch in batches(sampler, epoch)]
        successive_equal += sum(a == b for a, b in pairwise(tails))
        passes.update(tails)
    assert len(passes) == 24
    assert is_uniform(np.array(list(passes.values())))
    assert successive_equal / (200 * 24) == pytest.approx(1 / 24, abs=0.012)


def test_seeds_share_no_permutation_of_a_class() -> None:
    targets = np.repeat(np.arange(2), 12)
    samplers_of = [UniformMinibatch(targets, 2, samples_per_class=12, seed=seed) for seed in range(10)]
    passes = [tuple(drawn(sampler, epoch)[:12]) for sampler in samplers_of for epoch in range(200)]
    assert len(set(passes)) == 2000  # of 12! a pair would be alike in one of 240 tries


@pytest.mark.parametrize("first", [0, 4])
def test_the_permutations_of_neighbouring_seeds_are_independent(first: int) -> None:
    """Each pair of orders of a class of 3 is as frequent as any other, in the same pass and in the next ones."""
    seeds, epochs = range(first, first + 6), 404
    samplers_of = [UniformMinibatch([0, 0, 0, 1, 1, 1], 2, samples_per_class=3, seed=seed) for seed in seeds]
    passes = [drawn(sampler, epoch)[:3] @ (9, 3, 1) for sampler in samplers_of for epoch in range(epochs)]
    orders = np.unique(passes, return_inverse=True)[1].reshape(6, epochs)
    for ahead in range(4):
        pairs = [6 * a[:400] + b[ahead : 400 + ahead] for a, b in permutations(orders, 2)]
        assert is_uniform(np.bincount(np.concatenate(pairs), minlength=36))


@pytest.mark.parametrize(
    ("settings", "length"),
    [
        ({"epoch_length": "images", "samples_per_class": 3}, 80 // 15),
        ({"epoch_length": "images", "samples_per_class": 16}, 1),
        ({"epoch_length": "match_iterations", "samples_per_class": 3, "batch_size": 32}, 3),
        ({"epoch_length": "match_iterations", "samples_per_class": 3, "batch_size": 80}, 1),
        ({"epoch_length": "oversample", "samples_per_class": 3}, 14),
        ({"epoch_length": "oversample", "samples_per_class": 4}, 10),
        ({"epoch_length": "oversample", "samples_per_class": 3, "classes_per_batch": 2}, 35),
        ({"epoch_length": "images", "samples_per_class": 3, "classes_per_batch": 2}, 13),
    ],
)
def test_uniform_minibatch_lengths(settings: dict[str, Any], length: int) -> None:
    sampler = UniformMinibatch(TARGETS, 5, **settings)
    assert len(sampler) == length == len(batches(sampler, 1))


@pytest.mark.parametrize(("samples_per_class", "epochs"), [(3, 1), (4, 3), (40, 3)])
def test_oversample_sees_every_image_of_the_largest_class(samples_per_class: int, epochs: int) -> None:
    sampler = UniformMinibatch(TARGETS, 5, samples_per_class, epoch_length="oversample")
    for epoch in range(epochs):
        assert set(np.flatnonzero(TARGETS == 0)) <= set(drawn(sampler, epoch))


@pytest.mark.parametrize("classes_per_batch", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("samples_per_class", [1, 3, 7])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_oversample_draws_every_class_as_often_as_the_largest_has_images(
    classes_per_batch: int, samples_per_class: int, world_size: int
) -> None:
    settings: dict[str, Any] = {"classes_per_batch": classes_per_batch, "epoch_length": "oversample"}
    ranks = [
        UniformMinibatch(TARGETS, 5, samples_per_class, **settings, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for epoch in range(5):
        every = np.concatenate([drawn(rank, epoch) for rank in ranks])
        assert np.bincount(TARGETS[every], minlength=5).min() >= 40


@pytest.mark.parametrize(("num_classes", "batch_size", "expected"), [(5, 5, 5), (5, 4, 2), (5, 2, 1)])
def test_a_batch_holds_all_classes_where_they_fit_and_a_slice_where_not(
    num_classes: int, batch_size: int, expected: int
) -> None:
    sampler = UniformMinibatch(TARGETS, num_classes, samples_per_class=2, batch_size=batch_size)
    assert {len(set(TARGETS[batch])) for batch in sampler} == {expected}
    assert {len(batch) for batch in sampler} == {2 * expected}


@pytest.mark.parametrize(
    ("num_classes", "classes_per_batch"),
    [(10, 3), (10, 5), (10, 6), (10, 7), (10, 9), (10, 10), (7, 4), (7, 1), (5, 4), (13, 12), (101, 64), (101, 50)],
)
@pytest.mark.parametrize("samples_per_class", [1, 2])
def test_slices_hold_distinct_classes_and_all_classes_equally_often(
    num_classes: int, classes_per_batch: int, samples_per_class: int
) -> None:
    targets = interleaved([2 + 30 // (c + 1) for c in range(num_classes)])
    sampler = UniformMinibatch(targets, num_classes, samples_per_class, classes_per_batch=classes_per_batch, seed=2)
    total = np.zeros(num_classes, dtype=np.int64)
    for epoch in range(25):
        slots = np.zeros(num_classes, dtype=np.int64)
        for batch in batches(sampler, epoch):
            per_class = np.bincount(targets[batch], minlength=num_classes)
            assert sorted(per_class[per_class > 0]) == [samples_per_class] * classes_per_batch
            slots += per_class // samples_per_class
        total += slots
        assert np.ptp(slots) <= 1
        assert np.ptp(total) <= 1


def test_slices_are_no_fixed_partition_of_the_classes() -> None:
    targets = interleaved([10] * 10)
    sampler = UniformMinibatch(targets, 10, samples_per_class=1, classes_per_batch=5)
    together = np.zeros((10, 10), dtype=np.int64)
    for epoch in range(50):
        for batch in batches(sampler, epoch):
            together[np.ix_(targets[batch], targets[batch])] += 1
    pairs = together[~np.eye(10, dtype=bool)]
    assert pairs.mean() == pytest.approx(1000 * 20 / 90)
    assert pairs.min() > 0.75 * pairs.mean()


def test_a_set_of_the_size_of_inaturalist_is_drawn_evenly() -> None:
    num_classes, num_images = 8142, 437_513
    share = 1 / np.arange(20, 20 + num_classes)
    counts = 2 + np.random.default_rng(0).multinomial(num_images - 2 * num_classes, share / share.sum())
    targets = np.repeat(np.arange(num_classes), counts)
    sampler = UniformMinibatch(targets, num_classes, samples_per_class=1, batch_size=256)
    assert len(sampler) == num_images // 256
    uses, slots = np.zeros(num_images, dtype=np.int64), np.zeros(num_classes, dtype=np.int64)
    for epoch in range(2):
        epoch_batches = np.array(batches(sampler, epoch))
        assert epoch_batches.shape == (num_images // 256, 256)
        assert bool((np.diff(np.sort(targets[epoch_batches], axis=1), axis=1) > 0).all())
        uses += np.bincount(epoch_batches.ravel(), minlength=num_images)
        slots += np.bincount(targets[epoch_batches.ravel()], minlength=num_classes)
    assert np.ptp(slots) <= 1
    starts = np.cumsum(counts) - counts
    assert int((np.maximum.reduceat(uses, starts) - np.minimum.reduceat(uses, starts)).max()) <= 1


RANDOM, BALANCED = partial(Random, batch_size=8), partial(ClassBalanced, batch_size=8)
UNIFORM = partial(UniformMinibatch, samples_per_class=2, batch_size=8, epoch_length="match_iterations")


@pytest.mark.parametrize("then", [BALANCED, UNIFORM])
@pytest.mark.parametrize("world_size", [1, 3])
@pytest.mark.parametrize(
    ("start", "epochs", "switch"), [(0.8, 10, 8), (0.55, 20, 11), (0.75, 3, 3), (0.5, 3, 2), (0.0, 4, 0)]
)
def test_deferred_draws_as_its_first_and_then_as_its_second_sampler(
    then: Maker, world_size: int, start: float, epochs: int, switch: int
) -> None:
    for rank in range(world_size):
        facts = {"num_classes": 5, "seed": 3, "rank": rank, "world_size": world_size}
        sampler = Deferred(TARGETS, first=RANDOM, then=then, start=start, epochs=epochs, **facts)
        assert sampler.sampler is sampler
        for epoch in [*range(epochs), 0]:
            sampler.set_epoch(epoch)
            expected = batches((RANDOM if epoch < switch else then)(TARGETS, **facts), epoch)
            assert list(sampler) == expected
            assert len(sampler) == len(expected)


def test_deferred_starts_at_epoch_zero_and_leaves_no_trace() -> None:
    make = partial(Deferred, TARGETS, 5, RANDOM, UNIFORM, start=0.5, epochs=6)
    fresh = []
    for epoch in range(6):
        sampler = make()
        sampler.set_epoch(epoch)
        fresh.append(list(sampler))
    assert list(make()) == fresh[0]
    used = make()
    for epoch in (5, 0, 3, 3, 2):
        used.set_epoch(epoch)
        assert list(used) == fresh[epoch]


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [(RANDOM, BALANCED, True), (UNIFORM, RANDOM, True), (RANDOM, RANDOM, False)],
)
def test_deferred_balances_the_classes_if_one_of_its_samplers_does(first: Maker, then: Maker, expected: bool) -> None:
    assert Deferred(TARGETS, 5, first, then, start=0.8, epochs=5).balances_classes is expected


def test_deferred_refuses_samplers_of_different_lengths_and_says_what_to_set() -> None:
    then = partial(UniformMinibatch, samples_per_class=2)
    with pytest.raises(
        ValueError, match=r"^then=UniformMinibatch: must .* 10, not 8; .*epoch_length=match_iterations"
    ):
        Deferred(TARGETS, 5, RANDOM, then, start=0.8, epochs=5)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("start", 1), ("start", -0.1), ("start", "0.5"), ("start", None), ("epochs", 0), ("epochs", 2.5)],
)
def test_deferred_refuses_settings_outside_their_range(setting: str, value: Any) -> None:
    settings = {"start": 0.8, "epochs": 5, setting: value}
    with pytest.raises(ValueError, match=f"^{setting}={value}: must be a"):
        Deferred(TARGETS, 5, RANDOM, BALANCED, **settings)


def test_a_setting_of_a_deferred_sampler_is_named_in_full() -> None:
    with pytest.raises(ValueError, match=r"^first\.batch_size=0: must be"):
        Deferred(TARGETS, 5, partial(Random, batch_size=0), BALANCED, start=0.8, epochs=5)
    with pytest.raises(ValueError, match=r"^then\.samples_per_class=0: must be"):
        Deferred(TARGETS, 5, RANDOM, partial(UNIFORM, samples_per_class=0), start=0.8, epochs=5)


@pytest.mark.parametrize(("num_images", "batch_size"), [(10, 3), (9, 3), (7, 4), (2, 5)])
@pytest.mark.parametrize("world_size", [1, 2, 4, 7])
def test_sequential_gives_every_image_once_in_order(num_images: int, batch_size: int, world_size: int) -> None:
    steps = steps_of(partial(Sequential, num_images, batch_size), world_size, epoch=3)
    assert [index for step in steps for batch in step for index in batch] == list(range(num_images))
    assert max(len(batch) for step in steps for batch in step) <= batch_size


@pytest.mark.parametrize("sampler", [Random, ClassBalanced])
@pytest.mark.parametrize("batch_size", [0, -1, 81, 2.5, "8", None])
def test_a_batch_size_outside_its_range_is_refused(sampler: Maker, batch_size: Any) -> None:
    with pytest.raises(ValueError, match=f"batch_size={batch_size}"):
        sampler(TARGETS, 5, batch_size=batch_size)


@pytest.mark.parametrize("sampler", [ClassBalanced, UniformMinibatch])
@pytest.mark.parametrize("num_classes", [4, 6])
def test_classes_and_targets_that_do_not_match_are_refused(sampler: Maker, num_classes: int) -> None:
    with pytest.raises(ValueError, match=f"num_classes={num_classes}"):
        sampler(TARGETS, num_classes, batch_size=8)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"samples_per_class": 0}, "samples_per_class=0"),
        ({"samples_per_class": -1}, "samples_per_class=-1"),
        ({"samples_per_class": 1.5}, r"samples_per_class=1\.5"),
        ({"samples_per_class": "12"}, "samples_per_class=12"),
        ({"samples_per_class": 17}, "samples_per_class=17"),
        ({"classes_per_batch": 0}, "classes_per_batch=0"),
        ({"classes_per_batch": 6}, "classes_per_batch=6"),
        ({"batch_size": 4, "samples_per_class": 5}, "classes_per_batch=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 12.5}, r"batch_size=12\.5"),
        ({"epoch_length": "all"}, "epoch_length=all"),
    ],
)
def test_uniform_minibatch_refuses_settings_outside_their_range(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        UniformMinibatch(TARGETS, 5, **settings)


@pytest.mark.parametrize("batch_size", [0, -3])
def test_sequential_refuses_an_empty_batch(batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size={batch_size}"):
        Sequential(5, batch_size)
