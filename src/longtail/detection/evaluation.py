"""Average precision: how well the boxes that are found fit the true ones, class by class."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.detection import MeanAveragePrecision

from longtail.detection.boxes import BACKGROUND, Detections, Objects
from longtail.metrics import spread
from longtail.runs.task import Task
from longtail.training.evaluation import Outcome

MAX_DETECTIONS = 100  # of an image, as in COCO
IOU_50, IOU_75, ALL_SIZES = 0, 5, 0  # in the precision of COCO's evaluation: IoU 0.5 to 0.95, all boxes and by size
SIZES = {"small": 1, "medium": 2, "large": 3}  # areas below 32 ** 2, between, and from 96 ** 2 px on
CONVENTION = "AP at IoU 0.5, 101-point interpolation (COCO), at most 100 detections an image"
DETECTION = Task("mAP", "AP", ("mAP_std",), counted="boxes", convention=CONVENTION)


@dataclass(frozen=True)
class DetectionOutcome(Outcome):
    """The result of an evaluation of a detector.

    Attributes:
        precision: at IoU 0.5 and recall 0, 0.01, ..., 1, (C, 101); NaN for a class without true boxes.
    """

    precision: Sequence[Sequence[float]] = field(default_factory=list)


class AveragePrecision(Metric):
    """COCO's average precision, from torchmetrics, over 101 recalls and at most 100 detections of an image.

    The primary score `mAP` and the `AP` of each class are at IoU 0.5; `mAP_50_95` is the mean over IoU 0.5, 0.55,
    ..., 0.95. Boxes count as small, medium or large by their area in pixels of the original image.

    Args:
        class_counts: training boxes per class, (C,).
    """

    full_state_update = False
    task = DETECTION
    support: Tensor

    def __init__(self, class_counts: Tensor) -> None:
        super().__init__()
        self.class_counts = class_counts
        # No state: what was drawn is kept from one evaluation to the next.
        self.drawn = torch.zeros(len(class_counts), dtype=torch.int64)
        self.precisions = MeanAveragePrecision(backend="faster_coco_eval", extended_summary=True)
        self.precisions.warn_on_many_detections = False
        self.add_state("support", torch.zeros(len(class_counts), dtype=torch.int64), dist_reduce_fx="sum")

    def draw(self, objects: Objects) -> None:
        """Count the boxes of a training batch, where they are."""
        if self.drawn.device != objects.device:
            self.drawn = self.drawn.to(objects.device)
        self.drawn.index_add_(0, objects.labels.clamp_min(0).flatten(), objects.present.long().flatten())

    def update(self, found: Sequence[Detections], objects: Objects) -> None:
        """Count what was found in a batch of images, and their true boxes."""
        self.support.index_add_(0, objects.labels.clamp_min(0).flatten(), objects.present.long().flatten())
        scales, there = objects.scale.tolist(), objects.labels != BACKGROUND
        self.precisions.update(
            [
                {"boxes": one.boxes.float() / scale, "scores": one.scores.float(), "labels": one.labels}
                for one, scale in zip(found, scales, strict=True)
            ],
            [
                {
                    "boxes": objects.boxes[i, there[i]] / scale,
                    "labels": objects.labels[i, there[i]],
                    "iscrowd": objects.crowd[i, there[i]].int(),
                }
                for i, scale in enumerate(scales)
            ],
        )

    def compute(self) -> dict[str, Tensor]:
        """Precision (IoUs, recalls, C, sizes) of all processes, NaN where there is no value, and support (C,)."""
        found: dict[str, Any] = self.precisions.compute()
        known = found["precision"][..., -1].cpu()  # at most 100 detections
        precision = torch.full((*known.shape[:2], len(self.class_counts), known.shape[3]), torch.nan).double()
        precision[:, :, found["classes"].long().reshape(-1)] = torch.where(known < 0, torch.nan, known.double())
        return {"precision": precision, "support": self.support.cpu()}

    def reset(self) -> None:
        """Start anew."""
        super().reset()
        self.precisions.reset()

    def outcome(self) -> DetectionOutcome:
        """Return the result over all processes, and start anew."""
        computed = self.compute()
        self.reset()
        precision = computed["precision"]
        per_class = precision[IOU_50, :, :, ALL_SIZES].mean(0)
        scores = {
            "mAP": float(per_class.nanmean()),
            **spread("mAP", per_class, self.class_counts),
            "mAP_75": float(precision[IOU_75, :, :, ALL_SIZES].nanmean()),
            "mAP_50_95": float(precision[..., ALL_SIZES].nanmean()),
        }
        scores |= {f"mAP_50_95_{name}": float(precision[..., size].nanmean()) for name, size in SIZES.items()}
        curves = precision[IOU_50, :, :, ALL_SIZES].T.tolist()
        return DetectionOutcome(scores, per_class.tolist(), computed["support"].tolist(), precision=curves)
