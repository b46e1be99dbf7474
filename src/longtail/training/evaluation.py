"""What is counted of a run: what it was trained on, and how well it does on images that it was not trained on."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torchmetrics import Metric

from longtail.metrics import (
    BINS,
    OLTR,
    Shots,
    calibration_error,
    count_confidences,
    count_confusions,
    count_hits,
    per_class_accuracy,
    summarise,
)
from longtail.runs.task import CLASSIFICATION, Task

MAX_CONFUSION_CLASSES = 1000


@dataclass(frozen=True)
class Outcome:
    """The result of an evaluation.

    Attributes:
        scores: scalar metrics by name, the task's primary one among them; NaN where there is no value.
        per_class: the primary metric of each class, (C,); NaN where there is no value.
        support: what was evaluated of each class, (C,): images, or boxes.
        confusion: [true][predicted] images, (C, C), if there are few enough classes.
        confidences: images, sum of confidences and hits of each bin of the confidence, (3, 15), of a classifier.
    """

    scores: dict[str, float]
    per_class: list[float]
    support: list[int]
    confusion: list[list[int]] | None = None
    confidences: list[list[float]] | None = None

    def check(self) -> None:
        """Reject a model that has gone to pieces unnoticed, in averaged weights or in its predictions.

        Raises:
            FloatingPointError: the loss is NaN or infinite.
        """
        if sum(self.support) and not math.isfinite(self.scores.get("loss", 0.0)):
            raise FloatingPointError(f"test/loss is {self.scores['loss']}: the model's predictions are not finite")


class Evaluation(Protocol):
    """What the Lightning module asks of an evaluation.

    Attributes:
        task: the names of its metrics.
        class_counts: training images per class, (C,).
        shots: which classes are many, medium and few.
        drawn: how often each class was drawn for training, (C,) int64, by this process.
    """

    task: Task
    class_counts: Tensor
    shots: Shots
    drawn: Tensor

    def draw(self, targets: Any, /) -> None:
        """Count the classes of a training batch."""

    def update(self, predictions: Any, targets: Any, /) -> None:
        """Count a batch of evaluated images."""

    def outcome(self) -> Outcome:
        """Return the result over all processes, and start anew."""


def add_drawn(drawn: Tensor, classes: Tensor, times: Tensor) -> Tensor:
    """Add to the count of each class (C,) how often it was drawn, in place, on the device of the classes."""
    return drawn.to(classes.device).index_add_(0, classes, times)


def log_softmax(logits: Tensor) -> Tensor:
    """Return the log softmax of logits (B, C) over the classes."""
    return logits.log_softmax(1)


class Classification(Metric):
    """Accuracy per class and its summary, from a confusion matrix, or for C > 1000 from hits and support;
    and how well its confidences fit.

    Args:
        class_counts: training images per class, (C,).
        losses: logits (B, C), targets (B,) -> losses (B,), unweighted.
        log_probabilities: logits (B, C) -> what they say of the classes, (B, C); `ece` and `nll` follow from it.
        shots: which classes are many, medium and few.
    """

    full_state_update = False
    task = CLASSIFICATION
    hits: Tensor
    support: Tensor
    loss_sum: Tensor
    nll_sum: Tensor
    confidences: Tensor
    confusion: Tensor

    def __init__(
        self,
        class_counts: Tensor,
        losses: Callable[[Tensor, Tensor], Tensor],
        log_probabilities: Callable[[Tensor], Tensor] = log_softmax,
        shots: Shots = OLTR,
    ) -> None:
        super().__init__()
        self.class_counts, self.losses, self.log_probabilities = class_counts, losses, log_probabilities
        self.shots = shots
        # No state: what was drawn is kept from one evaluation to the next.
        self.drawn = torch.zeros(len(class_counts), dtype=torch.int64)
        num_classes = len(class_counts)
        self.keeps_confusion = num_classes <= MAX_CONFUSION_CLASSES
        shapes: dict[str, tuple[int, ...]] = {"hits": (num_classes,), "support": (num_classes,)}
        if self.keeps_confusion:
            shapes = {"confusion": (num_classes, num_classes)}
        for name, shape in shapes.items():
            self.add_state(name, torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        for name, shape in {"loss_sum": (), "nll_sum": (), "confidences": (3, BINS)}.items():
            self.add_state(name, torch.zeros(shape), dist_reduce_fx="sum")  # not every device has float64

    def draw(self, targets: Tensor) -> None:
        """Count the classes of a training batch, targets (B,), where they are."""
        self.drawn = add_drawn(self.drawn, targets, torch.ones_like(targets))

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Count a batch: logits (B, C), targets (B,)."""
        logits = logits.float()
        self.loss_sum += self.losses(logits, targets).sum()
        log_probabilities = self.log_probabilities(logits)
        self.nll_sum -= log_probabilities.gather(1, targets[:, None]).sum()
        count_confidences(log_probabilities, targets, self.confidences)
        if self.keeps_confusion:
            count_confusions(logits, targets, self.confusion)
        else:
            count_hits(logits, targets, (self.hits, self.support))

    def compute(self) -> dict[str, Tensor]:
        """Return what was counted by all processes, on the CPU.

        These are `loss`, `nll`, `confidences` (3, 15), `hits` (C,), `support` (C,) and for C <= 1000 `confusion`
        (C, C).
        """
        if self.keeps_confusion:
            confusion = self.confusion.cpu()
            counts = {"hits": confusion.diagonal().clone(), "support": confusion.sum(1), "confusion": confusion}
        else:
            counts = {"hits": self.hits.cpu(), "support": self.support.cpu()}
        images = counts["support"].sum()
        means = {"loss": self.loss_sum.cpu() / images, "nll": self.nll_sum.cpu() / images}
        return counts | means | {"confidences": self.confidences.cpu()}

    def outcome(self) -> Outcome:
        """Return the result over all processes, and start anew."""
        counts = self.compute()
        self.reset()
        hits, support, confidences = counts["hits"], counts["support"], counts["confidences"]
        scores = summarise(hits, support, self.class_counts, shots=self.shots) | {"loss": float(counts["loss"])}
        scores |= {"ece": calibration_error(confidences), "nll": float(counts["nll"])}
        confusion = counts["confusion"].tolist() if self.keeps_confusion else None
        per_class = per_class_accuracy(hits, support).tolist()
        return Outcome(scores, per_class, support.tolist(), confusion, confidences.tolist())
