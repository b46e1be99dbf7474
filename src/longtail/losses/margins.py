"""Softmax losses that shift or scale the logits by class."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.ranges import check_finite


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
        check_finite("tau", tau)
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


class VectorScaling(nn.Module):
    """VS: L = -log softmax(Delta * z + tau * log pi)_y, Delta_j = (n_j / n_max) ** gamma, pi_j = n_j / N.

    Kini et al. 2021 ("Label-imbalanced and group-sensitive classification under overparameterization"). With
    gamma = 0 it is `LogitAdjustment`, with tau = 0 CDT (Ye et al. 2020). Test-time predictions use the logits as they
    are. Unlike with softmax, adding a constant to all logits changes the loss.

    Args:
        class_counts: training images per class, (C,), each >= 1.
        gamma: how much smaller the factor of a rarer class is, finite and >= 0.
        tau: strength of the adjustment, finite and >= 0.

    Raises:
        ValueError: gamma or tau is outside its range.
    """

    factors: Tensor
    adjustment: Tensor

    def __init__(self, class_counts: Tensor | Sequence[int], gamma: float = 0.3, tau: float = 1.0) -> None:
        super().__init__()
        check_finite("gamma", gamma)
        check_finite("tau", tau)
        self.balances_classes = gamma > 0 or tau > 0
        n = torch.as_tensor(class_counts, dtype=torch.float64)
        for name, values in (("factors", (n / n.max()) ** gamma), ("adjustment", tau * (n / n.sum()).log())):
            self.register_buffer(name, values.to(torch.get_default_dtype()), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (B, C), targets (B,) int64 -> loss (B,)."""
        return F.cross_entropy(self.factors * logits + self.adjustment, targets, reduction="none")


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
        check_finite("max_m", max_m)
        check_finite("s", s, above=True)
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
