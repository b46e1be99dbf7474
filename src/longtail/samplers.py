"""Batch samplers: which training images make up a batch.

Each is called `(targets, num_classes=, seed=, rank=, world_size=)` and yields lists of indices into `targets`. The
order is a pure function of (seed, epoch), whatever was drawn before. A step of w processes takes the next
w * batch_size indices, and each process its share of them, so that w processes with batches of b train as one with
batches of w * b. Every process yields the same number of batches.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Sampler

Indices = NDArray[np.int64]


class EpochBatches(Sampler[list[int]]):
    """Cut the indices of an epoch into batches; a subclass defines their order.

    The last step takes what is left, in shares that differ by one image at most. Where that is less than an image for
    each process, the step before it leaves it as many as are needed.

    Args:
        batch_size: images per batch and rank.
        num_batches: batches per epoch, over all ranks.
        seed: seed of the order.
        rank: index of this process.
        world_size: number of processes.

    Attributes:
        balances_classes: whether every class is drawn equally often.

    Raises:
        ValueError: there are fewer batches than processes.
    """

    balances_classes = False

    def __init__(self, batch_size: int, num_batches: int, seed: int, rank: int, world_size: int) -> None:
        if num_batches < world_size:
            raise ValueError(
                f"batch_size={batch_size}: {num_batches} batches an epoch, "
                f"must be at least one for each of {world_size} processes"
            )
        self.batch_size, self.num_batches = batch_size, num_batches
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.epoch = 0
        # Lightning calls set_epoch on `batch_sampler.sampler`, never on the batch sampler itself.
        self.sampler = self

    def set_epoch(self, epoch: int) -> None:
        """Select the order of this epoch, 0, 1, ..."""
        self.epoch = epoch

    def order(self, epoch: int) -> Indices:
        """Return all indices of the epoch, batch after batch, over all ranks."""
        raise TypeError(f"{type(self).__name__} must define order(epoch)")

    def __len__(self) -> int:
        return -(-self.num_batches // self.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = self.order(self.epoch)[: self.num_batches * self.batch_size]
        cuts = [step * self.world_size * self.batch_size for step in range(len(self))] + [len(order)]
        cuts[-2] = max(0, min(cuts[-2], len(order) - self.world_size))
        for start, end in pairwise(cuts):
            yield np.array_split(order[start:end], self.world_size)[self.rank].tolist()


class Random(EpochBatches):
    """Every image once per epoch in random order: ceil(N / batch_size) batches, of which the last may be smaller.

    Raises:
        ValueError: batch_size is below 1, or above N for all processes together.
    """

    def __init__(
        self,
        targets: ArrayLike,
        num_classes: int,
        batch_size: int = 128,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.num_images = len(np.asarray(targets))
        _check_batch_size(batch_size, self.num_images, world_size)
        super().__init__(batch_size, -(-self.num_images // batch_size), seed, rank, world_size)

    def order(self, epoch: int) -> Indices:
        """Return a permutation of 0 .. N - 1."""
        order: Indices = np.random.default_rng((self.seed, epoch)).permutation(self.num_images)
        return order


class ClassBalanced(EpochBatches):
    """N draws per epoch with replacement: a class uniformly, then one of its images uniformly.

    That is the distribution of drawing images with weight 1 / n, n the number of images of their class. It takes as
    many steps and sees as many images as `Random`.

    Raises:
        ValueError: batch_size is below 1, or above N for all processes together; a class has no image.
    """

    balances_classes = True

    def __init__(
        self,
        targets: ArrayLike,
        num_classes: int,
        batch_size: int = 128,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.members, self.counts = _by_class(targets, num_classes)
        _check_batch_size(batch_size, len(self.members), world_size)
        super().__init__(batch_size, -(-len(self.members) // batch_size), seed, rank, world_size)

    def order(self, epoch: int) -> Indices:
        """Return N independent draws."""
        rng = np.random.default_rng((self.seed, epoch))
        classes = rng.integers(len(self.counts), size=len(self.members))
        starts = np.cumsum(self.counts) - self.counts
        drawn: Indices = self.members[starts[classes] + rng.integers(self.counts[classes])]
        return drawn


class UniformMinibatch(EpochBatches):
    """Exactly `samples_per_class` images of each class in every batch (Park, Piao and Kim, uniform mini-batches).

    That is each process's batch: w processes with s train as one with w * s. Those with k classes per batch train as
    one with w * k, all different, if there are as many.

    Each class is an endless queue of its images, reshuffled whenever it is used up. The queue carries on from epoch
    to epoch, so that the use counts of a class's images never differ by more than 1; a class with fewer than
    `samples_per_class` images repeats some within a batch.

    Where the classes do not all fit into a batch (`num_classes > batch_size`, or a smaller `classes_per_batch`), a
    batch holds some of them, all different, drawn from an endless queue of classes.

    Args:
        targets: (N,) integer class per image.
        num_classes: C.
        samples_per_class: s, images of a class in a batch, >= 1; None for batch_size // C, at least 1. The paper does
            not state its s.
        batch_size: decides whether all classes fit, and is the baseline's for `epoch_length="match_iterations"`; the
            batches of this sampler have s * (classes in a batch) images.
        classes_per_batch: None for all classes if C <= batch_size, else batch_size // s.
        epoch_length: "images" for N // (s * classes in a batch) batches, so that about N images are seen;
            "match_iterations" for as many batches as `Random` with `batch_size`;
            "oversample" to draw every class at least as often as the largest class has images.
        seed: seed of the order.
        rank: index of this process.
        world_size: number of processes.

    Raises:
        ValueError: a setting is outside its range, a class has no image, or N is smaller than a batch.
    """

    balances_classes = True

    def __init__(
        self,
        targets: ArrayLike,
        num_classes: int,
        samples_per_class: int | None = None,
        batch_size: int = 128,
        classes_per_batch: int | None = None,
        epoch_length: str = "images",
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.members, self.counts = _by_class(targets, num_classes)
        _check_batch_size(batch_size, max(len(self.members), batch_size))
        if samples_per_class is None:
            samples_per_class = max(batch_size // num_classes, 1)
        if not (isinstance(samples_per_class, int) and samples_per_class >= 1):
            raise ValueError(f"samples_per_class={samples_per_class}: must be null or a whole number >= 1")
        if classes_per_batch is None:
            classes_per_batch = num_classes if num_classes <= batch_size else batch_size // samples_per_class
        if not 1 <= classes_per_batch <= num_classes:
            raise ValueError(
                f"classes_per_batch={classes_per_batch}: must be in [1, {num_classes}]"
                f" (by default batch_size // samples_per_class = {batch_size} // {samples_per_class})"
            )
        self.samples_per_class, self.classes_per_batch = samples_per_class, classes_per_batch
        size, n = samples_per_class * classes_per_batch, len(self.members)
        slots = num_classes * -(-int(self.counts.max()) // samples_per_class)
        lengths = {  # in steps of all processes
            "images": n // (size * world_size),
            "match_iterations": -(-n // (batch_size * world_size)),
            "oversample": -(-slots // (classes_per_batch * world_size)),
        }
        if epoch_length not in lengths:
            raise ValueError(f"epoch_length={epoch_length}: must be one of {', '.join(lengths)}")
        if lengths[epoch_length] == 0:
            raise ValueError(
                f"samples_per_class={samples_per_class}: a batch of {samples_per_class} x {classes_per_batch} classes"
                f"{_each(world_size)} must not be larger than the {n} training images"
            )
        super().__init__(size, lengths[epoch_length] * world_size, seed, rank, world_size)

    def order(self, epoch: int) -> Indices:
        """Return, for the class of each slot in turn, the next `samples_per_class` images of its queue."""
        slots = self._class_slots(epoch)
        s = self.samples_per_class
        order = np.empty((len(slots), s), dtype=np.int64)
        first = s * self._slots_before(epoch)
        draws = s * np.bincount(slots, minlength=len(self.counts))
        # A stable sort lists the slots of a class in the order of their batches.
        order[np.argsort(slots, kind="stable")] = self._queue(first, draws).reshape(-1, s)
        return order.reshape(-1)

    def _slots_before(self, epoch: int) -> Indices:
        """Count the slots that each class has had in epochs 0 .. epoch - 1, (C,), in closed form."""
        num_classes, total = len(self.counts), self.num_batches * self.classes_per_batch
        full, extra = divmod(total, num_classes)
        windows, rest = divmod(epoch * extra, num_classes)
        before = np.full(num_classes, epoch * full + windows)
        before[self._class_cycle()[:rest]] += 1
        return before

    def _class_slots(self, epoch: int) -> Indices:
        """Return the class of each slot of the epoch, (num_batches * classes_per_batch,), distinct within a batch.

        Where there are enough classes they are distinct within a step, over the batches of all processes.

        `extra` classes, the next window of a fixed cycle, come before `full` passes over all classes, so that over
        the epochs all classes have the same number of slots, give or take one.
        """
        num_classes, size = len(self.counts), self.classes_per_batch
        if size == num_classes:
            return np.tile(np.arange(num_classes), self.num_batches)
        rng = np.random.default_rng((self.seed, epoch))
        full, extra = divmod(self.num_batches * size, num_classes)
        size *= self.world_size if size * self.world_size <= num_classes else 1
        window = (epoch * extra + np.arange(extra)) % num_classes
        passes = [rng.permutation(self._class_cycle()[window])]
        done = extra
        for _ in range(full):
            classes = rng.permutation(num_classes)
            if open_slots := done % size:
                # A step is half full: what is in it must not come again before it is complete.
                in_batch = np.concatenate(passes[-2:])[-open_slots:]
                repeated = np.isin(classes, in_batch)
                ahead = size - open_slots
                clash = np.flatnonzero(repeated[:ahead])
                free = ahead + np.flatnonzero(~repeated[ahead:])[: len(clash)]
                classes[clash], classes[free] = classes[free], classes[clash]
            passes.append(classes)
            done += num_classes
        return np.concatenate(passes)

    def _class_cycle(self) -> Indices:
        # The last part keeps its draws apart from those of the epochs: (seed,) would be the same as (seed, 0).
        return np.random.default_rng((self.seed, 0, 1)).permutation(len(self.counts))

    def _queue(self, first: Indices, draws: Indices) -> Indices:
        """Return positions first .. first + draws - 1 of every class's queue, class after class, (sum(draws),).

        Pass k over a class is ordered by a hash of (seed, k, image), so that any stretch of any queue can be made
        without the ones before it, for all classes at once.
        """
        n, num_classes = self.counts, len(self.counts)
        first_pass = first // n
        num_passes = np.where(draws > 0, (first + draws - 1) // n - first_pass + 1, 0)
        # One segment per (class, pass), one element per image in it.
        segment_class = np.repeat(np.arange(num_classes), num_passes)
        segment_pass = _ranges(first_pass, num_passes)
        length = n[segment_class]
        segment = np.repeat(np.arange(len(segment_class)), length)
        starts = np.cumsum(n) - n
        image = self.members[_ranges(starts[segment_class], length)]
        key = _hash32(self.seed, segment_pass[segment], image)
        queue = image[np.argsort((segment.astype(np.uint64) << np.uint64(32)) | key, kind="stable")]
        made = num_passes * n
        return queue[_ranges(np.cumsum(made) - made + first - first_pass * n, draws)]


class Deferred(Sampler[list[int]]):
    """Deferred re-sampling (DRS): one sampler, then another for the rest of the run (Cao et al. 2019, section 3.3).

    `then` takes over at the first epoch with epoch / epochs >= start, which is epoch ceil(start * epochs) from 0.

    Args:
        targets: (N,) integer class per image.
        num_classes: C.
        first: (targets, num_classes=, seed=, rank=, world_size=) -> batch sampler, used before `start`.
        then: the same, used from `start` on; an epoch must have as many batches as with `first`, because Lightning
            reads that number once.
        start: fraction of the epochs, in [0, 1).
        epochs: epochs of the run, >= 1.
        seed: seed of both samplers.
        rank: index of this process.
        world_size: number of processes.

    Attributes:
        balances_classes: whether either sampler does.

    Raises:
        ValueError: start, epochs or a setting of either sampler, named `then.samples_per_class` and the like, is
            outside its range, or the numbers of batches differ.
    """

    def __init__(
        self,
        targets: ArrayLike,
        num_classes: int,
        first: Callable[..., Any],
        then: Callable[..., Any],
        start: float,
        epochs: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not (isinstance(start, int | float) and 0 <= start < 1):
            raise ValueError(f"start={start}: must be a fraction of the epochs in [0, 1)")
        if not (isinstance(epochs, int) and epochs >= 1):
            raise ValueError(f"epochs={epochs}: must be a whole number >= 1")
        self.stages = []
        for name, make in (("first", first), ("then", then)):
            try:
                sampler = make(targets, num_classes=num_classes, seed=seed, rank=rank, world_size=world_size)
            except ValueError as error:
                raise ValueError(f"{name}.{error}") from error
            self.stages.append(sampler)
        before, after = map(len, self.stages)
        if before != after:
            raise ValueError(
                f"then={type(self.stages[1]).__name__}: must make as many batches an epoch as first, {before}, not"
                f" {after}; sampler.then.epoch_length=match_iterations does so for uniform_minibatch"
            )
        self.start, self.epochs = start, epochs
        self.balances_classes = any(getattr(stage, "balances_classes", False) for stage in self.stages)
        self.sampler = self
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Select the sampler of this epoch, 0, 1, ..., and its order."""
        self.stage = self.stages[epoch / self.epochs >= self.start]
        self.stage.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.stage)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.stage)


