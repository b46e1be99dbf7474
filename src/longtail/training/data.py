"""The data of a run in batches: of any dataset, and of one that is made long-tailed."""

from collections.abc import Callable, Iterator
from itertools import chain, islice, repeat
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from longtail.datasets import ArrayImages, ImageData, Images
from longtail.imbalance import hold_out, subsample
from longtail.samplers import Sequential

Batch = tuple[Tensor, Any]  # images, their targets


def seed_draws(*moment: int) -> int:
    """Make what is drawn next a function of these numbers, whatever was drawn before; return the seed."""
    seed = int(np.random.SeedSequence(moment).generate_state(1, np.uint64)[0])
    torch.default_generator.manual_seed(seed)
    return seed


def another_seed(seed: int) -> int:
    """Return a seed whose draws are independent of those of the given one."""
    return int(np.random.SeedSequence((seed, 1)).generate_state(1)[0])


class Split(NamedTuple):
    """Some of the images of a dataset, by their indices."""

    images: Images
    indices: NDArray[np.int64]

    @classmethod
    def whole(cls, images: Images) -> "Split":
        """Take all images."""
        return cls(images, np.arange(len(images)))


class ImageBatches(L.LightningDataModule):
    """Serve whole batches of training, validation and test images.

    A batch is images uint8 (B, H, W, C) and their targets. On a GPU, images that are in memory are moved to it once
    and batches are gathered there.

    Args:
        data: the dataset as found.
        train: what is trained on.
        held_out: what is validated on; may be empty.
        class_counts: images to train on of each class, or boxes, (C,) int64.
        sampler: (targets, num_classes=, seed=, rank=, world_size=) -> a batch sampler.
        seed: of the order of the batches.
        eval_batch_size: images per evaluation batch.
        world_size: the number of processes that will train.

    Attributes:
        sampler: the batch sampler of the training images, until training starts that of the last process, whose
            batches are the smallest; a further one beside it adds as many images to each batch.
        position: the epoch in which a run goes on, and the number of its batches that are done.

    Raises:
        ValueError: the sampler does not fit the training images.
    """

    def __init__(
        self,
        data: ImageData,
        train: Split,
        held_out: Split,
        class_counts: Tensor,
        sampler: Callable[..., Any],
        seed: int = 0,
        eval_batch_size: int = 512,
        world_size: int = 1,
    ) -> None:
        super().__init__()
        self.data, self.train, self.held_out, self.class_counts = data, train, held_out, class_counts
        self.seed, self.eval_batch_size, self.own_sampler = seed, eval_batch_size, sampler
        self.world_size, self.num_classes = world_size, len(data.class_names)
        self._resident: dict[Images, Images] = {}
        self.begin()

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, (C,)."""
        return self.data.class_names

    @property
    def train_targets(self) -> Tensor:
        """The classes of the training images, as the sampler sees them, (N,)."""
        targets: Tensor = self.train.images.targets[self.train.indices]
        return targets

    def begin(
        self,
        sampler: Callable[..., Any] | None = None,
        epoch: int = 0,
        beside: Callable[..., Any] | None = None,
    ) -> None:
        """Take the sampler of a stage that begins with this epoch, or the run's own, and a further one beside it.

        Raises:
            ValueError: one of them does not fit the training images.
        """
        self._make_sampler, self._make_beside, self.position = sampler or self.own_sampler, beside, (epoch, 0)
        self.sampler, _ = self._samplers(self.world_size - 1, self.world_size)

    def _samplers(self, rank: int, world_size: int) -> tuple[Any, Any]:
        """Make the sampler, and the one beside it or None, whose draws are independent of the first one's."""
        targets, facts = self.train_targets.numpy(), {"rank": rank, "world_size": world_size}
        facts |= {"num_classes": self.num_classes}
        sampler = self._make_sampler(targets, seed=self.seed, **facts)
        if self._make_beside is None:
            return sampler, None
        return sampler, self._make_beside(targets, seed=another_seed(self.seed), **facts)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of the training images."""
        self.sampler, beside = self._samplers(*self._processes())
        batches = self.sampler if beside is None else Beside(self.sampler, beside)
        return self._loader(self.train, Rest(batches, *self.position))

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """The held-out images; no loader if there are none."""
        return self.in_order(self.held_out) if len(self.held_out.indices) else []

    def test_dataloader(self) -> DataLoader[Batch]:
        """The whole test set."""
        return self.in_order(Split.whole(self.data.test))

    def in_order(self, split: Split) -> DataLoader[Batch]:
        """Some of the images, in their order and as they are evaluated."""
        sampler = Sequential(len(split.indices), self.eval_batch_size, *self._processes())
        return self._loader(split._replace(images=split.images.for_evaluation()), Rest(sampler))

    def _processes(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _device(self) -> torch.device:
        strategy = getattr(self.trainer, "strategy", None)  # there is none before a training
        return strategy.root_device if strategy else torch.device("cpu")

    def _loader(self, split: Split, batches: "Rest") -> DataLoader[Batch]:
        # With batch_size=None each of them goes to the dataset as it is, and Lightning finds set_epoch.
        workers = 0 if split.images.in_memory else self.data.num_workers
        images = self._near(split.images)
        return DataLoader(
            Subset(images, split.indices, self.seed),
            sampler=batches,
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=self._device().type == "cuda" and images.targets.device.type == "cpu",
        )

    def _near(self, images: Images) -> Images:
        """The images in the GPU's memory, where they are needed, unless they would fill more than a quarter of it."""
        device = self._device()
        if device.type != "cuda" or not isinstance(images, ArrayImages):
            return images
        if images not in self._resident and images.pixels.nbytes <= torch.cuda.mem_get_info(device)[0] // 4:
            self._resident[images] = images.to(device)
        return self._resident.get(images, images)


