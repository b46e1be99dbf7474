"""Detection losses: a class `(class_counts) -> nn.Module`, for each anchor and class on a sigmoid of its own.

Each maps logits (B, A, C) of A anchors in each of B images, `positive` (B, A, C) bool, the classes that an anchor
matches (none for background), and `valid` (B, A) bool, to terms (B, A, C), 0 where they are not counted. The
criterion weighs the classes and divides by the number of positive anchors.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from longtail.losses import check_focal, focal
from longtail.ranges import check_finite


class Focal(nn.Module):
    """Focal loss: -alpha_t (1 - p_t)^gamma log p_t (Lin et al. 2017, eq. 4 and 5).

    With gamma = 0 it is alpha-balanced cross entropy, and without alpha as well cross entropy.

    Args:
        class_counts: training boxes per class, (C,).
        gamma: focusing parameter, finite and >= 0.
        alpha: balance, in [0, 1]: alpha_t is alpha where positive, else 1 - alpha; None for 1.

    Raises:
        ValueError: gamma or alpha is outside its range.
    """

    def __init__(self, class_counts: Tensor | Sequence[int], gamma: float = 2.0, alpha: float | None = None) -> None:
        super().__init__()
        check_focal(gamma, alpha)
        self.gamma, self.alpha = gamma, alpha

    def forward(self, logits: Tensor, positive: Tensor, valid: Tensor) -> Tensor:
        """Logits (B, A, C), positive (B, A, C) bool, valid (B, A) bool -> terms (B, A, C)."""
        return focal(logits, positive, self.gamma, self.alpha).where(valid[..., None], 0.0)


class HardNegativeMining(nn.Module):
    """Cross entropy of the positive anchors and of the hardest negative ones alone (Liu et al. 2016, SSD, 2.2).

    The negative anchors of an image are ranked by their loss over all classes, and `ratio` times as many are kept as
    the image has positive ones, but `LEAST` in any case.

    Args:
        class_counts: training boxes per class, (C,).
        ratio: negative anchors per positive one, finite and > 0.

    Raises:
        ValueError: the ratio is outside its range.
    """

    LEAST = 10

    def __init__(self, class_counts: Tensor | Sequence[int], ratio: float = 3.0) -> None:
        super().__init__()
        check_finite("ratio", ratio, above=True)
        self.ratio = ratio

    def forward(self, logits: Tensor, positive: Tensor, valid: Tensor) -> Tensor:
        """Logits (B, A, C), positive (B, A, C) bool, valid (B, A) bool -> terms (B, A, C)."""
        terms = focal(logits, positive)
        foreground = positive.any(-1) & valid
        negative = valid & ~foreground
        hardness = terms.detach().sum(-1).masked_fill(~negative, -1.0)  # below any negative's
        places = torch.arange(logits.shape[1], device=logits.device).expand_as(hardness)
        rank = torch.empty_like(places, memory_format=torch.contiguous_format)
        rank.scatter_(1, hardness.argsort(dim=1, descending=True), places)
        kept = (self.ratio * foreground.sum(1, keepdim=True)).clamp_min(self.LEAST)
        return terms.where((foreground | negative & (rank < kept))[..., None], 0.0)