class Sequential(EpochBatches):
    """Every image once, in order, for evaluation; with fewer images than processes some batches are empty."""

    def __init__(self, num_images: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.num_images = num_images
        _check_batch_size(batch_size, max(batch_size, num_images))
        super().__init__(batch_size, max(-(-num_images // batch_size), world_size), 0, rank, world_size)

    def order(self, epoch: int) -> Indices:
        """Return 0 .. N - 1."""
        return np.arange(self.num_images)


def _check_batch_size(batch_size: int, num_images: int, world_size: int = 1) -> None:
    if not (isinstance(batch_size, int) and 1 <= batch_size <= num_images // world_size):
        raise ValueError(
            f"batch_size={batch_size}: must be in [1, {num_images // world_size}],"
            f" the number of training images{_each(world_size)}"
        )


def _each(world_size: int) -> str:
    return f" for each of {world_size} processes" if world_size > 1 else ""


def _by_class(targets: ArrayLike, num_classes: int) -> tuple[Indices, Indices]:
    """Return the indices sorted by class, (N,), and the number of images per class, (C,)."""
    targets = np.asarray(targets)
    counts = np.bincount(targets, minlength=num_classes)
    if len(counts) > num_classes or counts.min() == 0:
        raise ValueError(
            f"num_classes={num_classes}: every class 0 .. {num_classes - 1} must have an image and no other may occur"
        )
    return np.argsort(targets, kind="stable"), counts


def _ranges(starts: Indices, lengths: Indices) -> Indices:
    """Concatenate the ranges [start, start + length), without a loop."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)


def _hash32(seed: int, a: Indices, b: Indices) -> NDArray[np.uint64]:
    """Hash (seed, a, b) to 32 uniform bits, each part mixed into what the parts before it have become."""
    z = _mix(np.array([seed % 2**64], dtype=np.uint64))
    for part in (a, b):
        z = _mix(z ^ part.astype(np.uint64))
    return z >> np.uint64(32)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a round of SplitMix64 (Steele et al. 2014), a bijection of 64 bits."""
    z = z * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
