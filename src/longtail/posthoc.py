"""After training: predictions changed without another step, from logits or features and a little counting.

Logits mean log probabilities here, (B, C), up to a constant per image: those of a loss that does not take the softmax
of its logits are what its `log_probabilities` gives.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

TINY = 1e-12  # of the length of a row
LEAST, MOST, HALVINGS = 0.01, 100.0, 30  # of the temperature; the last makes 8 digits of it


def adjust(logits: Tensor, class_counts: Tensor, tau: float) -> Tensor:
    """Return z - tau log pi, (B, C), pi_j = n_j / N: post-hoc logit adjustment (Menon et al. 2021, eq. 9)."""
    return logits - tau * (class_counts / class_counts.sum()).log().to(logits)


def tau_normalised(features: Tensor, weight: Tensor, tau: float) -> Tensor:
    """Return the logits of a linear head with rows w_j / |w_j|^tau and no bias (Kang et al. 2020, section 4).

    Args:
        features: (B, F).
        weight: of the head, (C, F).
        tau: 0 leaves the rows as they are, 1 makes them equally long.
    """
    lengths = weight.norm(dim=1, keepdim=True).clamp_min(TINY)
    return F.linear(features, weight / lengths**tau)


def class_means(features: Tensor, targets: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return what `nearest_mean` compares with: the mean of each class (C, F), and that of all images (F,).

    The features are centred by the mean of all and scaled to length 1 before the mean of a class is taken ("cl2n"
    in the code of Kang et al. 2020). A class without images has NaN.
    """
    centre = features.mean(0)
    sums = features.new_zeros(num_classes, features.shape[1])
    sums.index_add_(0, targets, F.normalize(features - centre))
    return sums / targets.bincount(minlength=num_classes)[:, None], centre


def nearest_mean(features: Tensor, means: Tensor, centre: Tensor) -> Tensor:
    """Return minus the distance of features (B, F) to the mean of each class, (B, C); no probabilities."""
    # By matrix products, which is fast, and the same for batches of any size.
    distances = torch.cdist(F.normalize(features - centre), means, compute_mode="use_mm_for_euclid_dist")
    return -distances.nan_to_num(nan=torch.inf)


def temperature(logits: Tensor, targets: Tensor) -> float:
    """Return the T in [0.01, 100] that minimises the mean of -log softmax(z / T)_y (Guo et al. 2017).

    The negative log likelihood is convex in 1 / T, so the sign of its slope is followed by bisection.
    """
    low, high = math.log(1 / MOST), math.log(1 / LEAST)
    true = logits.gather(1, targets[:, None])[:, 0]
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        expected = (logits * (logits * math.exp(middle)).softmax(1)).sum(1)
        low, high = (middle, high) if bool((expected - true).double().sum() < 0) else (low, middle)
    return math.exp(-(low + high) / 2)


def with_prior(logits: Tensor, learned: Tensor, known: Tensor) -> Tensor:
    """Return z - log p + log q, (B, C), for a class prior p that a model has learned and the known one q of a test.

    The PC softmax of Hong et al. 2021 (LADE). A class that does not occur in the test is never predicted.

    Args:
        logits: (B, C).
        learned: weights of the classes, (C,), > 0; uniform for a model that balances the classes itself.
        known: weights of the classes, (C,), >= 0, such as their images in the test.
    """
    learned, known = (weights.double() / weights.sum() for weights in (learned, known))
    return logits + (known.log() - learned.log()).to(logits)


def shifted_counts(available: Tensor, order: Tensor, ratio: float) -> Tensor:
    """Return the images of each class in a test set that is made long-tailed, (C,) int64.

    n_i = int(n_max r^(-i / (C - 1))) for the i-th class, with the largest n_max for which there are enough images:
    where all classes have as many, those (the protocol of LADE and SADE, Hong et al. 2021, Zhang et al. 2022).

    Args:
        available: test images of each class, (C,); one without any keeps none.
        order: the classes, most frequent first, (C,).
        ratio: of the most to the least frequent class, >= 1.
    """
    place = torch.empty(len(order), dtype=torch.float64)
    place[order] = torch.arange(len(order), dtype=torch.float64) / max(len(order) - 1, 1)
    shares = ratio**-place
    there = available > 0
    most = (available[there] / shares[there]).min() if bool(there.any()) else torch.tensor(0.0)
    # A product such as 50 * 0.02 may end up just below a whole number.
    return torch.where(there, (most * shares + 1e-9).long(), 0)


def draw(targets: Tensor, counts: Tensor, seed: int = 0) -> Tensor:
    """Return the indices of so many images of each class, in ascending order; a smaller set lies in a larger one.

    Args:
        targets: of all images, (N,).
        counts: images of each class, (C,), at most as many as there are.
        seed: of the choice.
    """
    shuffled = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    by_class = shuffled[targets[shuffled].argsort(stable=True)]
    support = targets.bincount(minlength=len(counts))
    rank = torch.arange(len(targets)) - (support.cumsum(0) - support).repeat_interleave(support)
    return by_class[rank < counts.repeat_interleave(support)].sort().values
