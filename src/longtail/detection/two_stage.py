"""A two-stage detector behind the same contract: torchvision's Faster R-CNN on the same backbone and pyramid."""

from collections import OrderedDict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

from longtail.detection.anchors import AnchorGrid
from longtail.detection.boxes import Detections, Objects
from longtail.detection.criterion import DetectionCriterion
from longtail.detection.detector import MOST, NMS_IOU, SCORE, Pyramid
from longtail.detection.losses import Focal

POOL = 7  # cells to a side of a proposal


class Named(nn.Module):
    """A pyramid as torchvision wants it: its levels by name, and how many channels they have."""

    def __init__(self, pyramid: Pyramid, channels: int) -> None:
        super().__init__()
        self.pyramid, self.out_channels = pyramid, channels

    def forward(self, images: Tensor) -> "OrderedDict[str, Tensor]":
        """Images -> features of each level."""
        return OrderedDict((str(i), level) for i, level in enumerate(self.pyramid(images)))


class TwoStage(nn.Module):
    """Faster R-CNN (Ren et al. 2015) on a feature pyramid: proposals, then a softmax and a box for each of them.

    Its losses are its own: cross entropy over proposals drawn 1:1 and 1:3 from foreground and background. Of the
    criterion it takes the factor of the box losses.

    Args:
        in_channels: channels of the images.
        num_classes: C.
        image_size: height and width of the images in pixels; they are padded to a multiple of the largest stride.
        backbone: (in_channels=, levels=, norm=) -> images -> features of levels.
        anchors: of the levels.
        channels: of the pyramid.
        width: of the two layers that see a proposal.
        proposals: kept of an image.
        norm: "group" (16 channels a group), "batch" or "none".

    Raises:
        ValueError: a setting is outside its range, or a stride exceeds the image.
    """

    anchors = None  # of no use to anybody else: proposals are what it classifies

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_size: tuple[int, int],
        backbone: Callable[..., nn.Module],
        anchors: AnchorGrid,
        channels: int = 256,
        width: int = 1024,
        proposals: int = 1000,
        norm: str = "group",
    ) -> None:
        super().__init__()
        for name, value in (("width", width), ("proposals", proposals)):
            if type(value) is not int or value < 1:
                raise ValueError(f"{name}={value}: must be a whole number >= 1")
        self.image_size, self.padded_size = image_size, anchors.padded(image_size)
        features = backbone(in_channels=in_channels, levels=anchors.levels, norm=norm)
        sizes = tuple(
            tuple(size * 2 ** (i / anchors.octaves) for i in range(anchors.octaves)) for size in anchors.sizes
        )
        levels = [str(i) for i in range(len(anchors.levels))]
        self.body = FasterRCNN(
            Named(Pyramid(features, len(levels), channels, norm), channels),
            min_size=min(self.padded_size),
            max_size=max(self.padded_size),
            image_mean=[0.0] * in_channels,
            image_std=[1.0] * in_channels,
            size_divisible=2 ** anchors.levels[-1],
            rpn_anchor_generator=AnchorGenerator(sizes, (tuple(anchors.aspects),) * len(levels)),
            rpn_post_nms_top_n_train=proposals,
            rpn_post_nms_top_n_test=proposals,
            box_roi_pool=MultiScaleRoIAlign(levels, output_size=POOL, sampling_ratio=2),
            box_head=TwoMLPHead(channels * POOL**2, width),
            box_predictor=FastRCNNPredictor(width, num_classes + 1),  # class 0 is background
            box_score_thresh=SCORE,
            box_nms_thresh=NMS_IOU,
            box_detections_per_img=MOST,
        )

    def check(self, criterion: DetectionCriterion) -> None:
        """Check that the criterion asks for nothing that this detector does not do.

        Raises:
            ValueError: its loss is not cross entropy, or classes have weights.
        """
        loss = criterion.loss
        plain = isinstance(loss, Focal) and not loss.gamma and loss.alpha is None
        if not (plain and all(bool((criterion.weights_at(now) == 1).all()) for now in (0.0, 0.999))):
            raise ValueError("must have detection_loss=cross_entropy and reweight=none: its losses are its own")

    def loss(self, images: Tensor, objects: Objects, criterion: DetectionCriterion) -> Tensor:
        """Return the loss of a batch of normalised images, a scalar."""
        there = objects.present
        targets = [
            {"boxes": boxes[mask], "labels": labels[mask] + 1}
            for boxes, labels, mask in zip(objects.boxes, objects.labels, there, strict=True)
        ]
        found = self.body(list(self._padded(images)), targets)
        classification = found["loss_classifier"] + found["loss_objectness"]
        loss: Tensor = classification + criterion.box_weight * (found["loss_box_reg"] + found["loss_rpn_box_reg"])
        return loss

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Detections]:
        """Return what is found in each of the normalised images (B, in_channels, H, W).

        Raises:
            FloatingPointError: a weight is not finite, and so is what it predicts.
        """
        if not all(bool(parameter.isfinite().all()) for parameter in self.parameters()):
            raise FloatingPointError("test/predictions are not finite: the training has diverged")
        height, width = self.image_size
        limit = images.new_tensor([width, height, width, height])
        found = self.body(list(self._padded(images)))
        return [Detections(one["boxes"].minimum(limit), one["scores"], one["labels"] - 1) for one in found]

    def _padded(self, images: Tensor) -> Tensor:
        height, width = (whole - size for whole, size in zip(self.padded_size, self.image_size, strict=True))
        return F.pad(images, (0, width, 0, height))
