"""A training loop as published code for long-tailed images has it, such as LDAM-DRW's, against Longtail.

Worker processes transform the images one by one with PIL, the network is float32 in contiguous memory, and every
step computes the top-1 and top-5 accuracy and reads them and the loss from the device.
"""

import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from longtail.benchmark.inputs import BATCH, CLASSES, PerImage, long_tail, noise
from longtail.benchmark.report import Comparison, Goal, Measured, Settings, compare
from longtail.benchmark.training import BF16, FP32, KEPT, Task, longtail
from longtail.models import ResNet

WORKERS = 2
PARTS = ("input", "augment", "forward", "backward", "optimizer", "rest")


class Mean:
    """A running mean that also remembers its last value."""

    def __init__(self) -> None:
        self.last = self.total = 0.0
        self.count = 0

    def update(self, value: float, count: int = 1) -> None:
        """Add a value that stands for `count` images."""
        self.last = value
        self.total += value * count
        self.count += count

    @property
    def mean(self) -> float:
        """Over all values so far."""
        return self.total / max(self.count, 1)


class Stopwatch:
    """Adds up the time since the last call under a name."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.last = time.perf_counter()

    def lap(self, name: str) -> None:
        """The time since the last call was for this."""
        now = time.perf_counter()
        self.seconds[name] += now - self.last
        self.last = now


def top_k(logits: Tensor, targets: Tensor, ranks: tuple[int, ...] = (1, 5)) -> list[Tensor]:
    """Share of the images whose class is among the k largest logits, in percent."""
    ranked = logits.topk(max(ranks), dim=1).indices
    found = ranked == targets[:, None]
    return [found[:, :k].any(1).float().mean() * 100 for k in ranks]


def loop(task: Task, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Stopwatch, list[float]]:
    """Train for `task.steps` steps of one epoch; the times, from the arrival of the first batch, and the losses.

    Waiting for the first batch, that is for the workers to start, is not counted: an epoch of a real run has many
    more steps to spread it over.
    """
    net = task.network()
    criterion = nn.CrossEntropyLoss(reduction="none")
    sgd = task.optimizer(net.parameters(), fused=False)
    weights, losses, top1, top5 = task.class_weights, Mean(), Mean(), Mean()
    history: list[float] = []
    iterator = iter(batches)
    batch: tuple[Tensor, Tensor] | None = next(iterator)
    watch = Stopwatch()
    while batch is not None and len(history) != task.steps:
        images, targets = batch
        logits = net(images)
        loss = (weights[targets] * criterion(logits, targets)).mean()
        watch.lap("forward")
        accuracy1, accuracy5 = top_k(logits.detach(), targets)
        losses.update(loss.item(), len(images))
        top1.update(accuracy1.item(), len(images))
        top5.update(accuracy5.item(), len(images))
        watch.lap("rest")
        sgd.zero_grad()
        watch.lap("optimizer")
        loss.backward()
        watch.lap("backward")
        sgd.step()
        history.append(losses.last)
        watch.lap("optimizer")
        if len(history) != task.steps:
            batch = next(iterator, None)
            watch.lap("input")
    return watch, history


def loader(task: Task, workers: int = WORKERS) -> DataLoader[tuple[Tensor, int]]:
    """The usual input of the same images: shuffled, transformed one by one."""
    return DataLoader(PerImage(task.data), BATCH, shuffle=True, num_workers=workers)


def usual_task(settings: Settings, precision: str) -> Task:
    """An unweighted training of ResNet-32 that has at least so many steps in an epoch."""
    images = (settings.steps + 1) * BATCH
    data = long_tail(noise(round(images / KEPT), 32, 3))
    return Task(ResNet, data, settings.steps, precision=precision, weights=torch.ones(CLASSES))


def step(settings: Settings, precision: str) -> Measured:
    """Seconds of a step by Longtail and by the usual loop, which is always in float32."""
    task = usual_task(settings, precision)
    batches = loader(task)
    full = replace(task, precision=FP32)

    def theirs() -> float:
        watch, _ = loop(full, batches)
        return sum(watch.seconds.values())

    return compare(lambda: longtail(task), theirs, settings, units=settings.steps)


COMPARISONS = [
    Comparison(
        "usual/fp32",
        f"a step of ResNet-32, Longtail in float32 against a loop like LDAM-DRW's: float32, PIL in {WORKERS} workers,"
        " contiguous memory, accuracy read every step",
        "step",
        partial(step, precision=FP32),
        Goal(at_least=1.35),
    ),
    Comparison(
        "usual/bf16",
        "the same, Longtail in bfloat16",
        "step",
        partial(step, precision=BF16),
        Goal(at_least=2.3),
    ),
]
