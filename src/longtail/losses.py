"""Losses: a class `(class_counts) -> nn.Module` that maps logits (B, C) and targets (B,) to losses (B,), unreduced.

The criterion applies class weights and the reduction, so that every loss goes with every weighting. A loss may set
`initial_bias`, the value at which the last layer's bias starts (and is then spared weight decay), and
`takes_cosines`, if its logits must come from a `models.CosineHead` of scale 1.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
            raise ValueError(f"s={s}: must be a finite number > 0")
        n = torch.as_tensor(class_counts, dtype=torch.float64)
        margins = max_m * (n.min() / n) ** 0.25
        self.register_buffer("margins", margins.to(torch.get_default_dtype()), persistent=False)
        self.s = s

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Cosines (B, C), targets (B,) int64 -> loss (B,)."""
        margin = F.one_hot(targets, logits.shape[1]) * self.margins
        return F.cross_entropy(self.s * (logits - margin), targets, reduction="none")


class Sigmoid(nn.Module):
    """Sum of C one-vs-all binary cross entropies: L = -sum_j log sigmoid(z_j^t) (Cui et al. 2019, eq. 12).

    z_j^t is z_j for the true class and -z_j for the others.
    """

    def __init__(self, class_counts: Tensor | Sequence[int]) -> None:
        super().__init__()
        self.initial_bias: float | None = prior_bias(len(class_counts))

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (B, C), targets (B,) int64 -> loss (B,)."""
        return -F.logsigmoid(signed(logits, targets)).sum(1)


class Focal(nn.Module):
    """Focal loss on C sigmoids: L = -sum_j (1 - p_j^t)^gamma log p_j^t, p_j^t = sigmoid(z_j^t).

    Lin et al. 2017, eq. 4, as used by Cui et al. 2019, eq. 13; gamma = 0 is exactly `Sigmoid`. The modulating factor
    is computed as exp(gamma * log sigmoid(-z_j^t)), which never overflows.

    Args:
        class_counts: training images per class, (C,).
        gamma: focusing parameter, finite and >= 0.

    Raises:
        ValueError: gamma is negative or not finite.
    """

    def __init__(self, class_counts: Tensor | Sequence[int], gamma: float = 1.0) -> None:
        super().__init__()
        _check_finite("gamma", gamma)
        self.gamma = gamma
        self.initial_bias: float | None = prior_bias(len(class_counts))

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (B, C), targets (B,) int64 -> loss (B,)."""
        z = signed(logits, targets)
        return -((self.gamma * F.logsigmoid(-z)).exp() * F.logsigmoid(z)).sum(1)


def prior_bias(num_classes: int) -> float:
    """Return the bias at which every sigmoid equals the prior 1 / C: -log(C - 1), and 0 for one class."""
    return -math.log(max(num_classes - 1, 1))


def signed(logits: Tensor, targets: Tensor) -> Tensor:
    """Return z^t, (B, C): z for the true class, -z for the others."""
    return (-logits).scatter(1, targets[:, None], logits.gather(1, targets[:, None]))


def _check_finite(name: str, value: float) -> None:
    if not (isinstance(value, int | float) and 0 <= value < math.inf):
        raise ValueError(f"{name}={value}: must be a finite number >= 0")
