"""Counting hits per class, against torchmetrics."""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from longtail.benchmark.report import Comparison, Goal, Measured, Settings, compare
from longtail.metrics import count_hits, per_class_accuracy
from longtail.training.evaluation import Classification

BATCH = 128


def scored(num_classes: int) -> tuple[Tensor, Tensor]:
    """Logits (128, C) and targets (128,) of a model that is sometimes right."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(num_classes, (BATCH,), generator=generator)
    logits = torch.randn(BATCH, num_classes, generator=generator)
    logits[: BATCH // 2].scatter_(1, targets[: BATCH // 2, None], 10.0)
    return logits, targets


def longtail_accuracy(num_classes: int, logits: Tensor, targets: Tensor, updates: int) -> Tensor:
    """Accuracy per class after some batches, as `Classification` counts."""
    hits, support = torch.zeros(2, num_classes, dtype=torch.int64)
    for _ in range(updates):
        count_hits(logits, targets, (hits, support))
    return per_class_accuracy(hits, support)


def torchmetrics_accuracy(num_classes: int, logits: Tensor, targets: Tensor, updates: int) -> Tensor:
    """The same by torchmetrics, where a class without images has 0."""
    metric = MulticlassAccuracy(num_classes, average=None)
    for _ in range(updates):
        metric.update(logits, targets)
    accuracy: Tensor = metric.compute()
    return accuracy


def longtail_evaluation(num_classes: int, logits: Tensor, targets: Tensor, updates: int) -> dict[str, Tensor]:
    """All that an evaluation of Longtail counts: hits, support, loss and confusions."""
    losses = torch.ones(len(targets))
    evaluation = Classification(torch.ones(num_classes), lambda logits, targets: losses)
    for _ in range(updates):
        evaluation.update(logits, targets)
    counts: dict[str, Tensor] = evaluation.compute()
    return counts


def torchmetrics_evaluation(num_classes: int, logits: Tensor, targets: Tensor, updates: int) -> list[Tensor]:
    """Accuracy per class and the confusion matrix by torchmetrics; without the loss."""
    metrics: list[Metric] = [MulticlassAccuracy(num_classes, average=None), MulticlassConfusionMatrix(num_classes)]
    for _ in range(updates):
        for metric in metrics:
            metric.update(logits, targets)
    return [metric.compute() for metric in metrics]


def counting(
    settings: Settings, ours: Callable[..., object], theirs: Callable[..., object], num_classes: int, updates: int
) -> Measured:
    """Two ways to count: some updates and the computation after them, per update."""
    logits, targets = scored(num_classes)
    updates = 2 if settings.quick else updates

    def timing(side: Callable[..., object]) -> float:
        started = time.perf_counter()
        side(num_classes, logits, targets, updates)
        return time.perf_counter() - started

    return compare(lambda: timing(ours), lambda: timing(theirs), settings, units=updates)


ACCURACY = partial(counting, ours=longtail_accuracy, theirs=torchmetrics_accuracy)
EVALUATION = partial(counting, ours=longtail_evaluation, theirs=torchmetrics_evaluation)
COMPARISONS = [
    Comparison(
        "metrics/accuracy-10",
        "count_hits for accuracy per class, against MulticlassAccuracy, 10 classes",
        "128 images",
        partial(ACCURACY, num_classes=10, updates=1000),
        Goal(at_least=5),
    ),
    Comparison(
        "metrics/accuracy-8142",
        "count_hits for accuracy per class, against MulticlassAccuracy, 8,142 classes",
        "128 images",
        partial(ACCURACY, num_classes=8142, updates=5),
        Goal(at_least=400),
    ),
    Comparison(
        "metrics/evaluation-10",
        "Evaluation (hits, loss, confusions), against MulticlassAccuracy + MulticlassConfusionMatrix, 10 classes",
        "128 images",
        partial(EVALUATION, num_classes=10, updates=1000),
    ),
    Comparison(
        "metrics/evaluation-1000",
        "the same, 1,000 classes",
        "128 images",
        partial(EVALUATION, num_classes=1000, updates=50),
    ),
]
