"""Remix: mixup whose labels lean to the rarer class (Chou et al. 2020)."""

import torch
from torch import Tensor, nn

from longtail.methods.criterion import Criterion
from longtail.methods.mixup import Mixup
from longtail.ranges import check_fraction


class Remix(Mixup):
    """Mix images as mixup does; where one class is much rarer, and has enough of the image, the label is all its own.

    The share of y_i in the loss is (Chou et al. 2020, eq. 7)

        0       where n_i / n_j >= kappa and lambda < tau,
        1       where n_i / n_j <= 1 / kappa and 1 - lambda < tau,
        lambda  elsewhere, as in mixup.

    Args:
        model: see `Method`.
        criterion: see `Method`.
        class_counts: see `Method`.
        alpha: see `Mixup`.
        kappa: ratio of the counts from which on the label leans, > 1.
        tau: the share of the image below which the more frequent class loses its label, in [0, 1]; 0 for mixup.

    Raises:
        ValueError: a setting is outside its range.
    """

    counts: Tensor

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        class_counts: Tensor,
        alpha: float = 1.0,
        kappa: float = 3.0,
        tau: float = 0.5,
    ) -> None:
        if not (type(kappa) in (int, float) and kappa > 1):
            raise ValueError(f"kappa={kappa}: must be a number > 1")
        check_fraction("tau", tau)
        super().__init__(model, criterion, class_counts, alpha)
        self.kappa, self.tau = kappa, tau
        self.register_buffer("counts", class_counts.float(), persistent=False)

    def label_share(self, targets: Tensor, others: Tensor, share: float) -> Tensor:
        """Return the share of `targets` in the loss, (B,)."""
        first, second = self.counts[targets], self.counts[others]
        loses = (first >= self.kappa * second) & (share < self.tau)
        wins = (second >= self.kappa * first) & (1 - share < self.tau)
        return torch.full_like(first, share).masked_fill(loses, 0.0).masked_fill(wins, 1.0)
