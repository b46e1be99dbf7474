"""Losses: a class `(class_counts) -> nn.Module` that maps logits (B, C) and targets (B,) to losses (B,), unreduced.

The criterion applies class weights and the reduction, so that every loss goes with every weighting. A loss may set
`initial_bias`, the value at which the last layer's bias starts (and is then spared weight decay), and
`takes_cosines`, if its logits must come from a `models.CosineHead` of scale 1. `log_probabilities(logits)`, (B, C),
is what its logits say of the classes, if that is not their log softmax.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.errors import text_of


class Softmax(nn.Module):
    """Cross entropy on the softmax: L = -log(exp(z_y) / sum_j exp(z_j)) (Cui et al. 2019, eq. 10)."""

    initial_bias: float | None = None

    def __init__(self, class_counts: Tensor | Sequence[int]) -> None:
        super().__init__()

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (B, C), targets (B,) int64 -> loss (B,)."""
        return F.cross_entropy(logits, targets, reduction="none")


class LogitAdjustment(nn.Module):
    """Softmax whose margins follow the class prior: L = -log softmax(z + tau * log pi)_y, pi_j = n_j / N.

    Menon et al. 2021, eq. 10. Test-time predictions use the logits as they are. With tau = 0 or equal counts it is
    `Softmax`.

    Args:
        class_counts: training images per class, (C,), each >= 1.
        tau: strength of the adjustment, finite and >= 0; 1 is consistent for the balanced error.

    Raises:
        ValueError: tau is outside its range.
    """

    adjustment: Tensor

    def __init__(self, class_counts: Tensor | Sequence[int], tau: float = 1.0) -> None:
        super().__init__()
        _check_finite("tau", tau)
        self.balances_classes = tau > 0
        n = torch.as_tensor(class_counts, dtype=torch.float64)
        adjustment = tau * (n / n.sum()).log()
        self.register_buffer("adjustment", adjustment.to(torch.get_default_dtype()), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (B, C), targets (B,) int64 -> loss (B,)."""
        return F.cross_entropy(logits + self.adjustment, targets, reduction="none")


class BalancedSoftmax(LogitAdjustment):
    """Balanced softmax: L = -log(n_y exp(z_y) / sum_j n_j exp(z_j)) (Ren et al. 2020).

    `LogitAdjustment` with tau = 1: the N of its prior cancels.
    """

    def __init__(self, class_counts: Tensor | Sequence[int]) -> None:
        super().__init__(class_counts, tau=1.0)


class LDAM(nn.Module):
    """Label-distribution-aware margins: L = -log softmax(s * (c - m_y * e_y))_y, m_j = max_m * (n_min / n_j) ** 0.25.

    Cao et al. 2019, section 3.2, and their code; e_y is one-hot. The logits must be cosines c in [-1, 1], from a
    `models.CosineHead` of scale 1: on a linear head the margins mean nothing, and a head with a scale of its own
    would scale twice. Test-time predictions have no margin.

    Args:
        class_counts: training images per class, (C,), each >= 1.
        max_m: margin of the rarest class, in units of the cosine, finite and >= 0.
        s: scale, finite and > 0.

    Raises:
        ValueError: max_m or s is outside its range.
    """

    takes_cosines = True
    margins: Tensor

    def __init__(self, class_counts: Tensor | Sequence[int], max_m: float = 0.5, s: float = 30.0) -> None:
        super().__init__()
        _check_finite("max_m", max_m)
        if not (isinstance(s, int | float) and 0 < s < math.inf):
            raise ValueError(f"s={text_of(s)}: must be a finite number > 0")
        n = torch.as_tensor(class_counts, dtype=torch.float64)
        margins = max_m * (n.min() / n) ** 0.25
        self.register_buffer("margins", margins.to(torch.get_default_dtype()), persistent=False)
        self.s = s

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Cosines (B, C), targets (B,) int64 -> loss (B,)."""
        margin = F.one_hot(targets, logits.shape[1]) * self.margins
        return F.cross_entropy(self.s * (logits - margin), targets, reduction="none")

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Cosines (B, C) -> log softmax(s * c), (B, C)."""
        return (self.s * logits).log_softmax(1)


class Sigmoid(nn.Module):
    """Sum of C one-vs-all binary cross entropies: L = -sum_j log sigmoid(z_j^t) (Cui et al. 2019, eq. 12).

    z_j^t is z_j for the true class and -z_j for the others.
    """

    def __init__(self, class_counts: Tensor | Sequence[int]) -> None:
        super().__init__()
        self.initial_bias: float | None = prior_bias(len(class_counts))

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (B, C), targets (B,) int64 -> loss (B,)."""
        return focal(logits, one_hot(logits, targets)).sum(1)

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Logits (B, C) -> the logarithm of the sigmoids, normalised over the classes, (B, C)."""
        return F.logsigmoid(logits).log_softmax(1)


class Focal(nn.Module):
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

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Logits (B, C) -> the logarithm of the sigmoids, normalised over the classes, (B, C)."""
        return F.logsigmoid(logits).log_softmax(1)


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
    _check_finite("gamma", gamma)
    if not (alpha is None or (type(alpha) in (int, float) and 0 <= alpha <= 1)):
        raise ValueError(f"alpha={text_of(alpha)}: must be a number in [0, 1], or null for no balance")


def _check_finite(name: str, value: float) -> None:
    if not (type(value) in (int, float) and 0 <= value < math.inf):
        raise ValueError(f"{name}={text_of(value)}: must be a finite number >= 0")
