"""A training step of the one-stage detector, against torchvision's RetinaNet around the same layers."""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.retinanet import RetinaNetHead

from longtail.benchmark.report import Comparison, Goal, Measured, Settings, compare
from longtail.detection.anchors import AnchorGrid
from longtail.detection.backbones import Small
from longtail.detection.boxes import Objects
from longtail.detection.criterion import DetectionCriterion
from longtail.detection.detector import Detector
from longtail.detection.losses import Focal
from longtail.detection.two_stage import Named

BATCH, CLASSES, SIDE, CHANNELS = 8, 10, 128, 48
GRID = AnchorGrid(levels=[3, 4], sizes=[18, 30], octaves=2, aspects=[1, 1.6])
Loss = Callable[[], Tensor]  # of one batch


def detector() -> Detector:
    """Return the detector of `conf/detector/small.yaml`, the same every time."""
    torch.manual_seed(0)
    backbone = partial(Small, widths=[16, 32, 64, 96])
    made = Detector(1, CLASSES, (SIDE, SIDE), backbone, GRID, CHANNELS, convs=2)
    return made.to(memory_format=torch.channels_last)


def batch() -> tuple[Tensor, Objects]:
    """Return normalised images and one to six boxes in each."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH, 1, SIDE, SIDE, generator=draw).to(memory_format=torch.channels_last)
    counts = torch.randint(1, 7, (BATCH,), generator=draw).tolist()
    corners = [torch.rand(count, 2, generator=draw) * 90 for count in counts]
    boxes = [torch.cat((c, c + 12 + torch.rand(c.shape, generator=draw) * 24), 1) for c in corners]
    return images, Objects.padded(boxes, [torch.randint(CLASSES, (count,), generator=draw) for count in counts])


def ours() -> tuple[nn.Module, Loss]:
    """Return Longtail's detector and its loss of a batch, alpha-balanced focal loss and L1 on the boxes."""
    model, (images, objects) = detector(), batch()
    criterion = DetectionCriterion(Focal([1] * CLASSES, gamma=2.0, alpha=0.25), torch.ones(CLASSES))
    return model, lambda: model.loss(images, objects, criterion)


def theirs() -> tuple[nn.Module, Loss]:
    """Return torchvision's RetinaNet of the same layers and anchors, with the same loss, as it comes.

    That is in contiguous memory: it puts single images together, so that the layout of a batch is lost.
    """
    own, (images, objects) = detector(), batch()
    levels = len(GRID.levels)
    head = RetinaNetHead(CHANNELS, GRID.per_cell, CLASSES)
    for part, tower, last in (
        (head.classification_head, own.classes, "cls_logits"),
        (head.regression_head, own.codes, "bbox_reg"),
    ):
        part.conv = tower.convs
        setattr(part, last, tower.last)
    anchors = AnchorGenerator(((18, 25.5), (30, 42.4)), ((1.0, 1.6),) * levels)
    model = RetinaNet(
        Named(own.pyramid, CHANNELS),
        CLASSES,
        min_size=SIDE,
        max_size=SIDE,
        image_mean=[0.0],
        image_std=[1.0],
        anchor_generator=anchors,
        head=head,
    ).to(memory_format=torch.contiguous_format)
    targets = [
        {"boxes": boxes[there], "labels": labels[there]}
        for boxes, labels, there in zip(objects.boxes, objects.labels, objects.present, strict=True)
    ]

    def loss() -> Tensor:
        found = model(list(images), targets)
        total: Tensor = found["classification"] + found["bbox_regression"]
        return total

    return model, loss


def training(model: nn.Module, loss: Loss, steps: int, precision: torch.dtype) -> float:
    """Return the seconds of some steps."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    started = time.perf_counter()
    for _ in range(steps):
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return time.perf_counter() - started


def step(settings: Settings, precision: torch.dtype) -> Measured:
    """Return the seconds of a step by Longtail and by torchvision."""
    own, other = (partial(training, *make(), settings.steps, precision) for make in (ours, theirs))
    return compare(own, other, settings, units=settings.steps)


COMPARISONS = [
    Comparison(
        f"detection/{name}",
        f"a step of the small detector, against torchvision's RetinaNet around the same layers, both in {words}",
        "step",
        partial(step, precision=precision),
        Goal(1.15),
    )
    for name, words, precision in (("fp32", "float32", torch.float32), ("bf16", "bfloat16", torch.bfloat16))
]
