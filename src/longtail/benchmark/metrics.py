"""Counting hits per class, against torchmetrics."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from longtail.benchmark.report import Comparison, Goal, Measured, Settings, compare, timed
from longtail.metrics import count_hits, per_class_accuracy
from longtail.training.evaluation import Classification

BATCH = 128


def scored(num_classes: int) -> tuple[Tensor, Tensor]:
    """Return logits (128, C) and targets (128,) of a model that is right in about half of the cases."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(num_classes, (BATCH,), generator=generator)
    logits = torch.randn(BATCH, num_classes, generator=generator)
    logits[: BATCH // 2].scatter_(1, targets[: BATCH // 2, None], 10.0)
    return logits, targets


def longtail_accuracy(num_classes: int, logits: Tensor, targets: Tensor, updates: int) -> Tensor:
    """Return the accuracy per class, (C,), after some updates with the same batch."""
    hits, support = torch.zeros(2, num_classes, dtype=torch.int64)
    for _ in range(updates):
        count_hits(logits, targets, (hits, support))
    return per_class_accuracy(hits, support)


def torchmetrics_accuracy(num_classes: int, logits: Tensor, targets: Tensor, updates: int) -> Tensor:
    """Return the same by torchmetrics, where a class without images has 0."""
    [accuracy] = updated([MulticlassAccuracy(num_classes, average=None)], logits, targets, updates)
    return accuracy


def longtail_evaluation(num_classes: int, logits: Tensor, targets: Tensor, updates: int) -> dict[str, Tensor]:
    """Return all that an evaluation of Longtail counts: hits, support, loss and confusions."""
    losses = torch.ones(len(targets))
    [counts] = updated([Classification(torch.ones(num_classes), lambda *_: losses)], logits, targets, updates)
    return counts  # type: ignore[return-value]


def torchmetrics_evaluation(num_classes: int, logits: Tensor, targets: Tensor, updates: int) -> list[Tensor]:
    """Return accuracy per class and confusion matrix by torchmetrics, without the loss."""
    metrics: list[Metric] = [MulticlassAccuracy(num_classes, average=None), MulticlassConfusionMatrix(num_classes)]
    return updated(metrics, logits, targets, updates)


def updated(metrics: list[Metric], logits: Tensor, targets: Tensor, updates: int) -> list[Tensor]:
    """Return the values of the metrics after some updates with the same batch."""
    for _ in range(updates):
        for metric in metrics:
            metric.update(logits, targets)
    return [metric.compute() for metric in metrics]


def counting(settings: Settings, sides: Sequence[Callable[..., object]], num_classes: int, updates: int) -> Measured:
    """Return the seconds per update of two ways to count, the final computation included."""
    batch, updates = scored(num_classes), 2 if settings.quick else updates
    ours, theirs = (timed(partial(side, num_classes, *batch, updates)) for side in sides)
    return compare(ours, theirs, settings, units=updates)


def comparison(name: str, num_classes: int, updates: int, goal: Goal | None = None) -> Comparison:
    """Return the row of one way to count, for so many classes."""
    compares, *sides = SIDES[name]
    measure = partial(counting, sides=sides, num_classes=num_classes, updates=updates)
    what = f"{compares}, {num_classes:,} classes"
    return Comparison(f"metrics/{name}-{num_classes}", what, "128 images", measure, goal)


SIDES: dict[str, Any] = {
    "accuracy": ("count_hits against MulticlassAccuracy", longtail_accuracy, torchmetrics_accuracy),
    "evaluation": (
        "Classification (hits, confusions, loss) against MulticlassAccuracy + MulticlassConfusionMatrix",
        longtail_evaluation,
        torchmetrics_evaluation,
    ),
}
COMPARISONS = [
    comparison("accuracy", 10, updates=1000, goal=Goal(5)),
    comparison("accuracy", 8142, updates=5, goal=Goal(400)),
    comparison("evaluation", 10, updates=1000),
    comparison("evaluation", 1000, updates=50),
]
