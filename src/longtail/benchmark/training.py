"""Training with Longtail, against a bare PyTorch loop, a loop as it is usually published, and another precision."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import Profiler
from torch import Tensor, nn
from torch.utils.data import DataLoader

from longtail.augment import Normalize
from longtail.benchmark.inputs import BATCH, CLASSES, PerImage, long_tail, noise
from longtail.benchmark.report import Comparison, Goal, Measured, Settings, compare
from longtail.datasets import channel_stats
from longtail.losses import Softmax
from longtail.methods import Criterion, Method
from longtail.metrics import per_class_accuracy
from longtail.models import ResNet, SmallCNN
from longtail.reweight import class_balanced
from longtail.schedulers import warmup_multistep
from longtail.training.callbacks import Curves, ProgressBar, StopOnNonFiniteLoss
from longtail.training.data import LongTailData
from longtail.training.evaluation import Classification
from longtail.training.module import TrainingModule

KEPT = 0.28  # share of a balanced set of 10 classes that an exponential tail of ratio 50 keeps
EVALUATED = 0.71  # held-out images per training image: CIFAR-10's 10,000 for 13,996
FP32, BF16 = "32-true", "bf16-mixed"
WORKERS = 2  # of the usual loop

Batches = Iterable[tuple[Tensor, Tensor]]
Model = Callable[[int, int], nn.Module]  # (channels, classes) -> network
Lap = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """One training, to be done in several ways.

    Attributes:
        model: makes the network.
        data: its batches, and the held-out images if it is evaluated.
        steps: training steps; None for whole epochs, each with an evaluation of the held-out images.
        epochs: how many epochs, without `steps`.
        precision: as the Trainer calls it.
        device: "cpu" or "cuda".
        scheduler: Longtail's; the other loops have none.
    """

    model: Model
    data: LongTailData
    steps: int | None = None
    epochs: int = 1
    precision: str = FP32
    device: str = "cpu"
    scheduler: Callable[..., Any] = warmup_multistep

    @property
    def weights(self) -> Tensor:
        """The class-balanced weights, (C,)."""
        return class_balanced(self.data.class_counts)

    def network(self) -> nn.Module:
        """Return a new network, the same every time."""
        torch.manual_seed(0)
        return self.model(self.data.data.image_shape[0], CLASSES)

    def optimizer(self, parameters: Any, fused: bool = True) -> torch.optim.Optimizer:
        """Return the optimizer of `conf/optimizer`; its learning rate has no influence on speed."""
        return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=2e-4, fused=fused)

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Return what a bare loop puts around its forward pass."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.precision == BF16)


class Clock(Callback):
    """Measures from the start of the first training step to the end of the last epoch."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start."""
        finish(pl_module.device.type)
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop, for now."""
        finish(pl_module.device.type)
        self.seconds = time.perf_counter() - self.started


def finish(device: str) -> None:
    """Wait until a GPU has done its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def longtail(task: Task, *watchers: Callback, profiler: Profiler | None = None) -> float:
    """Return the seconds of the training by Longtail, with the callbacks of every run and any more.

    Checkpoints and loggers are left out: they write to a disk, and a bare loop has none.
    """
    data, clock = task.data, Clock()
    criterion = Criterion(Softmax(data.class_counts), task.weights)
    module = TrainingModule(
        Method(task.network(), criterion, data.class_counts),
        Classification(data.class_counts, criterion.losses),
        Normalize(*channel_stats(*data.train)),
        data.data.augment,
        task.optimizer,
        task.scheduler,
    )
    trainer = L.Trainer(
        accelerator=task.device,
        devices=1,
        precision=task.precision,  # type: ignore[arg-type]
        max_epochs=task.epochs if task.steps is None else -1,
        max_steps=-1 if task.steps is None else task.steps,
        callbacks=[StopOnNonFiniteLoss(), Curves(), ProgressBar(lines=0), *watchers, clock],
        logger=False,
        profiler=profiler,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, datamodule=data)
    return clock.seconds


