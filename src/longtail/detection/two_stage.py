"""A two-stage detector behind the same contract: torchvision's Faster R-CNN on the same backbone and pyramid."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

from longtail.detection.anchors import AnchorGrid
from longtail.detection.boxes import MAX_DETECTIONS, Detections, Objects
from longtail.detection.criterion import DetectionCriterion
from longtail.detection.detector import NMS_IOU, SCORE, Pyramid
from longtail.detection.losses import Focal
from longtail.ranges import check_whole

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
    criterion it takes the factor of the box losses. What lies in a crowd is background to it, not ignored.

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

    anchors = None  # it classifies proposals

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
        check_whole("width", width)
        check_whole("proposals", proposals)
        pyramid = Pyramid(in_channels, backbone, anchors, channels, norm)
        anchors.padded(image_size)  # which refuses a stride beyond the image
        sizes = tuple(map(tuple, anchors.octave_sizes.tolist()))
        levels = [str(i) for i in range(len(anchors.levels))]
        self.body = FasterRCNN(
            Named(pyramid, channels),
            min_size=min(image_size),
            max_size=max(image_size),
            image_mean=[0.0] * in_channels,
            image_std=[1.0] * in_channels,
            size_divisible=pyramid.stride,
            rpn_anchor_generator=AnchorGenerator(sizes, (tuple(anchors.aspects),) * len(levels)),
            rpn_post_nms_top_n_train=proposals,
            rpn_post_nms_top_n_test=proposals,
            box_roi_pool=MultiScaleRoIAlign(levels, output_size=POOL, sampling_ratio=2),
            box_head=TwoMLPHead(channels * POOL**2, width),
            box_predictor=FastRCNNPredictor(width, num_classes + 1),  # class 0 is background
            box_score_thresh=SCORE,
            box_nms_thresh=NMS_IOU,
            box_detections_per_img=MAX_DETECTIONS,
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

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the backbone and its pyramid; the number of proposals, and with it all the rest, varies."""
        self.body.backbone.compile(*args, **options)

    def loss(self, images: Tensor, objects: Objects, criterion: DetectionCriterion) -> Tensor:
        """Return the loss of a batch of normalised images, a scalar."""
        there = objects.present
        targets = [
            {"boxes": boxes[mask], "labels": labels[mask] + 1}
            for boxes, labels, mask in zip(objects.boxes, objects.labels, there, strict=True)
        ]
        found = self.body(list(images), targets)
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
            raise FloatingPointError("predictions are not finite: the training has diverged")
        return [Detections(one["boxes"], one["scores"], one["labels"] - 1) for one in self.body(list(images))]
