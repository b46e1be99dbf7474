"""Average precision: how well the boxes that are found fit the true ones, class by class."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from longtail.detection.boxes import BACKGROUND, MAX_DETECTIONS, Detections, Objects
from longtail.metrics import OLTR, spread
from longtail.runs.task import Task
from longtail.training.evaluation import Outcome, add_drawn

IOU_50, IOU_75, ALL_SIZES = 0, 5, 0  # in the precision of COCO's evaluation: IoU 0.5 to 0.95, all boxes and by size
SIZES = {"small": 1, "medium": 2, "large": 3}  # areas below 32 ** 2, between, and from 96 ** 2 px on
CONVENTION = f"AP at IoU 0.5, 101-point interpolation (COCO), at most {MAX_DETECTIONS} detections an image"
Boxes = dict[str, Tensor]  # of an image: boxes (K, 4) in its own pixels, labels (K,), and scores or iscrowd
DETECTION = Task("mAP", "AP", ("mAP_std",), counted="boxes", convention=CONVENTION)


@dataclass(frozen=True)
class DetectionOutcome(Outcome):
    """The result of an evaluation of a detector.

    Attributes:
        precision: at IoU 0.5 and recall 0, 0.01, ..., 1, (C, 101); NaN for a class without true boxes.
    """

    precision: Sequence[Sequence[float]] = field(default_factory=list)


class AveragePrecision:
    """COCO's average precision, from torchmetrics, over 101 recalls and at most 100 detections of an image.

    The primary score `mAP` and the `AP` of each class are at IoU 0.5; `mAP_50_95` is the mean over IoU 0.5, 0.55,
    ..., 0.95. Boxes count as small, medium or large by their area in pixels of the original image.

    Args:
        class_counts: training boxes per class, (C,).
    """

    task, shots = DETECTION, OLTR

    def __init__(self, class_counts: Tensor) -> None:
        self.class_counts = class_counts
        self.drawn = torch.zeros(len(class_counts), dtype=torch.int64)
        self.images: list[tuple[Boxes, Boxes]] = []  # what was found in each, and what is there

    def draw(self, objects: Objects) -> None:
        """Count the boxes of a training batch, where they are."""
        classes, times = objects.labels.clamp_min(0).flatten(), objects.present.long().flatten()
        self.drawn = add_drawn(self.drawn, classes, times)

    def update(self, found: Sequence[Detections], objects: Objects) -> None:
        """Count what was found in a batch of images, and their true boxes."""
        objects = objects.to(torch.device("cpu"))
        for one, boxes, labels, crowd, scale in zip(found, *objects, strict=True):
            there = labels != BACKGROUND
            self.images.append(
                (
                    {"boxes": one.boxes.float().cpu() / scale, "scores": one.scores.float().cpu()}
                    | {"labels": one.labels.cpu()},
                    {"boxes": boxes[there] / scale, "labels": labels[there], "iscrowd": crowd[there].int()},
                )
            )

    def outcome(self) -> DetectionOutcome:
        """Return the result over all processes, and start anew."""
        images, self.images = of_all_processes(self.images), []
        num_classes = len(self.class_counts)
        precision = precisions(images, num_classes)
        support = torch.zeros(num_classes, dtype=torch.int64)
        for _, true in images:
            support += true["labels"][true["iscrowd"] == 0].bincount(minlength=num_classes)
        per_class = precision[IOU_50, :, :, ALL_SIZES].mean(0)
        scores = {
            "mAP": float(per_class.nanmean()),
            **spread("mAP", per_class, self.class_counts),
            "mAP_75": float(precision[IOU_75, :, :, ALL_SIZES].nanmean()),
            "mAP_50_95": float(precision[..., ALL_SIZES].nanmean()),
        }
        scores |= {f"mAP_50_95_{name}": float(precision[..., size].nanmean()) for name, size in SIZES.items()}
        curves = precision[IOU_50, :, :, ALL_SIZES].T.tolist()
        return DetectionOutcome(scores, per_class.tolist(), support.tolist(), precision=curves)


def precisions(images: Sequence[tuple[Boxes, Boxes]], num_classes: int) -> Tensor:
    """Return the precision (IoUs, recalls, C, sizes) of what was found in each image; NaN where there is no value."""
    metric = MeanAveragePrecision(backend="faster_coco_eval", extended_summary=True, sync_on_compute=False)
    metric.warn_on_many_detections = False
    metric.update([found for found, _ in images], [true for _, true in images])
    computed: dict[str, Any] = metric.compute()
    known = computed["precision"][..., -1].double()  # at most 100 detections
    precision = torch.full((*known.shape[:2], num_classes, known.shape[3]), torch.nan).double()
    precision[:, :, computed["classes"].long().reshape(-1)] = torch.where(known < 0, torch.nan, known)
    return precision


def of_all_processes(own: list[Any]) -> list[Any]:
    """Return what the processes that evaluate together have, however many each; of the first process first."""
    if not (dist.is_available() and dist.is_initialized()):
        return own
    of_each: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(of_each, own)
    return [one for some in of_each for one in some]
