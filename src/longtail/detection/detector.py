"""A one-stage detector: `(in_channels=, num_classes=, image_size=)` -> nn.Module with `loss` and `detect`.

RetinaNet (Lin et al. 2017): a backbone, a feature pyramid, and two towers of convolutions over each of its levels,
which give every anchor a logit per class and a box.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork, batched_nms, clip_boxes_to_image

from longtail.detection.anchors import AnchorGrid
from longtail.detection.backbones import conv_norm_relu, make_norm
from longtail.detection.boxes import MAX_DETECTIONS, Detections, Objects
from longtail.detection.criterion import DetectionCriterion
from longtail.detection.matching import decode, encode, match
from longtail.errors import text_of
from longtail.ranges import check_whole

SCORE, CANDIDATES, NMS_IOU = 0.01, 1000, 0.5  # least score, most of a level, overlap


class Pyramid(nn.Module):
    """A backbone and its feature pyramid (Lin et al. 2017, FPN); levels beyond the backbone are convolved from it.

    Images are padded, to the right and below, to a multiple of the largest stride.

    Args:
        in_channels: channels of the images.
        backbone: (in_channels=, levels=, norm=) -> images -> features of levels.
        anchors: of the levels.
        channels: of the features of every level.
        norm: "group", "batch" or "none".

    Raises:
        ValueError: a setting is outside its range.
    """

    def __init__(
        self, in_channels: int, backbone: Callable[..., nn.Module], anchors: AnchorGrid, channels: int, norm: str
    ) -> None:
        super().__init__()
        check_whole("channels", channels)
        for name, part, fits in (
            ("backbone", backbone, callable(backbone)),
            ("anchors", anchors, isinstance(anchors, AnchorGrid)),
        ):
            if not fits:
                raise ValueError(f"{name}={text_of(part)}: must have a _target_")
        self.stride = 2 ** anchors.levels[-1]
        self.backbone = backbone(in_channels=in_channels, levels=anchors.levels, norm=norm)
        reached: list[int] = list(self.backbone.channels)  # type: ignore[arg-type]
        self.merge = FeaturePyramidNetwork(reached, channels, norm_layer=None if norm == "none" else make_norm(norm))
        beyond = range(len(anchors.levels) - len(reached))
        self.further = nn.ModuleList(nn.Conv2d(channels, channels, 3, 2, padding=1) for _ in beyond)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, in_channels, H, W) -> features (B, channels, H / stride, W / stride) of each level."""
        height, width = (-side % self.stride for side in images.shape[-2:])
        found = self.backbone(F.pad(images, (0, width, 0, height)) if height or width else images)
        features = list(self.merge({str(i): level for i, level in enumerate(found)}).values())
        for convolution in self.further:
            features.append(convolution(F.relu(features[-1])))
        return features


class Tower(nn.Module):
    """Convolutions that all levels share, and a last one that predicts some numbers for each anchor.

    Args:
        channels: of the features.
        convs: the number of convolutions before the last.
        per_cell: anchors in a cell.
        outputs: numbers for each anchor.
        norm: "group", "batch" or "none".
    """

    def __init__(self, channels: int, convs: int, per_cell: int, outputs: int, norm: str) -> None:
        super().__init__()
        self.outputs = outputs
        self.convs = nn.Sequential(*(m for _ in range(convs) for m in conv_norm_relu(channels, channels, norm)))
        self.last = nn.Conv2d(channels, per_cell * outputs, 3, padding=1)
        nn.init.normal_(self.last.weight, std=0.01)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, features: list[Tensor]) -> Tensor:
        """Features of each level -> predictions (B, A, outputs), float32, in the order of the anchors."""
        found = [self.last(self.convs(level)).permute(0, 2, 3, 1) for level in features]
        return torch.cat([level.reshape(len(level), -1, self.outputs) for level in found], 1).float()


