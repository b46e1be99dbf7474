"""What the training of a detector minimises: a detection loss, class weights, and the balance with the boxes."""

import math

import torch
from torch import Tensor, nn

from longtail.detection.boxes import IGNORED
from longtail.methods.criterion import Schedule, Weighted, mean_over_processes

EASY = math.log(9.0)  # a negative entry is easy, p_t > 0.9, where its logit is below -EASY


class DetectionCriterion(Weighted):
    """Weigh the classification loss by class and add the box loss, both per positive anchor of the batch.

    All C terms of a positive anchor have the weight of its class, as Cui et al. 2019 weigh those of an image;
    background weighs 1. A batch without positive anchors is divided by 1. The batch is that of all processes, whose
    gradients are averaged.

    Args:
        loss: logits (B, A, C), positive (B, A, C), valid (B, A) -> terms (B, A, C).
        weights: of the classes, (C,), finite and >= 0; or a function of the run's progress that returns them.
        box_weight: factor on the box loss, finite and >= 0.

    Attributes:
        shares: of the last batch of this process, each a scalar on the device; empty before the first.
            easy_negatives, foreground: shares of the classification loss that come from negative entries (an anchor
            and a class) with p_t > 0.9, and from positive anchors; in [0, 1].
            classification_to_box: ratio of the two losses, as they are added; NaN where there is no box loss.
            positives, anchors: per image.

    Raises:
        ValueError: weights or the factor are outside their range.
    """

    def __init__(self, loss: nn.Module, weights: Tensor | Schedule, box_weight: float = 1.0) -> None:
        if not 0 <= box_weight < math.inf:
            raise ValueError(f"box_weight={box_weight}: must be a finite number >= 0")
        super().__init__(loss, weights)
        self.box_weight = box_weight
        self.shares: dict[str, Tensor] = {}

    def forward(self, logits: Tensor, labels: Tensor, box_losses: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar.

        Args:
            logits: (B, A, C).
            labels: (B, A): the class that an anchor matches, `BACKGROUND` or `IGNORED`.
            box_losses: (B, A), counted where an anchor is positive.
        """
        logits, found = logits.float(), labels >= 0
        positive = labels[..., None] == torch.arange(logits.shape[2], device=logits.device)
        terms: Tensor = self.loss(logits, positive, labels != IGNORED)
        weights = torch.where(found, self.weights_on(logits.device)[labels.clamp_min(0)], 1.0)
        by_anchor = weights * terms.sum(-1)
        positives = mean_over_processes(found.sum(), least=1)
        classification, boxes = by_anchor.sum() / positives, box_losses.where(found, 0.0).sum() / positives
        with torch.no_grad():
            easy = weights * terms.where((logits < -EASY) & ~positive, 0.0).sum(-1)
            share = 1 / by_anchor.sum().clamp_min(torch.finfo(torch.float32).tiny)
            ratio = classification / (self.box_weight * boxes)
            self.shares = {
                "easy_negatives": easy.sum() * share,
                "foreground": by_anchor.where(found, 0.0).sum() * share,
                "classification_to_box": ratio.where(ratio.isfinite(), math.nan),
                "positives": found.sum() / len(labels),
                "anchors": torch.tensor(labels.shape[1]),
            }
        return classification + self.box_weight * boxes
