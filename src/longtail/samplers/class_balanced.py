"""A class first, then one of its images: every class is drawn as often as any other."""

import numpy as np
from numpy.typing import ArrayLike

from longtail.samplers.batches import EpochBatches, Indices, by_class, check_batch_size


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
        self.members, self.counts = by_class(targets, num_classes)
        check_batch_size(batch_size, len(self.members), world_size)
        super().__init__(batch_size, -(-len(self.members) // batch_size), seed, rank, world_size)

    def order(self, epoch: int) -> Indices:
        """Return N independent draws."""
        rng = np.random.default_rng((self.seed, epoch))
        classes = rng.integers(len(self.counts), size=len(self.members))
        starts = np.cumsum(self.counts) - self.counts
        drawn: Indices = self.members[starts[classes] + rng.integers(self.counts[classes])]
        return drawn
