"""Losses: a class `(class_counts) -> nn.Module`; the module maps logits (B, C) and targets (B,) to (B,), unreduced.

Class weights and the reduction are applied by the classifier, so that each loss goes with each weighting. A loss
whose last layer should start at the prior says so by `initial_bias`; that bias then has no weight decay.
"""

import math
from collections.abc import Sequence

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


class Sigmoid(nn.Module):
    """C one-vs-all binary cross entropies, summed: L = -sum_j log sigmoid(z_j^t) (Cui et al. 2019, eq. 12).

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

    Lin et al. 2017, eq. 4, as used by Cui et al. 2019, eq. 13; gamma = 0 is `Sigmoid` exactly. The modulator is
    computed as exp(gamma * log sigmoid(-z_j^t)), which overflows nowhere.

    Args:
        class_counts: training images per class, (C,).
        gamma: focusing parameter, >= 0 and finite.

    Raises:
        ValueError: gamma is negative or not finite.
    """

    def __init__(self, class_counts: Tensor | Sequence[int], gamma: float = 1.0) -> None:
        super().__init__()
        if not (isinstance(gamma, int | float) and 0 <= gamma < math.inf):
            raise ValueError(f"gamma={gamma}: must be a finite number >= 0")
        self.gamma = gamma
        self.initial_bias: float | None = prior_bias(len(class_counts))

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (B, C), targets (B,) int64 -> loss (B,)."""
        z = signed(logits, targets)
        return -((self.gamma * F.logsigmoid(-z)).exp() * F.logsigmoid(z)).sum(1)


def prior_bias(num_classes: int) -> float:
    """The bias at which every sigmoid starts at the prior 1 / C: -log(C - 1), 0 for one class."""
    return -math.log(max(num_classes - 1, 1))


def signed(logits: Tensor, targets: Tensor) -> Tensor:
    """z^t: z for the true class, -z for the others, (B, C)."""
    return (-logits).scatter(1, targets[:, None], logits.gather(1, targets[:, None]))
