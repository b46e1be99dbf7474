"""`python -m longtail.benchmark`: how fast Longtail is beside the usual way, measured in turn in one process.

Absolute numbers depend on the machine; quote the ratios. Each comparison runs the two sides alternately and takes
the median over the rounds.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from longtail.augment import Normalize, PadCropFlip
from longtail.callbacks import Curves, ProgressBar, StopOnNonFiniteLoss
from longtail.classifier import Classifier
from longtail.datamodule import LongTailData
from longtail.datasets import ArrayImages, ImageData
from longtail.imbalance import exponential
from longtail.losses import Softmax
from longtail.models import ResNet, SmallCNN
from longtail.reweight import class_balanced
from longtail.samplers import Random, UniformMinibatch
from longtail.schedulers import warmup_multistep

BATCH, CLASSES = 128, 10
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
INATURALIST_2018 = (437_513, 8_142)  # training images, classes

Timing = Callable[[], float]  # seconds of one round


def noise(count: int, size: int, channels: int) -> ImageData:
    """A balanced dataset of random pixels."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, size, size, channels), dtype=np.uint8)
    images = ArrayImages(pixels, np.arange(count) % CLASSES)
    names = [str(c) for c in range(CLASSES)]
    return ImageData(images, images, names, (channels, size, size), PadCropFlip(pad=4))


def long_tail(data: ImageData) -> LongTailData:
    """The dataset with ratio 50 in random batches of 128."""
    return LongTailData(data, partial(exponential, ratio=50), partial(Random, batch_size=BATCH))


class PerImage(Dataset[tuple[Tensor, int]]):
    """The usual way: an image at a time, through PIL and torchvision's transforms."""

    def __init__(self, data: LongTailData) -> None:
        self.pixels = data.data.train.batch(data.train_indices.tolist()).numpy()
        self.targets = data.train_targets.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(self.pixels.shape[1], padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.targets[index]


def input_pipeline() -> tuple[Timing, Timing, int]:
    """An epoch of ready batches, ours and per image, on one core; and its number of images."""
    data = long_tail(noise(10_000, 32, 3))
    augment, normalize = PadCropFlip(pad=4), Normalize(torch.tensor(MEAN), torch.tensor(STD))
    per_image = DataLoader(PerImage(data), BATCH, shuffle=True)

    def ours() -> float:
        started = time.perf_counter()
        for images, _ in data.train_dataloader():
            normalize(augment(images))
        return time.perf_counter() - started

    def theirs() -> float:
        started = time.perf_counter()
        for _ in per_image:
            pass
        return time.perf_counter() - started

    return ours, theirs, len(data.train_indices)


class Clock(Callback):
    """Measures from the start of the first training step to the end of the last."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seconds = time.perf_counter() - self.started


def training(model: type[nn.Module], data: ImageData, steps: int) -> tuple[Timing, Timing, int]:
    """Training by Longtail and by a bare PyTorch loop: same model, batches, augmentation and optimiser."""
    long_tailed = long_tail(data)
    mean, std = data.channel_stats()
    optimizer = partial(torch.optim.SGD, lr=0.01, momentum=0.9, weight_decay=2e-4)
    weights = class_balanced(long_tailed.class_counts)

    def network() -> nn.Module:
        torch.manual_seed(0)
        return model(data.image_shape[0], CLASSES)

    def longtail() -> float:
        loss = Softmax(long_tailed.class_counts)
        counts, normalize = long_tailed.class_counts, Normalize(mean, std)
        classifier = Classifier(
            network(), loss, weights, counts, normalize, data.augment, optimizer, warmup_multistep
        )
        clock = Clock()
        watchers = [StopOnNonFiniteLoss(), Curves(data.class_names), ProgressBar(Console(quiet=True)), clock]
        trainer = L.Trainer(
            accelerator="cpu",
            max_epochs=-1,
            max_steps=steps,
            callbacks=watchers,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(classifier, datamodule=long_tailed)
        return clock.seconds

    def bare() -> float:
        net = network().to(memory_format=torch.channels_last)
        normalize, sgd = Normalize(mean, std), optimizer(net.parameters())
        loader, done, epoch = long_tailed.train_dataloader(), 0, 0
        started = time.perf_counter()
        while done < steps:
            long_tailed.sampler.set_epoch(epoch)
            for images, targets in loader:
                if done == steps:
                    break
                batch = normalize(data.augment(images) if data.augment else images)
                losses = nn.functional.cross_entropy(net(batch), targets, reduction="none")
                loss = (weights[targets] * losses).mean()
                sgd.zero_grad()
                loss.backward()
                sgd.step()
                done += 1
            epoch += 1
        return time.perf_counter() - started

    return longtail, bare, steps * BATCH


def uniform_minibatches() -> float:
    """Microseconds per batch of 256 over an epoch of `UniformMinibatch` at the size of iNaturalist 2018."""
    num_images, num_classes = INATURALIST_2018
    share = np.arange(1, num_classes + 1) ** -0.9
    counts = np.maximum((share / share.sum() * num_images).astype(int), 2)
    counts[0] += num_images - counts.sum()
    targets = np.repeat(np.arange(num_classes), counts)
    sampler = UniformMinibatch(targets, num_classes, samples_per_class=1, batch_size=256)
    started = time.perf_counter()
    for _ in sampler:
        pass
    return (time.perf_counter() - started) / len(sampler) * 1e6


def compare(ours: Timing, theirs: Timing, rounds: int) -> tuple[float, float]:
    """Median seconds of the two sides, run in turn after one round that is not counted."""
    ours(), theirs()
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def main() -> None:
    """Print the comparisons."""
    import logging
    import warnings

    parser = argparse.ArgumentParser(prog="python -m longtail.benchmark", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each comparison (default 5)")
    parser.add_argument("--steps", type=int, default=20, help="training steps of ResNet-32 in a round (default 20)")
    arguments = parser.parse_args()
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    console, threads = Console(), torch.get_num_threads()

    table = Table("what", "Longtail", "beside it", "ratio", title=f"torch {torch.__version__}, {threads} threads")
    torch.set_num_threads(1)
    ours, theirs, images = input_pipeline()
    fast, slow = compare(ours, theirs, arguments.rounds)
    table.add_row(
        "input pipeline on one core, against PIL image by image",
        f"{images / fast:,.0f} images/s",
        f"{images / slow:,.0f} images/s",
        f"{slow / fast:.1f}",
    )
    torch.set_num_threads(threads)
    cases: list[tuple[str, type[nn.Module], ImageData, int]] = [
        ("training ResNet-32 at 32 x 32, against a bare loop", ResNet, noise(10_000, 32, 3), arguments.steps),
        ("training the small CNN at 8 x 8, against a bare loop", SmallCNN, noise(10_000, 8, 1), arguments.steps * 10),
    ]
    for title, model, data, steps in cases:
        ours, theirs, images = training(model, data, steps)
        fast, slow = compare(ours, theirs, arguments.rounds)
        table.add_row(title, f"{images / fast:,.0f} images/s", f"{images / slow:,.0f} images/s", f"{slow / fast:.3f}")
    micros = statistics.median(uniform_minibatches() for _ in range(arguments.rounds))
    size = f"{INATURALIST_2018[0]:,} images of {INATURALIST_2018[1]:,} classes"
    table.add_row(f"uniform_minibatch, {size}, batch 256", f"{micros:.0f} µs/batch", "goal 1,000 µs/batch", "")
    console.print(table)


if __name__ == "__main__":
    main()
