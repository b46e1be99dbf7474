"""Cross entropy, and what smooths its targets or weighs it image by image."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.ranges import check_finite, check_fraction


class Softmax(nn.Module):
    """Cross entropy on the softmax: L = -log(exp(z_y) / sum_j exp(z_j)) (Cui et al. 2019, eq. 10)."""

    initial_bias: float | None = None

    def __init__(self, class_counts: Tensor | Sequence[int]) -> None:
        super().__init__()

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (B, C), targets (B,) int64 -> loss (B,)."""
        return F.cross_entropy(logits, targets, reduction="none")


class LabelAwareSmoothing(nn.Module):
    """Label smoothing by class: L = -(1 - eps_y) log p_y - eps_y mean_j log p_j, p = softmax(z).

    Zhong et al. 2021 (MiSLAS): eps runs from `smooth_tail` of the rarest class to `smooth_head` of the
    most frequent one, which a network is surest of, along a curve in a = (n_y - n_min) / (n_max - n_min):

        concave    tail + (head - tail) sin(a pi / 2)
        linear     tail + (head - tail) a
        convex     head + (head - tail) sin((3 + a) pi / 2)

    The mean is over all C classes, as in their code; the paper spreads eps over the C - 1 others. Meant for a second
    stage. Where all counts are equal, all classes have `smooth_head`.

    Args:
        class_counts: training images per class, (C,), each >= 1.
        smooth_head: eps of the most frequent class, in [0, 1].
        smooth_tail: eps of the rarest class, in [0, 1].
        shape: of the curve: "concave", "linear" or "convex".

    Raises:
        ValueError: a setting is outside its range.
    """

    smoothing: Tensor

    def __init__(
        self,
        class_counts: Tensor | Sequence[int],
        smooth_head: float = 0.4,
        smooth_tail: float = 0.1,
        shape: Literal["concave", "linear", "convex"] = "concave",
    ) -> None:
        super().__init__()
        check_fraction("smooth_head", smooth_head)
        check_fraction("smooth_tail", smooth_tail)
        if shape not in ("concave", "linear", "convex"):
            raise ValueError(f"shape={shape}: must be concave, linear or convex")
        n = torch.as_tensor(class_counts, dtype=torch.float64)
        least, most = n.min(), n.max()
        a = (n - least) / (most - least) if most > least else torch.ones_like(n)
        quarter = a * (torch.pi / 2)
        risen = {"concave": quarter.sin(), "linear": a, "convex": 1 - quarter.cos()}[shape]
        smoothing = smooth_tail + (smooth_head - smooth_tail) * risen
        self.register_buffer("smoothing", smoothing.to(torch.get_default_dtype()), persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits (B, C), targets (B,) int64 -> loss (B,)."""
        smoothing = self.smoothing[targets]
        true = F.cross_entropy(logits, targets, reduction="none")
        return (1 - smoothing) * true - smoothing * F.log_softmax(logits, 1).mean(1)


class InfluenceBalanced(nn.Module):
    """Cross entropy over the influence of an image: L = CE * alpha / (|p - e_y|_1 |h|_1 + epsilon), p = softmax(z).

    Park et al. 2021 ("Influence-balanced loss"), and their code; h are the features and e_y is one-hot, so that
    |p - e_y|_1 = 2 (1 - p_y). The gradient passes through the factor. They train with plain cross entropy for the
    first half of the run, see `Deferred`, and give this loss class weights proportional to 1 / n.

    Args:
        class_counts: training images per class, (C,); they do not matter.
        alpha: factor on the loss, finite and > 0.
        epsilon: what keeps the divisor above 0, finite and > 0.

    Raises:
        ValueError: alpha or epsilon is outside its range.
    """

    takes_features = True

    def __init__(self, class_counts: Tensor | Sequence[int], alpha: float = 1000.0, epsilon: float = 0.001) -> None:
        super().__init__()
        check_finite("alpha", alpha, above=True)
        check_finite("epsilon", epsilon, above=True)
        self.alpha, self.epsilon = alpha, epsilon

    def forward(self, logits: Tensor, targets: Tensor, features: Tensor | None = None) -> Tensor:
        """Logits (B, C), targets (B,) int64, features (B, F) -> loss (B,); without features cross entropy."""
        losses = F.cross_entropy(logits, targets, reduction="none")
        if features is None:
            return losses
        distance = -2 * torch.expm1(-losses)  # 2 (1 - p_y), which keeps its digits for p_y near 1
        return losses * self.alpha / (distance * features.abs().sum(1) + self.epsilon)
