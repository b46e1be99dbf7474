"""RIDE: experts that are trained one by one and kept apart (Wang et al. 2021)."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.methods.criterion import Criterion, mean_over_processes
from longtail.methods.experts import Experts
from longtail.ranges import check_whole

MOST_EXPERTS = 100


class Ride(Experts):
    """Train experts each on its own loss, and reward what their predictions differ by.

    L = sum_e [ L(z_e, y) - diversity * T^2 * KL(softmax(zm / T_j) || softmax(z_e / T_j)) ], with zm the mean of the
    z_e, to which no gradient flows, and T the mean of the T_j (Wang et al. 2021, "Long-tailed recognition by routing
    diverse distribution-aware experts"). As in their code, T_j is 1 at first, and then lower for the rarer classes:
    (0.05 C pi_j + 0.95) / max_k (0.05 C pi_k + 0.95), with pi_j = n_j / N.

    Meant for loss=ldam, whose scale s multiplies the cosines in both terms, with model.head=cosine of scale 1 and
    reweight=deferred; another loss takes the logits as they are. The prediction is the mean of the z_e; the paper's
    second stage, which asks further experts for hard images alone, saves time and is left out.

    Args:
        model: see `Experts`.
        criterion: see `Method`.
        class_counts: see `Method`.
        experts: how many, in [1, 100].
        diversity: weight of the second term, finite; 0 leaves it out.
        start: fraction of the run in [0, 1] from which on the temperatures follow the class counts.
        late: see `Experts`.

    Raises:
        ValueError: a setting is outside its range, or the model cannot be split.
        InputError: the loss takes the features.
    """

    balances_classes = False
    temperatures: Tensor

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        class_counts: Tensor,
        experts: int = 3,
        diversity: float = 0.45,
        start: float = 0.8,
        late: bool = True,
    ) -> None:
        check_whole("experts", experts, most=MOST_EXPERTS)
        if not (type(diversity) in (int, float) and math.isfinite(diversity)):
            raise ValueError(f"diversity={diversity}: must be a finite number")
        if not (type(start) in (int, float) and 0 <= start <= 1):
            raise ValueError(f"start={start}: must be a fraction of the run in [0, 1]")
        super().__init__(model, criterion, class_counts, [0.0] * experts, late)
        self.diversity, self.start, self.at_last = diversity, start, False
        scaled = 0.05 * len(class_counts) * class_counts.double() / class_counts.sum() + 0.95
        self.register_buffer("temperatures", (scaled / scaled.max()).float(), persistent=False)

    def at(self, progress: float) -> None:
        """Let the temperatures follow the class counts in the last part of the run."""
        super().at(progress)
        self.at_last = progress >= self.start

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the sum of the experts' losses, less what they differ by."""
        images, targets = batch
        logits = self.model(images).float()
        own = torch.stack([self.criterion(z, targets) for z in logits]).sum()
        return own - self.diversity * self.difference(logits) if self.diversity else own

    def difference(self, logits: Tensor) -> Tensor:
        """Return T^2 * sum_e KL(softmax(zm / T_j) || softmax(z_e / T_j)) of logits (E, B, C), a mean over images."""
        loss: Any = self.criterion.loss
        if getattr(loss, "takes_cosines", False):
            logits = getattr(loss, "present", loss).s * logits  # of a deferred loss, that of this moment
        temperatures = self.temperatures if self.at_last else torch.ones_like(self.temperatures)
        mean = (logits.detach().mean(0) / temperatures).log_softmax(1)
        each = (logits / temperatures).log_softmax(2)
        difference = F.kl_div(each, mean.expand_as(each), reduction="sum", log_target=True)
        images = mean_over_processes(difference.new_full((), logits.shape[1]))
        return temperatures.mean() ** 2 * difference / images
