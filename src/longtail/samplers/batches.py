"""What samplers have in common: an epoch of indices, cut into batches for each process."""

from collections.abc import Iterator
from itertools import pairwise

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


class Sequential(EpochBatches):
    """Every image once, in order, for evaluation; with fewer images than processes some batches are empty."""

    def __init__(self, num_images: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.num_images = num_images
        check_batch_size(batch_size, max(batch_size, num_images))
        super().__init__(batch_size, max(-(-num_images // batch_size), world_size), 0, rank, world_size)

    def order(self, epoch: int) -> Indices:
        """Return 0 .. N - 1."""
        return np.arange(self.num_images)


def check_batch_size(batch_size: int, num_images: int, world_size: int = 1) -> None:
    """Check that each of so many processes can have a batch of this size.

    Raises:
        ValueError: it is below 1, or there are fewer images.
    """
    if not (isinstance(batch_size, int) and 1 <= batch_size <= num_images // world_size):
        raise ValueError(
            f"batch_size={batch_size}: must be in [1, {num_images // world_size}],"
            f" the number of training images{each_of(world_size)}"
        )


def each_of(world_size: int) -> str:
    """Say how many processes something is for; nothing of a single one."""
    return f" for each of {world_size} processes" if world_size > 1 else ""


def by_class(targets: ArrayLike, num_classes: int) -> tuple[Indices, Indices]:
    """Return the indices sorted by class, (N,), and the number of images per class, (C,).

    Raises:
        ValueError: a class has no image, or an image is of none of the classes.
    """
    targets = np.asarray(targets)
    counts = np.bincount(targets, minlength=num_classes)
    if len(counts) > num_classes or counts.min() == 0:
        raise ValueError(
            f"num_classes={num_classes}: every class 0 .. {num_classes - 1} must have an image and no other may occur"
        )
    return np.argsort(targets, kind="stable"), counts
