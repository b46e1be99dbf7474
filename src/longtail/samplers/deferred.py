"""Deferred re-sampling: one sampler first, another for the rest of the run."""

from collections.abc import Callable, Iterator
from typing import Any

from numpy.typing import ArrayLike
from torch.utils.data import Sampler

from longtail.ranges import check_whole


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
        check_whole("epochs", epochs)
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
