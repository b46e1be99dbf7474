"""Uniform mini-batches: as many images of each class in every batch (Park, Piao and Kim)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from longtail.samplers.batches import EpochBatches, Indices, by_class, check_batch_size, each_of


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
        self.members, self.counts = by_class(targets, num_classes)
        check_batch_size(batch_size, max(len(self.members), batch_size))
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
                f"{each_of(world_size)} must not be larger than the {n} training images"
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
