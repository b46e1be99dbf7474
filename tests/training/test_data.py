"""The data of a run: the chosen subset, the batches, the processes."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from longtail.datasets import ArrayImages, ImageData, digits, image_folder
from longtail.imbalance import exponential
from longtail.samplers import ClassBalanced, Random, Sequential, UniformMinibatch
from longtail.training.data import Beside, LongTailData

from ..conftest import Finished, MakeImages, metrics

RNG = np.random.default_rng(0)
TARGETS = RNG.permutation(np.repeat(np.arange(10), 60))


def dataset() -> ImageData:
    """600 images whose first pixel tells their index."""
    pixels = np.zeros((600, 8, 8, 3), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = np.arange(600) // 256, np.arange(600) % 256
    images = ArrayImages(pixels, TARGETS)
    return ImageData(images, images, list("abcdefghij"), (3, 8, 8))


def make(batch_size: int = 16, **options: Any) -> LongTailData:
    return LongTailData(dataset(), partial(exponential, ratio=20), partial(Random, batch_size=batch_size), **options)


def identity(images: torch.Tensor) -> list[int]:
    return (images[:, 0, 0, 0].int() * 256 + images[:, 0, 0, 1].int()).tolist()


def test_training_images_are_ldams_subset() -> None:
    np.random.seed(0)
    expected = []
    for c, n in enumerate(exponential([60] * 10, 20).tolist()):
        members = np.where(c == TARGETS)[0]
        np.random.shuffle(members)
        expected += members[:n].tolist()
    data = make()
    assert data.train.indices.tolist() == expected
    assert data.class_counts.tolist() == np.bincount(TARGETS[expected], minlength=10).tolist()


def test_a_run_normalises_by_the_images_that_it_trains_on(finished: Finished) -> None:
    data = LongTailData(
        digits(), partial(exponential, ratio=50), partial(Random, batch_size=16), validation_per_class=10
    )
    state = torch.load(finished.directory / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    pixels = data.data.train.batch(data.train.indices.tolist()).double() / 255
    assert data.class_counts.tolist() == metrics(finished.directory)["fingerprint"]["class_counts"]
    torch.testing.assert_close(state["normalize.shift"], (-pixels.mean() / pixels.std(correction=0)).float()[None])


def test_images_that_the_dataset_holds_out_are_validated_on() -> None:
    data = replace(dataset(), validation=ArrayImages(np.full((7, 8, 8, 3), 9, np.uint8), [3] * 7))
    sampler = partial(Random, batch_size=16)
    split = LongTailData(data, partial(exponential, ratio=20), sampler)
    [(images, targets)] = split.val_dataloader()
    assert images.unique().tolist() == [9]
    assert targets.tolist() == [3] * 7
    assert split.available.tolist() == [60] * 10
    with pytest.raises(ValueError, match=r"^validation_per_class=5: must be 0, the dataset has held-out images"):
        LongTailData(data, partial(exponential, ratio=20), sampler, validation_per_class=5)


def test_batches_hold_the_images_of_their_targets() -> None:
    data, seen = make(), []
    for images, targets in data.train_dataloader():
        assert TARGETS[identity(images)].tolist() == targets.tolist()
        seen += identity(images)
    assert sorted(seen) == sorted(data.train.indices.tolist())


def test_held_out_images_are_balanced_and_not_trained_on() -> None:
    data = make(validation_per_class=7)
    held_out = [i for images, _ in data.val_dataloader() for i in identity(images)]
    assert np.bincount(TARGETS[held_out]).tolist() == [7] * 10
    assert not set(held_out) & set(data.train.indices.tolist())
    assert int(data.class_counts.max()) == 53


def test_without_held_out_images_there_is_no_validation() -> None:
    assert make().val_dataloader() == []


def test_the_whole_test_set_is_served_once_in_order() -> None:
    data = make(eval_batch_size=37)
    assert [i for images, _ in data.test_dataloader() for i in identity(images)] == list(range(600))


def test_two_processes_share_the_batches_without_overlap_or_padding() -> None:
    whole = [identity(images) for images, _ in make().train_dataloader()]
    parts, tests = [], []
    for rank in range(2):
        data = make(batch_size=8, eval_batch_size=50)
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2)  # type: ignore[assignment]
        parts.append([identity(images) for images, _ in data.train_dataloader()])
        tests += [i for images, _ in data.test_dataloader() for i in identity(images)]
    assert [one + other for one, other in zip(*parts, strict=True)] == whole
    assert sorted(tests) == list(range(600))


def test_a_second_sampler_adds_as_many_images_to_each_batch() -> None:
    data, plain = make(batch_size=48), make(batch_size=48)
    data.begin(beside=partial(ClassBalanced, batch_size=7), epoch=2)
    plain.begin(epoch=2)
    added: list[int] = []
    for (images, targets), (first, _) in zip(data.train_dataloader(), plain.train_dataloader(), strict=True):
        assert len(images) == 2 * len(first)
        assert identity(images)[: len(first)] == identity(first)
        assert TARGETS[identity(images)].tolist() == targets.tolist()
        added += identity(images)[len(first) :]
    assert set(added) < set(data.train.indices.tolist())
    assert np.bincount(TARGETS[added]).min() > 5
    assert len(data.sampler) == len(plain.sampler)


def test_a_second_sampler_draws_on_its_own() -> None:
    data = LongTailData(dataset(), partial(exponential, ratio=20), partial(ClassBalanced, batch_size=48))
    data.begin(beside=partial(ClassBalanced, batch_size=48))
    images, _ = next(iter(data.train_dataloader()))
    assert identity(images[:48]) != identity(images[48:])


def test_a_second_sampler_starts_again_where_it_is_too_short() -> None:
    batches = Beside(Sequential(7, 3), Sequential(2, 5))
    assert list(batches) == [[0, 1, 2, 0, 1, 0], [3, 4, 5, 1, 0, 1], [6, 0]]
    assert len(batches) == 3


def test_two_processes_share_what_two_samplers_draw() -> None:
    def batches(size: int, rank: int, processes: int) -> list[list[int]]:
        data = make(batch_size=size)
        data.begin(beside=partial(ClassBalanced, batch_size=size))
        data.trainer = SimpleNamespace(global_rank=rank, world_size=processes)  # type: ignore[assignment]
        return [identity(images) for images, _ in data.train_dataloader()]

    for whole, one, other in zip(batches(16, 0, 1), batches(8, 0, 2), batches(8, 1, 2), strict=True):
        (a, b), (c, d) = ((half[: len(half) // 2], half[len(half) // 2 :]) for half in (one, other))
        assert [*a, *c, *b, *d] == whole


def test_the_seed_of_the_order_does_not_change_the_subset() -> None:
    one, two = make(seed=1), make(seed=2)
    assert one.train.indices.tolist() == two.train.indices.tolist()
    assert identity(next(iter(one.train_dataloader()))[0]) != identity(next(iter(two.train_dataloader()))[0])
    assert make(subset_seed=1).train.indices.tolist() != one.train.indices.tolist()


def test_a_sampler_that_does_not_fit_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"batch_size=4000: must be in \[1, "):
        LongTailData(dataset(), partial(exponential, ratio=20), partial(Random, batch_size=4000))
    with pytest.raises(ValueError, match=r"samples_per_class=50"):
        LongTailData(dataset(), partial(exponential, ratio=20), partial(UniformMinibatch, samples_per_class=50))


def test_streamed_images_are_cropped_anew_in_each_epoch_the_same_way_each_time(make_images: MakeImages) -> None:
    def epoch(number: int) -> list[bytes]:
        data = LongTailData(images, lambda available: available, partial(Random, batch_size=1))
        data.begin(epoch=number)
        batches = data.train_dataloader()
        order = [step.positions[0] for step in batches.sampler]
        return [pixels.numpy().tobytes() for _, (pixels, _) in sorted(zip(order, batches, strict=True))]

    root = make_images({"a": 2, "b": 2}, {"a": 1, "b": 1})
    images = image_folder(str(root), str(root / "data"), image_size=16, memory_limit=1, num_workers=0)
    first, second = epoch(0), epoch(1)
    assert first == epoch(0)
    assert all(one != other for one, other in zip(first, second, strict=True))
