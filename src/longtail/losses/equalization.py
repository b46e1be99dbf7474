"""Equalization losses: the images of other classes do not push the logits of rare classes down."""

import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.errors import text_of
from longtail.losses.sigmoid import OneVsAll, focal, one_hot
from longtail.ranges import check_fraction


class Equalization(nn.Module):
    """A loss that spares the rare classes.

    Attributes:
        rare: which classes have a share of the training images below the threshold, (C,) bool.

    Raises:
        ValueError: the threshold is outside its range.
    """

    rare: Tensor

    def __init__(self, class_counts: Tensor | Sequence[int], threshold: float | None) -> None:
        super().__init__()
        n = torch.as_tensor(class_counts, dtype=torch.float64)
        if threshold is None:
            threshold = 0.5 / len(n)
        check_fraction("threshold", threshold)
        self.register_buffer("rare", n / n.sum() < threshold, persistent=False)

    def remarks(self, epochs: int) -> Iterator[str]:
        """Say so if no class is rare."""
        if not bool(self.rare.any()):
            yield "spares no class, for none has a share of the images below loss.threshold"


class SoftmaxEqualization(Equalization):
    """Softmax equalization: L = -log(exp(z_y) / sum_j w_j exp(z_j)), w_j = 1 - b_j [pi_j < lambda] [j != y].

    Tan et al. 2020 ("Equalization loss"), for classification; pi_j = n_j / N, and b_j ~ Bernoulli(gamma) is drawn for
    each image and class from PyTorch's generator. Without rare classes, and in evaluation, it is `Softmax`.

    Args:
        class_counts: training images per class, (C,), each >= 1.
        threshold: lambda, the share of the training images below which a class is rare, in [0, 1]; None for half of
            an equal share, 1 / (2 C), the 0.005 that is usual for 100 classes.
        gamma: the chance that a rare class is left out of the sum, in [0, 1].

    Raises:
        ValueError: the threshold or gamma is outside its range.
    """

    def __init__(
        self, class_counts: Tensor | Sequence[int], threshold: float | None = None, gamma: float = 0.9
    ) -> None:
        super().__init__(class_counts, threshold)
        check_fraction("gamma", gamma)
        self.gamma = gamma
        self.balances_classes = gamma > 0 and bool(self.rare.any())

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (B, C), targets (B,) int64 -> loss (B,)."""
        if self.training:
            drawn = torch.rand_like(logits) < self.gamma
            logits = logits.masked_fill(drawn & self.rare & ~one_hot(logits, targets), -math.inf)
        return F.cross_entropy(logits, targets, reduction="none")


class SigmoidEqualization(Equalization, OneVsAll):
    """Sigmoid equalization: L = -sum_j w_j log sigmoid(z_j^t), w_j = 1 - [pi_j < lambda] [j != y].

    Tan et al. 2020 ("Equalization loss"); pi_j = n_j / N, and z_j^t is z_j for the true class, -z_j for the others.
    Without rare classes it is `Sigmoid`, but for the bias that it starts with.

    Args:
        class_counts: training images per class, (C,), each >= 1.
        threshold: lambda, the share of the training images below which a class is rare, in [0, 1]; None for half of
            an equal share, 1 / (2 C), the 0.005 that is usual for 100 classes.
        prior: the value at which every sigmoid starts, in (0, 1).

    Raises:
        ValueError: the threshold or the prior is outside its range.
    """

    def __init__(
        self, class_counts: Tensor | Sequence[int], threshold: float | None = None, prior: float = 0.001
    ) -> None:
        super().__init__(class_counts, threshold)
        if not (type(prior) is float and 0 < prior < 1):
            raise ValueError(f"prior={text_of(prior)}: must be a number in (0, 1)")
        self.initial_bias: float | None = math.log(prior / (1 - prior))
        self.balances_classes = bool(self.rare.any())

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (B, C), targets (B,) int64 -> loss (B,)."""
        true = one_hot(logits, targets)
        return focal(logits, true).masked_fill(self.rare & ~true, 0.0).sum(1)
