"""Drawing an epoch of batches, against the samplers of pytorch-metric-learning and torchsampler."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import BatchSampler

from longtail.benchmark.report import Comparison, Goal, Measured, Settings, compare, require, timed
from longtail.samplers import ClassBalanced, UniformMinibatch

Batches = Callable[[], Iterable[Sequence[int]]]  # makes a sampler, which yields the batches of one epoch


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
        """Return the class of each image, (N,); sizes fall geometrically from the largest to at least 2 images."""
        low, high = 0.0, 1.0
        for _ in range(60):  # bisect for the decay that gives N images
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
    """Return both makers of uniform mini-batches, as many batches each."""

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
    """Return both makers of batches of N images, the class of each drawn uniformly."""
    their_sampler = require("torchsampler").ImbalancedDatasetSampler

    def theirs() -> BatchSampler:
        sampler = their_sampler(range(len(targets)), labels=targets)
        return BatchSampler(sampler, size.batch_size, drop_last=False)

    return lambda: ClassBalanced(targets, size.classes, size.batch_size), theirs


def speed(settings: Settings, size: Size, sides: Callable[..., tuple[Batches, Batches]]) -> Measured:
    """Return the seconds to make a sampler and to draw one epoch."""
    ours, theirs = (timed(lambda make=make: deque(make(), maxlen=0)) for make in sides(size, size.targets()))  # type: ignore[misc]
    return compare(ours, theirs, settings)


def use_counts_differ_by(batches: Iterable[Sequence[int]], targets: NDArray[np.int64], samples: int = 1) -> int:
    """Return the largest difference between the use counts of two images of one class, over the batches."""
    order = np.argsort(targets, kind="stable")
    starts = np.flatnonzero(np.diff(targets[order], prepend=-1))
    used = np.bincount(np.concatenate([np.asarray(batch) for batch in batches]), minlength=len(targets))[order]
    return int((np.maximum.reduceat(used, starts) - np.minimum.reduceat(used, starts)).max())


def batches_with_a_class_twice(batches: Iterable[Sequence[int]], targets: NDArray[np.int64], samples: int) -> int:
    """Return the number of batches in which a class has more than `samples` images."""
    return sum(int(np.bincount(targets[np.asarray(batch)]).max()) > samples for batch in batches)


def count(settings: Settings, size: Size, of: Callable[..., int]) -> Measured:
    """Return what `of` counts in an epoch of uniform mini-batches, of both samplers."""
    targets = size.targets()
    ours, theirs = (of(make(), targets, size.samples_per_class) for make in uniform(size, targets))
    return Measured([ours], [theirs])


def comparisons(name: str, size: Size) -> list[Comparison]:
    """Return the rows of one dataset size."""
    goal = Goal(10) if name == "inaturalist" else None
    epoch = f"set-up and an epoch, {size.images:,} images of {size.classes:,} classes in batches of {size.batch_size}"
    uniforms = f"UniformMinibatch against MPerClassSampler, {size.samples_per_class} per class"
    balances = "ClassBalanced against ImbalancedDatasetSampler"
    counts = (
        ("uses", "largest difference of use counts within a class", use_counts_differ_by, 1),
        ("repeats", "batches in which a class comes twice", batches_with_a_class_twice, 0),
    )
    speeds = (("uniform", uniforms, uniform), ("balanced", balances, balanced))
    return [
        Comparison(
            f"samplers/{kind}-{name}", f"{both}: {epoch}", "epoch", partial(speed, size=size, sides=sides), goal
        )
        for kind, both, sides in speeds
    ] + [
        Comparison(
            f"samplers/uniform-{name}-{kind}",
            f"{uniforms}: {text}",
            "epoch",
            partial(count, size=size, of=of),
            Goal(bound, "ours"),
            quantity="count",
        )
        for kind, text, of, bound in counts
    ]


COMPARISONS = [row for name, size in SIZES.items() for row in comparisons(name, size)]
