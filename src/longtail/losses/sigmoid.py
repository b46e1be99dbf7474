"""Losses on C sigmoids, one for each class."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.errors import text_of
from longtail.ranges import check_finite


class OneVsAll(nn.Module):
    """What the losses on C sigmoids have in common."""

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Logits (B, C) -> the logarithms of the sigmoids, normalised over the classes, (B, C)."""
        return F.logsigmoid(logits).log_softmax(1)


class Sigmoid(OneVsAll):
    """Sum of C one-vs-all binary cross entropies: L = -sum_j log sigmoid(z_j^t) (Cui et al. 2019, eq. 12).

    z_j^t is z_j for the true class and -z_j for the others.
    """

    def __init__(self, class_counts: Tensor | Sequence[int]) -> None:
        super().__init__()
        self.initial_bias: float | None = prior_bias(len(class_counts))

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (B, C), targets (B,) int64 -> loss (B,)."""
        return focal(logits, one_hot(logits, targets)).sum(1)


class Focal(OneVsAll):
    """Focal loss on C sigmoids: L = -sum_j alpha_j^t (1 - p_j^t)^gamma log p_j^t, p_j^t = sigmoid(z_j^t).

    Lin et al. 2017, eq. 4 and 5, as used by Cui et al. 2019, eq. 13; without alpha, gamma = 0 is exactly `Sigmoid`.

    Args:
        class_counts: training images per class, (C,).
        gamma: focusing parameter, finite and >= 0.
        alpha: balance, in [0, 1]: alpha_j^t is alpha for the true class and 1 - alpha for the others; None for 1.

    Raises:
        ValueError: gamma or alpha is outside its range.
    """

    def __init__(self, class_counts: Tensor | Sequence[int], gamma: float = 1.0, alpha: float | None = None) -> None:
        super().__init__()
        check_focal(gamma, alpha)
        self.gamma, self.alpha = gamma, alpha
        self.initial_bias: float | None = prior_bias(len(class_counts))

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (B, C), targets (B,) int64 -> loss (B,)."""
        return focal(logits, one_hot(logits, targets), self.gamma, self.alpha).sum(1)


def focal(logits: Tensor, true: Tensor, gamma: float = 0.0, alpha: float | None = None) -> Tensor:
    """Return the terms of the focal loss, -alpha_t (1 - p_t)^gamma log p_t, elementwise and of any shape.

    Lin et al. 2017, eq. 5; without alpha it is eq. 4, without gamma alpha-balanced cross entropy, without either
    cross entropy. The modulating factor is computed as exp(gamma * log sigmoid(-z_t)), which never overflows.

    Args:
        logits: z, with z_t = z where `true`, else -z, and p_t = sigmoid(z_t).
        true: bool, of the same shape; any number of a sample's classes may be true.
        gamma: focusing parameter, >= 0.
        alpha: in [0, 1]: alpha_t is alpha where `true`, else 1 - alpha; None for 1.
    """
    z = torch.where(true, logits, -logits)
    terms = -F.logsigmoid(z)
    if gamma:
        terms = (gamma * F.logsigmoid(-z)).exp() * terms
    if alpha is None:
        return terms
    positive, negative = (terms.new_full((), balance) for balance in (alpha, 1 - alpha))
    return torch.where(true, positive, negative) * terms


def one_hot(logits: Tensor, targets: Tensor) -> Tensor:
    """Return which of the logits (B, C) is that of its target, (B, C) bool."""
    return torch.zeros_like(logits, dtype=torch.bool).scatter_(1, targets[:, None], True)


def prior_bias(num_classes: int) -> float:
    """Return the bias at which every sigmoid equals the prior 1 / C: -log(C - 1), and 0 for one class."""
    return -math.log(max(num_classes - 1, 1))


def check_focal(gamma: float, alpha: float | None) -> None:
    """Check the parameters of the focal loss.

    Raises:
        ValueError: gamma is negative or not finite, or alpha is neither None nor in [0, 1].
    """
    check_finite("gamma", gamma)
    if not (alpha is None or (type(alpha) in (int, float) and 0 <= alpha <= 1)):
        raise ValueError(f"alpha={text_of(alpha)}: must be a number in [0, 1], or null for no balance")