class Detector(nn.Module):
    """A one-stage detector on anchors, with a sigmoid for each anchor and class.

    Args:
        in_channels: channels of the images.
        num_classes: C.
        image_size: height and width of the images in pixels; they are padded to a multiple of the largest stride.
        backbone: (in_channels=, levels=, norm=) -> images -> features of levels.
        anchors: of the levels.
        channels: of the pyramid and the towers.
        convs: convolutions of each tower.
        norm: "group" (16 channels a group), "batch" or "none".
        prior: score of every class at which all anchors start, in (0, 1); None for a bias of 0, a score of 0.5.

    Raises:
        ValueError: a setting is outside its range, or a stride exceeds the image.
    """

    anchors: Tensor

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        image_size: tuple[int, int],
        backbone: Callable[..., nn.Module],
        anchors: AnchorGrid,
        channels: int = 256,
        convs: int = 4,
        norm: str = "group",
        prior: float | None = 0.01,
    ) -> None:
        super().__init__()
        check_whole("convs", convs, least=0)
        if prior is not None and not (type(prior) in (int, float) and 0 < prior < 1):
            raise ValueError(f"prior={text_of(prior)}: must be in (0, 1), or null for a score of 0.5")
        self.pyramid = Pyramid(in_channels, backbone, anchors, channels, norm)
        boxes = anchors.boxes(image_size)
        self.image_size, self.sections = image_size, [len(level) for level in boxes]
        self.register_buffer("anchors", torch.cat(boxes), persistent=False)
        self.classes = Tower(channels, convs, anchors.per_cell, num_classes, norm)
        self.codes = Tower(channels, convs, anchors.per_cell, 4, norm)
        if prior is not None:
            nn.init.constant_(self.classes.last.bias, -math.log((1 - prior) / prior))  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, in_channels, H, W) -> logits (B, A, C) and codes of boxes (B, A, 4), float32."""
        features = self.pyramid(images)
        return self.classes(features), self.codes(features)

    def loss(self, images: Tensor, objects: Objects, criterion: DetectionCriterion) -> Tensor:
        """Return the loss of a batch of normalised images, a scalar."""
        logits, codes = self(images)
        with torch.autocast(images.device.type, enabled=False):
            matches = match(objects, self.anchors)
            boxes = (codes - encode(matches.boxes, self.anchors)).abs().sum(-1)
            loss: Tensor = criterion(logits, matches.labels, boxes)
        return loss

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Detections]:
        """Return what is found in each of the normalised images (B, in_channels, H, W).

        Raises:
            FloatingPointError: a prediction is not finite.
        """
        logits, codes = self(images)
        if not bool(logits.isfinite().all() & codes.isfinite().all()):
            raise FloatingPointError("predictions are not finite: the training has diverged")
        with torch.autocast(images.device.type, enabled=False):
            scores, anchors, labels = self._candidates(logits)
            found = codes.gather(1, anchors[..., None].expand(-1, -1, 4))
            boxes = clip_boxes_to_image(decode(found, self.anchors[anchors]), self.image_size)
        return [suppress(*image) for image in zip(boxes, scores, labels, strict=True)]

    def _candidates(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return scores, anchors and labels, (B, K) each, of the best of each level."""
        scores, places, before = [], [], 0
        for level in logits.split(self.sections, 1):
            best, place = level.flatten(1).topk(min(CANDIDATES, level[0].numel()))
            scores.append(best)
            places.append(place + before)
            before += level[0].numel()
        place = torch.cat(places, 1)
        return torch.cat(scores, 1).sigmoid(), place // logits.shape[2], place % logits.shape[2]


def suppress(boxes: Tensor, scores: Tensor, labels: Tensor) -> Detections:
    """Keep the boxes (K, 4) of an image that no better one of their class covers, `MAX_DETECTIONS` at most."""
    likely = (scores > SCORE) & (boxes[:, 2:] > boxes[:, :2]).all(1)
    boxes, scores, labels = boxes[likely], scores[likely], labels[likely]
    kept = batched_nms(boxes, scores, labels, NMS_IOU)[:MAX_DETECTIONS]
    return Detections(boxes[kept], scores[kept], labels[kept])
