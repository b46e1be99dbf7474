"""The numbers of a long-tailed evaluation, from hits and support per class.

`hits` (C,) are the correctly classified test images of each class and `support` (C,) all of them; from these two
everything here follows, and nothing is larger than (C,). Accuracies are fractions in [0, 1]. What has no value (the
accuracy of a class without test images, of an empty group) is NaN, never 0.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

MANY, FEW = 100, 20  # more than 100 training images, fewer than 20 (Liu et al. 2019, OLTR)


def count_hits(logits: Tensor, targets: Tensor, into: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """Hits and support of a batch, each (C,) int64: logits (B, C), targets (B,); the arg max is the prediction.

    They are added to `into`, in place, if that is given.
    """
    hits, support = into or (targets.new_zeros(logits.shape[1]), targets.new_zeros(logits.shape[1]))
    # Added up where the logits are: a boolean mask or bincount would make the host wait for a GPU.
    hits.index_add_(0, targets, (logits.argmax(1) == targets).long())
    support.index_add_(0, targets, torch.ones_like(targets))
    return hits, support


def count_confusions(logits: Tensor, targets: Tensor, into: Tensor | None = None) -> Tensor:
    """Confusion matrix of a batch, (C, C) int64, [true, predicted], added to `into`, in place, if that is given.

    For many classes prefer `count_hits`.
    """
    num_classes = logits.shape[1]
    confusions = targets.new_zeros(num_classes, num_classes) if into is None else into
    confusions.view(-1).index_add_(0, targets * num_classes + logits.argmax(1), torch.ones_like(targets))
    return confusions


def per_class_accuracy(hits: Tensor, support: Tensor) -> Tensor:
    """Hits / support, (C,) float64, NaN for a class without test images."""
    return torch.where(support > 0, hits.double() / support, torch.nan)


def summarise(hits: Tensor, support: Tensor, train_counts: Tensor, worst: int = 5) -> dict[str, float]:
    """All scalar metrics of an evaluation.

    Args:
        hits: correctly classified test images per class, (C,).
        support: test images per class, (C,).
        train_counts: training images per class, (C,), which make the groups many, medium and few.
        worst: k of the mean over the k worst classes.

    Returns:
        accuracy: top-1 over all test images.
        accuracy_std: population (ddof 0) standard deviation of the per-class accuracies.
        accuracy_min: the worst class.
        accuracy_mean: mean over classes; equals accuracy on a balanced test set.
        accuracy_gmean: geometric mean over classes, 0 if one class is never hit.
        accuracy_worst_k: mean over the `worst` worst classes.
        accuracy_many, accuracy_medium, accuracy_few: mean over the classes with more than 100, 20 to 100 and fewer
            than 20 training images.
    """
    per_class = per_class_accuracy(hits, support)
    measured = per_class[support > 0]
    summary = {
        "accuracy": float(hits.sum().double() / support.sum()),
        "accuracy_std": float(measured.std(correction=0)) if len(measured) else float("nan"),
        "accuracy_min": float(measured.min()) if len(measured) else float("nan"),
        "accuracy_mean": float(measured.mean()),
        "accuracy_gmean": float(measured.log().mean().exp()),
        f"accuracy_worst_{worst}": float(measured.sort().values[:worst].mean()),
    }
    for name, members in groups(train_counts):
        summary[f"accuracy_{name}"] = float(per_class[members & (support > 0)].mean())
    return summary


def groups(train_counts: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The names of the three groups and which classes are in each, (C,) bool."""
    yield "many", train_counts > MANY
    yield "medium", (train_counts >= FEW) & (train_counts <= MANY)
    yield "few", train_counts < FEW
