"""Anchors and boxes: which anchor is trained on which box, and boxes as anchors see them.

As torchvision's `Matcher` and `BoxCoder` (Ren et al. 2015, eq. 2; Lin et al. 2017, section 4), for a whole batch at
once and without a read-back from the device.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from longtail.detection.boxes import BACKGROUND, IGNORED, Objects

HIGH, LOW = 0.5, 0.4  # IoU from which an anchor is positive, below which it is background; between, it is ignored
LARGEST = math.log(1000 / 16)  # of a code's log width and height, before the exponential


class Matches(NamedTuple):
    """What each anchor is trained on.

    Attributes:
        labels: (B, A): a class, `BACKGROUND` or `IGNORED`.
        boxes: (B, A, 4): the box of a positive anchor, and the anchor itself elsewhere.
    """

    labels: Tensor
    boxes: Tensor


@torch.no_grad()
def match(objects: Objects, anchors: Tensor) -> Matches:
    """Match anchors (A, 4) to the boxes of B images.

    An anchor is positive for the box of highest IoU from `HIGH` on, background below `LOW`. The best anchors of a
    box are positive, too, for whichever box they overlap most. An anchor that is not positive and lies in a crowd
    with `LOW` of its area or more is ignored; a crowd has no anchors of its own.
    """
    overlap = _overlap(objects, anchors)
    most, index = overlap.max(1)
    best = overlap.amax(2, keepdim=True).clamp_min(1e-9).masked_fill(~objects.present[..., None], math.inf)
    positive = (most >= HIGH) | (overlap >= best).any(1)
    background = (most < LOW) & (overlap > -LOW).all(1)
    labels = torch.where(positive, objects.labels.gather(1, index), torch.where(background, BACKGROUND, IGNORED))
    boxes = objects.boxes.gather(1, index[..., None].expand(-1, -1, 4))
    return Matches(labels, torch.where((labels >= 0)[..., None], boxes, anchors))


def _overlap(objects: Objects, anchors: Tensor) -> Tensor:
    """Return the IoU (B, M, A); for a crowd minus the share of the anchor that lies in it, which no box exceeds."""
    common, crowd = intersections(objects.boxes, anchors), objects.crowd[..., None]
    alone = (~crowd).float()  # of a crowd, neither the rest nor what is common is added to the anchor
    union = (area(objects.boxes)[..., None] * alone + area(anchors)).addcmul_(common, alone, value=-1)
    return common.div_(union).mul_(torch.where(crowd, -1.0, 1.0))


def intersections(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return the areas that boxes (..., 4) have in common with anchors (A, 4), (..., A)."""
    x1, y1, x2, y2 = boxes[..., None].unbind(-2)
    left, top, right, bottom = anchors.T.contiguous()  # four rows, which are faster to walk along than columns
    width = torch.minimum(x2, right).sub_(torch.maximum(x1, left)).clamp_(min=0)
    return width.mul_(torch.minimum(y2, bottom).sub_(torch.maximum(y1, top)).clamp_(min=0))


def area(boxes: Tensor) -> Tensor:
    """Return the areas (...) of boxes (..., 4)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return boxes (..., 4) as offsets from anchors: of the centre in anchor sizes, of the size as logarithms."""
    (centre, size), (centre_a, size_a) = _centred(boxes), _centred(anchors)
    return torch.cat(((centre - centre_a) / size_a, (size / size_a).log()), -1)


def decode(codes: Tensor, anchors: Tensor) -> Tensor:
    """Return the boxes (..., 4) of codes: the inverse of `encode`, with a limit on what grows."""
    centre_a, size_a = _centred(anchors)
    centre = centre_a + codes[..., :2] * size_a
    half = codes[..., 2:].clamp(max=LARGEST).exp() * size_a / 2
    return torch.cat((centre - half, centre + half), -1)


def _centred(boxes: Tensor) -> tuple[Tensor, Tensor]:
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + size / 2, size
