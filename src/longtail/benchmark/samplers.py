"""Drawing an epoch of batches, against the samplers of pytorch-metric-learning and torchsampler."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import BatchSampler

from longtail.benchmark.report import Comparison, Goal, Measured, Settings, compare, require
from longtail.samplers import ClassBalanced, UniformMinibatch

Batches = Callable[[], Iterable[Sequence[int]]]  # makes a sampler; what it gives is one epoch


@dataclass(frozen=True)
class Size:
    """The size of a long-tailed dataset.

    Attributes:
        images: N.
        classes: C.
        largest: images of the largest class.
        batch_size: images in a batch.
        samples_per_class: images of a class in a uniform mini-batch.
    """

    images: int
    classes: int
    largest: int
    batch_size: int
    samples_per_class: int

    def targets(self) -> NDArray[np.int64]:
        """The class of each image, (N,): sizes fall geometrically from the largest class to at least 2 images."""
        low, high = 0.0, 1.0
        for _ in range(60):  # the fall that gives N images
            middle = (low + high) / 2
            if self._counts(middle).sum() > self.images:
                high = middle
            else:
                low = middle
        counts = self._counts(low)
        missing = self.images - int(counts.sum())
        counts[1 : 1 + missing] += 1
        targets: NDArray[np.int64] = np.random.default_rng(0).permutation(np.repeat(np.arange(self.classes), counts))
        return targets

    def _counts(self, smallest_share: float) -> NDArray[np.int64]:
        falling = np.maximum(smallest_share, 1e-12) ** np.linspace(0, 1, self.classes)
        counts: NDArray[np.int64] = np.maximum(self.largest * falling, 2).astype(np.int64)
        return counts


SIZES = {
    "cifar10": Size(13_996, 10, 5000, batch_size=120, samples_per_class=12),
    "imagenet-lt": Size(115_846, 1000, 1280, batch_size=256, samples_per_class=4),
    "inaturalist": Size(437_513, 8142, 1000, batch_size=256, samples_per_class=4),
}


def uniform(size: Size, targets: NDArray[np.int64]) -> tuple[Batches, Batches]:
    """The same number of batches with so many images of each of their classes, by both."""

    def ours() -> UniformMinibatch:
        per_batch = size.batch_size // size.samples_per_class
        return UniformMinibatch(
            targets, size.classes, size.samples_per_class, size.batch_size, classes_per_batch=per_batch
        )

    their_sampler = require("pytorch_metric_learning.samplers").MPerClassSampler
    images = len(targets) // size.batch_size * size.batch_size

    def theirs() -> BatchSampler:
        sampler = their_sampler(targets, size.samples_per_class, size.batch_size, length_before_new_iter=images)
        return BatchSampler(sampler, size.batch_size, drop_last=False)

    return ours, theirs


def balanced(size: Size, targets: NDArray[np.int64]) -> tuple[Batches, Batches]:
    """As many images as there are, each of a class drawn uniformly, by both."""
    their_sampler = require("torchsampler").ImbalancedDatasetSampler

    def theirs() -> BatchSampler:
        sampler = their_sampler(range(len(targets)), labels=targets)
        return BatchSampler(sampler, size.batch_size, drop_last=False)

    return lambda: ClassBalanced(targets, size.classes, size.batch_size), theirs


def speed(settings: Settings, size: Size, sides: Callable[..., tuple[Batches, Batches]]) -> Measured:
    """Seconds to make a sampler and to draw one epoch."""
    ours, theirs = sides(size, size.targets())

    def timing(make: Batches) -> float:
        started = time.perf_counter()
        for _ in make():
            pass
        return time.perf_counter() - started

    return compare(lambda: timing(ours), lambda: timing(theirs), settings)


def use_counts_differ_by(batches: Iterable[Sequence[int]], targets: NDArray[np.int64]) -> int:
    """The largest difference between the use counts of two images of one class, over the batches."""
    used = np.bincount(np.concatenate([np.asarray(batch) for batch in batches]), minlength=len(targets))
    most, least = np.zeros(targets.max() + 1, np.int64), np.full(targets.max() + 1, len(targets))
    np.maximum.at(most, targets, used)
    np.minimum.at(least, targets, used)
    return int((most - least).max())


def batches_with_a_class_twice(batches: Iterable[Sequence[int]], targets: NDArray[np.int64], samples: int) -> int:
    """The number of batches in which a class has more than `samples` images."""
    return sum(int(np.bincount(targets[np.asarray(batch)]).max()) > samples for batch in batches)


def use_counts(settings: Settings, size: Size) -> Measured:
    """How unevenly the images of a class are used over one epoch of uniform mini-batches."""
    targets = size.targets()
    ours, theirs = uniform(size, targets)
    return Measured([use_counts_differ_by(ours(), targets)], [use_counts_differ_by(theirs(), targets)])


def repeated_classes(settings: Settings, size: Size) -> Measured:
    """In how many uniform mini-batches of an epoch a class comes twice."""
    targets = size.targets()
    ours, theirs = (
        batches_with_a_class_twice(make(), targets, size.samples_per_class) for make in uniform(size, targets)
    )
    return Measured([ours], [theirs])


def comparisons(name: str, size: Size) -> list[Comparison]:
    """The rows of one dataset size."""
    goal = Goal(at_least=10) if name == "inaturalist" else None
    what = f"{size.images:,} images of {size.classes:,} classes in batches of {size.batch_size}"
    both = f"UniformMinibatch against MPerClassSampler, {size.samples_per_class} per class: "
    return [
        Comparison(
            f"samplers/uniform-{name}",
            f"{both}construction and an epoch, {what}",
            "epoch",
            partial(speed, size=size, sides=uniform),
            goal,
        ),
        Comparison(
            f"samplers/uniform-{name}-uses",
            f"{both}largest difference of use counts within a class over an epoch",
            "epoch",
            partial(use_counts, size=size),
            Goal("ours", at_most=1),
            quantity="count",
        ),
        Comparison(
            f"samplers/uniform-{name}-repeats",
            f"{both}batches in which a class comes twice",
            "epoch",
            partial(repeated_classes, size=size),
            Goal("ours", at_most=0),
            quantity="count",
        ),
        Comparison(
            f"samplers/balanced-{name}",
            f"ClassBalanced against ImbalancedDatasetSampler: construction and an epoch, {what}",
            "epoch",
            partial(speed, size=size, sides=balanced),
            goal,
        ),
    ]


COMPARISONS = [row for name, size in SIZES.items() for row in comparisons(name, size)]
