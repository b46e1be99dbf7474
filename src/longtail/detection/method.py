"""The training of a detector: what it minimises and what it finds."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from longtail.detection.boxes import Detections, Objects
from longtail.detection.criterion import DetectionCriterion
from longtail.methods import Method
from longtail.methods.method import Augment


class Detection(Method):
    """Train a detector that says what its loss is and what it finds.

    Args:
        model: the detector: `loss(images, objects, criterion)` and `detect(images)`.
        criterion: classification and box loss.
        class_counts: training boxes per class, (C,).
        flip: whether half of the training images are mirrored, left to right.
    """

    def __init__(self, model: nn.Module, criterion: DetectionCriterion, class_counts: Tensor, flip: bool) -> None:
        super().__init__(model, criterion, class_counts)
        self.flip = flip

    @property
    def heads(self) -> Sequence[nn.Module]:
        """None of a classifier's: a detector sets its own prior."""
        return []

    def transform(self, images: Tensor, targets: Objects, augment: Augment) -> tuple[Tensor, Objects]:
        """Mirror half of the images and their boxes, if so wished."""
        if self.flip:
            images, targets = mirror(images, targets, torch.rand(len(images), device=images.device) < 0.5)
        return augment(images), targets

    def loss(self, batch: tuple[Tensor, Objects]) -> Tensor:
        """Return the detector's loss, a scalar."""
        images, objects = batch
        loss: Tensor = self.model.loss(images, objects, self.criterion)  # type: ignore[operator]
        return loss

    def predict(self, images: Tensor) -> Any:
        """Return what is found in each image, a list of B `Detections`."""
        found: list[Detections] = self.model.detect(images)  # type: ignore[operator]
        return found

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return what is trained; biases and the scales of normalisations have no weight decay."""
        trained = [p for p in self.parameters() if p.requires_grad]
        return [
            {"params": [p for p in trained if p.ndim > 1]},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]


def mirror(images: Tensor, objects: Objects, chosen: Tensor) -> tuple[Tensor, Objects]:
    """Mirror some images left to right, with their boxes.

    Args:
        images: (B, H, W, channels).
        objects: their true boxes.
        chosen: which images, (B,) bool.
    """
    x1, y1, x2, y2 = objects.boxes.unbind(-1)
    mirrored = torch.stack((images.shape[2] - x2, y1, images.shape[2] - x1, y2), -1)
    boxes = torch.where((chosen[:, None] & (objects.labels >= 0))[..., None], mirrored, objects.boxes)
    return torch.where(chosen[:, None, None, None], images.flip(2), images), objects._replace(boxes=boxes)
