"""A training step and an epoch of Longtail, against a bare PyTorch loop and against itself in another precision."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from longtail.augment import Normalize
from longtail.benchmark.inputs import BATCH, CLASSES, long_tail, noise
from longtail.benchmark.report import Comparison, Goal, Measured, Settings, compare
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

KEPT = 0.28  # of a balanced set of 10 classes, an exponential tail of ratio 50 keeps so much
EVALUATED = 0.71  # held-out images per training image: CIFAR-10's 10,000 for 13,996
FP32, BF16 = "32-true", "bf16-mixed"


@dataclass(frozen=True)
class Task:
    """One training, to be done in several ways.

    Attributes:
        model: (channels, classes) -> the network.
        data: its batches, and the held-out images if it is evaluated.
        steps: training steps; None for whole epochs.
        epochs: how many of them, each followed by an evaluation of the held-out images, if there are any.
        precision: as the Trainer calls it.
        device: "cpu" or "cuda".
        weights: of the classes, (C,).
        scheduler: Longtail's; a bare loop has none.
    """

    model: Callable[[int, int], nn.Module]
    data: LongTailData
    steps: int | None = None
    epochs: int = 1
    precision: str = FP32
    device: str = "cpu"
    weights: Tensor | None = None
    scheduler: Callable[..., Any] = warmup_multistep

    @property
    def class_weights(self) -> Tensor:
        """The weights; by default the class-balanced ones."""
        return class_balanced(self.data.class_counts) if self.weights is None else self.weights

    def network(self) -> nn.Module:
        """A new network, the same every time."""
        torch.manual_seed(0)
        return self.model(self.data.data.image_shape[0], CLASSES)

    def optimizer(self, parameters: Any, fused: bool = True) -> torch.optim.Optimizer:
        """The one of `conf/optimizer`; its learning rate has no influence on speed."""
        return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=2e-4, fused=fused)

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """What a bare loop puts around its forward pass."""
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
    """Wait for a GPU to have done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def longtail(task: Task, *watchers: Callback, profiler: Any = None) -> float:
    """Seconds of the training by Longtail, with the callbacks of `longtail.cli.train` and any more.

    Checkpoints and loggers are left out: they write to a disk, and a bare loop has none.
    """
    data, clock = task.data, Clock()
    criterion = Criterion(Softmax(data.class_counts), task.class_weights)
    module = TrainingModule(
        Method(task.network(), criterion, data.class_counts),
        Classification(data.class_counts, criterion.losses),
        Normalize(*data.data.channel_stats()),
        data.data.augment,
        task.optimizer,
        task.scheduler,
    )
    own = [StopOnNonFiniteLoss(), Curves(), ProgressBar(lines=0)]
    trainer = L.Trainer(
        accelerator=task.device,
        devices=1,
        precision=task.precision,  # type: ignore[arg-type]
        max_epochs=task.epochs if task.steps is None else -1,
        max_steps=-1 if task.steps is None else task.steps,
        callbacks=[*own, *watchers, clock],
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
    """Seconds of the same training by a bare loop: same network, batches, augmentation, precision and optimizer."""
    data, device = task.data, task.device
    net = task.network().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    normalize, augment = Normalize(*data.data.channel_stats()).to(device), data.data.augment
    sgd, weights = task.optimizer(net.parameters()), task.class_weights.to(device)
    loader, done, epoch = data.train_dataloader(), 0, 0
    steps = len(loader) * task.epochs if task.steps is None else task.steps
    finish(device)
    started = time.perf_counter()
    while done < steps:
        data.sampler.set_epoch(epoch)
        for images, targets in loader:
            if done == steps:
                break
            images, targets = images.to(device, non_blocking=True), targets.to(device, non_blocking=True)
            batch = normalize(augment(images) if augment else images)
            with task.autocast():
                logits = net(batch)
            losses = nn.functional.cross_entropy(logits.float(), targets, reduction="none")
            loss = (weights[targets] * losses).mean()
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            done += 1
        if task.steps is None and len(data.validation_indices):
            evaluate(net, normalize, task)
        epoch += 1
    finish(device)
    return time.perf_counter() - started


def evaluate(net: nn.Module, normalize: nn.Module, task: Task) -> tuple[Tensor, float]:
    """Accuracy per class and loss of the held-out images by a bare loop."""
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


def steps_task(
    settings: Settings, model: Callable[[int, int], nn.Module], precision: str, device: str = "cpu"
) -> Task:
    """Some steps of ResNet-32 on colour images of 32 x 32, or ten times as many of the small CNN on grey 8 x 8."""
    size, channels, times = (8, 1, 10) if model is SmallCNN else (32, 3, 1)
    data = long_tail(noise(2_000 if settings.quick else 10_000, size, channels))
    return Task(model, data, settings.steps * times, precision=precision, device=device)


def step(settings: Settings, model: Callable[[int, int], nn.Module], precision: str) -> Measured:
    """Seconds of a step by Longtail and by a bare loop."""
    task = steps_task(settings, model, precision)
    return compare(lambda: longtail(task), lambda: bare(task), settings, units=task.steps or 1)


def epoch(settings: Settings, precision: str) -> Measured:
    """Seconds of an epoch of ResNet-32 and an evaluation of the held-out images, by Longtail and by a bare loop."""
    images = settings.steps * BATCH
    held_out = max(1, round(images * EVALUATED / CLASSES))
    task = Task(
        ResNet,
        long_tail(noise(round(images / KEPT) + held_out * CLASSES, 32, 3), held_out),
        precision=precision,
    )
    return compare(lambda: longtail(task), lambda: bare(task), settings)


def precisions(settings: Settings, model: Callable[[int, int], nn.Module]) -> Measured:
    """Seconds of a step of Longtail in bfloat16 and in float32."""
    half, full = (steps_task(settings, model, precision) for precision in (BF16, FP32))
    return compare(lambda: longtail(half), lambda: longtail(full), settings, units=half.steps or 1)


COMPARISONS = [
    Comparison(
        "training/resnet32-fp32",
        "a step of ResNet-32 at 32 x 32 in float32, all of Longtail's callbacks, against a bare loop in float32",
        "step",
        partial(step, model=ResNet, precision=FP32),
        Goal(at_least=0.97),
    ),
    Comparison(
        "training/resnet32-bf16",
        "the same, both in bfloat16 autocast",
        "step",
        partial(step, model=ResNet, precision=BF16),
        Goal(at_least=0.97),
    ),
    Comparison(
        "training/small_cnn-fp32",
        "a step of the small CNN at 8 x 8 in float32, against a bare loop in float32",
        "step",
        partial(step, model=SmallCNN, precision=FP32),
        Goal("difference", at_most=0.75e-3),
    ),
    Comparison(
        "training/small_cnn-bf16",
        "the same, both in bfloat16 autocast",
        "step",
        partial(step, model=SmallCNN, precision=BF16),
        Goal("difference", at_most=0.75e-3),
    ),
    Comparison(
        "training/epoch-fp32",
        "an epoch of ResNet-32 and an evaluation of held-out images in float32, against a bare loop in float32",
        "epoch",
        partial(epoch, precision=FP32),
        Goal(at_least=0.97),
    ),
    Comparison(
        "training/epoch-bf16",
        "the same, both in bfloat16 autocast",
        "epoch",
        partial(epoch, precision=BF16),
        Goal(at_least=0.97),
    ),
    Comparison(
        "precision/resnet32",
        "a step of ResNet-32, Longtail in bfloat16 against Longtail in float32",
        "step",
        partial(precisions, model=ResNet),
    ),
    Comparison(
        "precision/small_cnn",
        "a step of the small CNN, Longtail in bfloat16 against Longtail in float32",
        "step",
        partial(precisions, model=SmallCNN),
    ),
]
