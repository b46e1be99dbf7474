"""MAMix: mixup whose labels follow the margins of the classes (Cheng, Mai and Lin 2023)."""

import torch
from torch import Tensor, nn

from longtail.methods.criterion import Criterion
from longtail.methods.mixup import Mixup

LEAST = -100  # of omega; the literature has -1/4
TINY = torch.finfo(torch.float32).tiny


class MarginAwareMixup(Mixup):
    """Mix images as mixup does; the label changes hands nearer to the more frequent class.

    With u = 1 - lambda the image's share of class j, the boundary between classes i and j lies at
    c = n_i^omega / (n_i^omega + n_j^omega), and the share of y_i in the loss falls linearly from 1 at u = 0 to 1/2 at
    u = c, and on to 0 at u = 1 (Cheng, Mai and Lin 2023, "From SMOTE to Mixup"):

        1 - u / (2 c)            where u < c,
        (1 - u) / (2 (1 - c))    elsewhere.

    Args:
        model: see `Method`.
        criterion: see `Method`.
        class_counts: see `Method`.
        alpha: see `Mixup`.
        omega: exponent of the counts, in [-100, 0]; -1/4 gives LDAM's margins, 0 mixup.

    Raises:
        ValueError: a setting is outside its range.
    """

    logs: Tensor

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        class_counts: Tensor,
        alpha: float = 1.0,
        omega: float = -0.25,
    ) -> None:
        if not (type(omega) in (int, float) and LEAST <= omega <= 0):
            raise ValueError(f"omega={omega}: must be a number in [{LEAST}, 0]")
        super().__init__(model, criterion, class_counts, alpha)
        self.register_buffer("logs", (omega * class_counts.double().log()).float(), persistent=False)

    def label_share(self, targets: Tensor, others: Tensor, share: float) -> Tensor:
        """Return the share of `targets` in the loss, (B,)."""
        lead, other = self.logs[targets] - self.logs[others], 1 - share
        boundary, rest = (side.sigmoid().clamp_min(TINY) for side in (lead, -lead))  # which sum to 1
        return torch.where(other < boundary, 1 - other / (2 * boundary), share / (2 * rest))
