"""Every image once an epoch, in random order."""

import numpy as np
from numpy.typing import ArrayLike

from longtail.samplers.batches import EpochBatches, Indices, check_batch_size


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
        check_batch_size(batch_size, self.num_images, world_size)
        super().__init__(batch_size, -(-self.num_images // batch_size), seed, rank, world_size)

    def order(self, epoch: int) -> Indices:
        """Return a permutation of 0 .. N - 1."""
        order: Indices = np.random.default_rng((self.seed, epoch)).permutation(self.num_images)
        return order
