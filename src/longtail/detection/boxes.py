"""Boxes: the true ones of a batch, and those that a detector finds.

A box is x1, y1, x2, y2 in pixels, x1 < x2 and y1 < y2. Images are put on a canvas of one size for all of them, and
boxes are in pixels of the canvas.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

BACKGROUND = -1
IGNORED = -2  # the label of an anchor that counts nowhere
MAX_DETECTIONS = 100  # of an image, as in COCO


class Objects(NamedTuple):
    """The true boxes of N images, padded to the same number M >= 1.

    Attributes:
        boxes: (N, M, 4) float32, in pixels of the canvas; 0 where there is no further box.
        labels: (N, M) int64; `BACKGROUND` where there is no further box.
        crowd: (N, M) bool: neither trained on, nor right or wrong to be found (COCO's iscrowd, VOC's difficult).
        scale: (N,) float32: pixels of the canvas per pixel of the image.
    """

    boxes: Tensor
    labels: Tensor
    crowd: Tensor
    scale: Tensor

    @classmethod
    def padded(
        cls,
        boxes: Sequence[Tensor],
        labels: Sequence[Tensor],
        crowd: Sequence[Tensor] | None = None,
        scale: Tensor | None = None,
    ) -> "Objects":
        """Put together those of N images: boxes (K, 4), labels (K,), crowd (K,), K different for each."""
        count, most = len(boxes), max([1, *map(len, boxes)])
        made = cls(
            torch.zeros(count, most, 4),
            torch.full((count, most), BACKGROUND),
            torch.zeros(count, most, dtype=torch.bool),
            torch.ones(count) if scale is None else scale.float(),
        )
        for i, (where, what) in enumerate(zip(boxes, labels, strict=True)):
            made.boxes[i, : len(where)], made.labels[i, : len(what)] = where, what
            if crowd is not None:
                made.crowd[i, : len(where)] = crowd[i]
        return made

    @property
    def present(self) -> Tensor:
        """Which rows are boxes to be trained on, (N, M) bool."""
        return (self.labels != BACKGROUND) & ~self.crowd

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.labels.device

    def to(self, device: torch.device) -> "Objects":
        """Return the same on a device; what is pinned goes to a GPU without being waited for."""
        return Objects(*(part.to(device, non_blocking=device.type != "cpu") for part in self))

    def index_select(self, dim: int, index: Tensor) -> "Objects":
        """Return those of some of the images; dim must be 0."""
        return Objects(*(part.index_select(dim, index) for part in self))

    def class_counts(self, num_classes: int) -> Tensor:
        """Count the boxes of each class, crowds left out, (C,) int64."""
        return self.labels[self.present].bincount(minlength=num_classes)


class Detections(NamedTuple):
    """What a detector finds in an image, most certain first.

    Attributes:
        boxes: (K, 4) in pixels of the canvas.
        scores: (K,) in [0, 1].
        labels: (K,) int64.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