def bare(task: Task) -> float:
    """Return the seconds of the training by a bare loop, with all else the same."""
    data, device = task.data, task.device
    net = task.network().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    normalize, augment = Normalize(*channel_stats(*data.train)).to(device), data.data.augment
    sgd, weights, loader = task.optimizer(net.parameters()), task.weights.to(device), data.train_dataloader()
    steps = task.steps or task.epochs * len(loader)
    finish(device)
    started = time.perf_counter()
    for done, (images, targets) in enumerate(itertools.islice(endless(loader), steps), 1):
        images, targets = images.to(device, non_blocking=True), targets.to(device, non_blocking=True)
        batch = normalize(augment(images) if augment else images)
        with task.autocast():
            logits = net(batch)
        losses = nn.functional.cross_entropy(logits.float(), targets, reduction="none")
        loss = (weights[targets] * losses).mean()
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        if task.steps is None and done % len(loader) == 0 and len(data.held_out.indices):
            evaluate(net, normalize, task)
    finish(device)
    return time.perf_counter() - started


def endless(loader: DataLoader[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of epoch after epoch."""
    for epoch in itertools.count():
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        yield from loader


def evaluate(net: nn.Module, normalize: nn.Module, task: Task) -> tuple[Tensor, float]:
    """Return the accuracy per class and the loss of the held-out images by a bare loop."""
    net.eval()
    hits, support, loss = torch.zeros(CLASSES), torch.zeros(CLASSES), 0.0
    with torch.inference_mode():
        for images, targets in task.data.val_dataloader():
            images, targets = images.to(task.device), targets.to(task.device)
            with task.autocast():
                logits = net(normalize(images))
            loss += float(nn.functional.cross_entropy(logits.float(), targets, reduction="sum"))
            hits += targets[logits.argmax(1) == targets].bincount(minlength=CLASSES).cpu()
            support += targets.bincount(minlength=CLASSES).cpu()
    net.train()
    return per_class_accuracy(hits, support), loss / float(support.sum())


def usual(task: Task, loader: Batches, lap: Lap = lambda part: None) -> tuple[float, list[float]]:
    """Train as published code for long-tailed images does, such as LDAM-DRW's; return the seconds and the losses.

    The network is float32 in contiguous memory, and every step computes the top-1 and top-5 accuracy and reads them
    and the loss from the device. The first batch is not waited for: in a real run its wait, for the workers to start,
    is spread over many more steps. `lap` is called with the name of each part of a step when it is done.
    """
    net = task.network().to(task.device)
    criterion = nn.CrossEntropyLoss(reduction="none")
    sgd, weights = task.optimizer(net.parameters(), fused=False), task.weights.to(task.device)
    history: list[list[float]] = []
    batches = iter(loader)
    first = next(batches)
    started = time.perf_counter()
    lap("start")
    for images, targets in itertools.islice(itertools.chain([first], batches), task.steps):
        images, targets = images.to(task.device), targets.to(task.device)
        lap("input")
        logits = net(images)
        loss = (weights[targets] * criterion(logits, targets)).mean()
        lap("forward")
        history.append([value.item() for value in (loss, *top_k(logits.detach(), targets))])
        lap("rest")
        sgd.zero_grad()
        lap("optimizer")
        loss.backward()
        lap("backward")
        sgd.step()
        lap("optimizer")
    return time.perf_counter() - started, [losses for losses, *_ in history]


def top_k(logits: Tensor, targets: Tensor, ranks: tuple[int, ...] = (1, 5)) -> list[Tensor]:
    """Return the percentage of images whose class is among the k largest logits, for each k."""
    ranked = logits.topk(max(ranks), dim=1).indices
    found = ranked == targets[:, None]
    return [found[:, :k].any(1).float().mean() * 100 for k in ranks]


def steps_task(settings: Settings, model: Model, precision: str) -> Task:
    """Make a task of ResNet-32 on 32 x 32, or ten times as many steps of the small CNN on grey 8 x 8."""
    size, channels, times = (8, 1, 10) if model is SmallCNN else (32, 3, 1)
    data = long_tail(noise(2_000 if settings.quick else 10_000, size, channels))
    return Task(model, data, settings.steps * times, precision=precision)


def epoch_task(settings: Settings, precision: str, held_out: int = 0) -> Task:
    """Make a task of an epoch of ResNet-32 of a few more steps than asked for, with images of each class held out."""
    pool = round((settings.steps + 1) * BATCH / KEPT) + held_out * CLASSES
    return Task(ResNet, long_tail(noise(pool), held_out), precision=precision)


def step(settings: Settings, model: Model, precision: str) -> Measured:
    """Return the seconds of a step by Longtail and by a bare loop."""
    task = steps_task(settings, model, precision)
    return compare(lambda: longtail(task), lambda: bare(task), settings, units=task.steps or 1)


def epoch(settings: Settings, precision: str) -> Measured:
    """Return the seconds of an epoch and an evaluation of the held-out images, by Longtail and by a bare loop."""
    task = epoch_task(settings, precision, max(1, round(settings.steps * BATCH * EVALUATED / CLASSES)))
    return compare(lambda: longtail(task), lambda: bare(task), settings)


def precisions(settings: Settings, model: Model) -> Measured:
    """Return the seconds of a step of Longtail in bfloat16 and in float32."""
    half, full = (steps_task(settings, model, precision) for precision in (BF16, FP32))
    return compare(lambda: longtail(half), lambda: longtail(full), settings, units=half.steps or 1)


def usual_step(settings: Settings, precision: str) -> Measured:
    """Return the seconds of a step by Longtail and by the usual loop, which is always in float32."""
    task = replace(epoch_task(settings, precision), steps=settings.steps)
    loader = DataLoader(PerImage(task.data), BATCH, shuffle=True, num_workers=WORKERS)
    return compare(lambda: longtail(task), lambda: usual(task, loader)[0], settings, units=settings.steps)


BARE: tuple[tuple[str, str, Callable[..., Measured], Goal], ...] = (
    ("resnet32", "a step of ResNet-32 with all of Longtail's callbacks", partial(step, model=ResNet), Goal(0.97)),
    ("small_cnn", "a step of the small CNN at 8 x 8", partial(step, model=SmallCNN), Goal(0.75e-3, "difference")),
    ("epoch", "an epoch of ResNet-32 and an evaluation of held-out images", epoch, Goal(0.97)),
)
USUAL = f"a loop like LDAM-DRW's: float32, PIL in {WORKERS} workers, contiguous memory, accuracy read every step"
COMPARISONS = [
    *(
        Comparison(
            f"training/{name}-{short}",
            f"{what}, against a bare loop, both in {words}",
            "epoch" if measure is epoch else "step",
            partial(measure, precision=precision),
            goal,
        )
        for name, what, measure, goal in BARE
        for short, words, precision in (("fp32", "float32", FP32), ("bf16", "bfloat16", BF16))
    ),
    *(
        Comparison(
            f"precision/{name}",
            f"a step of {words}, Longtail in bfloat16 against Longtail in float32",
            "step",
            partial(precisions, model=model),
        )
        for name, words, model in (("resnet32", "ResNet-32", ResNet), ("small_cnn", "the small CNN", SmallCNN))
    ),
    Comparison(
        "usual/fp32",
        f"a step of ResNet-32 in float32, against {USUAL}",
        "step",
        partial(usual_step, precision=FP32),
        Goal(1.35),
    ),
    Comparison(
        "usual/bf16", "the same, Longtail in bfloat16", "step", partial(usual_step, precision=BF16), Goal(2.3)
    ),
]