class LongTailData(ImageBatches):
    """Hold out validation images of each class, and take the long-tailed subset of the rest.

    Targets are classes, int64 (B,).

    Args:
        data: the dataset as found.
        imbalance: (available (C,)) -> counts (C,).
        sampler: (targets, num_classes=, seed=, rank=, world_size=) -> a batch sampler.
        validation_per_class: images of each class held out of the pool before it is made long-tailed; 0 where the
            dataset has held-out images of its own.
        subset_seed: of the held-out and the long-tailed subset; 0 is the literature's.
        seed: of the order of the batches.
        eval_batch_size: images per evaluation batch.
        world_size: the number of processes that will train.

    Attributes:
        available: images per class in the pool, (C,) int64.

    Raises:
        ValueError: a setting does not fit the data; nothing has been trained then.
    """

    def __init__(
        self,
        data: ImageData,
        imbalance: Callable[[Tensor], Tensor],
        sampler: Callable[..., Any],
        validation_per_class: int = 0,
        subset_seed: int = 0,
        seed: int = 0,
        eval_batch_size: int = 512,
        world_size: int = 1,
    ) -> None:
        targets, num_classes = data.train.targets, len(data.class_names)
        if data.validation is not None and validation_per_class:
            raise ValueError(
                f"validation_per_class={validation_per_class}: must be 0, the dataset has held-out images of its own"
            )
        pool, held_out = hold_out(targets, num_classes, validation_per_class, subset_seed)
        available = targets[pool].bincount(minlength=num_classes)
        counts = torch.as_tensor(imbalance(available), dtype=torch.int64)
        train = pool[subsample(targets[pool], counts, subset_seed)]
        chosen, kept = Split(data.train, train), Split(data.train, held_out)
        if data.validation is not None:
            kept = Split.whole(data.validation)
        super().__init__(data, chosen, kept, counts, sampler, seed, eval_batch_size, world_size)
        self.available = available


class Step(NamedTuple):
    """The images of a batch, by their positions among those of the split, and when they are drawn."""

    positions: list[int]
    epoch: int
    number: int


class Beside(Sampler[list[int]]):
    """Batches of two samplers: those of the first, each followed by as many indices from the second.

    Epochs are as long as the first one's. The second is read as one stream of indices, whatever the size of its
    batches: it starts again from its beginning where it is too short, and its rest is left out where it is too long.

    Args:
        first: yields lists of indices, has `__len__` and `set_epoch`.
        second: the same; its epochs have an index at least.
    """

    def __init__(self, first: Any, second: Any) -> None:
        self.first, self.second = first, second

    def set_epoch(self, epoch: int) -> None:
        """Select the order of this epoch, 0, 1, ..., of both."""
        self.first.set_epoch(epoch)
        self.second.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.first)

    def __iter__(self) -> Iterator[list[int]]:
        stream = chain.from_iterable(chain.from_iterable(repeat(self.second)))
        for batch in self.first:
            yield [*batch, *islice(stream, len(batch))]


class Rest(Sampler[Step]):
    """The batches of a sampler, without the first ones of the epoch in which a run goes on.

    Args:
        sampler: yields lists of indices, has `__len__` and `set_epoch`.
        epoch: the first one, from 0.
        done: its batches that are left out.
    """

    def __init__(self, sampler: Any, epoch: int = 0, done: int = 0) -> None:
        self.batches, self.first, self.done = sampler, epoch, done
        self.set_epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        """Select the order of this epoch, 0, 1, ..."""
        self.epoch = epoch
        self.batches.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Step]:
        steps = (Step(positions, self.epoch, number) for number, positions in enumerate(self.batches))
        return islice(steps, self.done if self.epoch == self.first else 0, None)


class Subset(Dataset[Batch]):
    """Some of the images; indexed by a whole step, it gives a whole batch, where the images are.

    What is drawn while streamed images are decoded follows from the seed and the step.
    """

    def __init__(self, images: Images, indices: NDArray[np.int64], seed: int = 0) -> None:
        self.images, self.seed = images, seed
        self.indices = torch.from_numpy(indices).to(images.targets.device)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, step: Step) -> Batch:
        positions = step.positions
        if not self.images.in_memory:
            seed_draws(self.seed, step.epoch, step.number, *positions)  # which each process has of its own
        where = torch.tensor(positions, dtype=torch.int64).to(self.indices.device, non_blocking=True)
        indices = self.indices.index_select(0, where)
        pixels = self.images.batch(indices if positions else self.indices[:1])
        return pixels[: len(positions)], self.images.targets.index_select(0, indices)
