"""Metrics of a long-tailed evaluation, from the hits and the support of each class, and from its confidences.

`hits` (C,) are the correctly classified test images of each class and `support` (C,) all of its test images; all
accuracies follow from these two, and the calibration error from counts by confidence. Accuracies are fractions in
[0, 1]. What has no value (the accuracy of a class without test images, or of an empty group) is NaN, never 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 15  # of the confidence, (0, 1/15], ..., (14/15, 1] (Guo et al. 2017)


@dataclass(frozen=True)
class Shots:
    """Which classes count as many, medium and few; the defaults are those of Liu et al. 2019, OLTR.

    Args:
        many: classes with more training images than this are many, >= 1.
        few: classes with fewer than this are few, in [1, many].

    Raises:
        ValueError: a number is outside its range.
    """

    many: int = 100
    few: int = 20

    def __post_init__(self) -> None:
        for name, value, most in (("many", self.many, float("inf")), ("few", self.few, self.many)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise ValueError(f"{name}={value}: must be a whole number of images with 1 <= few <= many")

    def __str__(self) -> str:
        return f"many > {self.many:,}, few < {self.few:,}"


OLTR = Shots()


def count_hits(logits: Tensor, targets: Tensor, into: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """Count the hits and the support of a batch, each (C,) int64, from logits (B, C) and targets (B,).

    The prediction is the arg max. The counts are added to `into`, in place, if given.
    """
    hits, support = into or (targets.new_zeros(logits.shape[1]), targets.new_zeros(logits.shape[1]))
    # index_add_ works on the logits' device; a boolean mask or bincount would make the host wait for a GPU.
    hits.index_add_(0, targets, (logits.argmax(1) == targets).long())
    support.index_add_(0, targets, torch.ones_like(targets))
    return hits, support


def count_confusions(logits: Tensor, targets: Tensor, into: Tensor | None = None) -> Tensor:
    """Count the confusion matrix of a batch, (C, C) int64, [true, predicted]; added to `into`, in place, if given.

    For many classes prefer `count_hits`.
    """
    num_classes = logits.shape[1]
    confusions = targets.new_zeros(num_classes, num_classes) if into is None else into
    confusions.view(-1).index_add_(0, targets * num_classes + logits.argmax(1), torch.ones_like(targets))
    return confusions


def count_confidences(log_probabilities: Tensor, targets: Tensor, into: Tensor | None = None) -> Tensor:
    """Count a batch by its confidence, the probability of the predicted class, in 15 bins of equal width (lo, hi].

    Args:
        log_probabilities: of the classes, (B, C).
        targets: (B,).
        into: counts that these are added to, in place.

    Returns:
        Images, sum of their confidences, and hits of each bin, (3, 15) float32.
    """
    confidences, predicted = log_probabilities.float().max(1)
    confidences = confidences.exp()
    counted = torch.stack((torch.ones_like(confidences), confidences, (predicted == targets).float()))
    bins = torch.arange(BINS, device=targets.device)[:, None]
    member = (confidences * BINS).ceil().clamp(1, BINS) - 1 == bins
    # A sum, for index_add_ adds floats on a GPU in another order each time.
    counts = torch.where(member, counted[:, None], 0.0).sum(2)
    return counts if into is None else into.add_(counts)


def calibration_error(confidences: Tensor) -> float:
    """Return the expected calibration error, from what `count_confidences` gives; NaN without images.

    ECE = sum_b (n_b / N) |confidence_b - accuracy_b| over the bins b, with their means (Guo et al. 2017, eq. 3).
    """
    images, confidence, hits = confidences.double().cpu()
    return float((confidence - hits).abs().sum() / images.sum())


def per_class_accuracy(hits: Tensor, support: Tensor) -> Tensor:
    """Return hits / support, (C,) float64, NaN for a class without test images."""
    return torch.where(support > 0, hits.double() / support, torch.nan)


def summarise(
    hits: Tensor, support: Tensor, train_counts: Tensor, worst: int = 5, shots: Shots = OLTR
) -> dict[str, float]:
    """Return all scalar metrics of an evaluation.

    Args:
        hits: correctly classified test images per class, (C,).
        support: test images per class, (C,).
        train_counts: training images per class, (C,), which define the groups many, medium and few.
        worst: number of classes in the mean over the worst.
        shots: the bounds of these groups.

    Returns:
        accuracy: top-1 over all test images.
        accuracy_std: population (ddof 0) standard deviation of the per-class accuracies.
        accuracy_min: accuracy of the worst class.
        accuracy_mean: mean over classes; equals accuracy on a balanced test set.
        accuracy_gmean: geometric mean over classes, 0 if a class has no hit.
        accuracy_worst_k: mean over the k = `worst` worst classes.
        accuracy_many, accuracy_medium, accuracy_few: mean over the classes with more than 100, 20 to 100 and fewer
            than 20 training images, or as `shots` says.
    """
    per_class = per_class_accuracy(hits, support)
    measured = per_class[support > 0]
    return {
        "accuracy": float(hits.sum().double() / support.sum()),
        **spread("accuracy", per_class, train_counts, shots),
        "accuracy_mean": float(measured.mean()),
        "accuracy_gmean": float(measured.log().mean().exp()),
        f"accuracy_worst_{worst}": float(measured.sort().values[:worst].mean()),
    }


def spread(name: str, per_class: Tensor, train_counts: Tensor, shots: Shots = OLTR) -> dict[str, float]:
    """Return how a score is spread over the classes.

    Args:
        name: of the score.
        per_class: score of each class, (C,) float64, NaN where it has none.
        train_counts: training images or boxes per class, (C,), which define the groups many, medium and few.
        shots: the bounds of these groups.

    Returns:
        `<name>_std`, the population (ddof 0) standard deviation; `<name>_min`, the worst class; `<name>_many`,
        `<name>_medium` and `<name>_few`, the means over the classes of the groups.
    """
    known = ~per_class.isnan()
    measured = per_class[known]
    found = {
        f"{name}_std": float(measured.std(correction=0)) if len(measured) else float("nan"),
        f"{name}_min": float(measured.min()) if len(measured) else float("nan"),
    }
    return found | {
        f"{name}_{group}": float(per_class[member & known].mean()) for group, member in groups(train_counts, shots)
    }


def groups(train_counts: Tensor, shots: Shots = OLTR) -> Iterator[tuple[str, Tensor]]:
    """Yield the name of each of the three groups and which classes it holds, (C,) bool."""
    yield "many", train_counts > shots.many
    yield "medium", (train_counts >= shots.few) & (train_counts <= shots.many)
    yield "few", train_counts < shots.few
