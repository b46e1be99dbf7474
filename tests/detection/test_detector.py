"""Detectors: what every option of the group keeps, and what the one-stage detector makes of its predictions."""

import contextlib
import math
from functools import cache
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from longtail.cli import parts
from longtail.cli.app import CONF
from longtail.detection.backbones import Torchvision
from longtail.detection.boxes import MAX_DETECTIONS, Objects
from longtail.detection.criterion import DetectionCriterion
from longtail.detection.detector import Detector
from longtail.detection.losses import Focal, HardNegativeMining
from longtail.errors import InputError

SIZE = (56, 72)  # no multiple of a stride of 16
CROSS_ENTROPY = DetectionCriterion(Focal([1, 1, 1], gamma=0), torch.ones(3))


@cache
def make(option: str) -> Any:
    overrides = [f"detector={option}"]
    if option == "torchvision":
        overrides += [
            "detector.backbone.name=resnet18",
            "detector.channels=16",
            "detector.anchors.levels=[3,4,5]",
            "detector.anchors.sizes=[16,32,64]",
        ]
    return lambda *further, **facts: part([*overrides, *further])(
        **{"in_channels": 1, "num_classes": 3, "image_size": SIZE} | facts
    )


def part(overrides: list[str]) -> Any:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return parts.part(compose("detect", overrides), "detector")


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 1, *SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def objects() -> Objects:
    return Objects.padded([torch.tensor([[4.0, 5, 22, 27]]), torch.zeros(0, 4)], [torch.tensor([2]), torch.zeros(0)])


@pytest.mark.parametrize("option", sorted(path.stem for path in (CONF / "detector").glob("*.yaml")))
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_detector(option: str, precision: torch.dtype, images: Tensor, objects: Objects) -> None:
    torch.manual_seed(0)
    detector = make(option)()
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        loss = detector.loss(images.to(memory_format=torch.channels_last), objects, CROSS_ENTROPY)
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in detector.parameters())
    if detector.anchors is not None:
        assert detector.anchors.shape[1] == 4
    found = detector.eval().detect(images)
    assert len(found) == 2
    for boxes, scores, labels in found:
        x1, y1, x2, y2 = boxes.T
        assert bool(((x1 >= 0) & (y1 >= 0) & (x1 < x2) & (y1 < y2) & (x2 <= SIZE[1]) & (y2 <= SIZE[0])).all())
        assert len(boxes) == len(scores) == len(labels) <= MAX_DETECTIONS
        assert labels.dtype == torch.int64
    detector.get_parameter(next(iter(detector.state_dict()))).data.fill_(math.nan)
    with pytest.raises(FloatingPointError, match=r"^predictions are not finite"):
        detector.detect(images)


def test_a_box_is_learned_and_found(images: Tensor, objects: Objects) -> None:
    torch.manual_seed(0)
    detector = make("small")("detector.channels=16", "detector.backbone.widths=[8,8,16,16]")
    images[0, :, 5:27, 4:22] += 3
    optimizer = torch.optim.AdamW(detector.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        detector.loss(images, objects, CROSS_ENTROPY).backward()
        optimizer.step()
    found, nothing = detector.eval().detect(images)
    assert int(found.labels[0]) == 2
    assert float(found.scores[0]) > 0.5
    torch.testing.assert_close(found.boxes[0], objects.boxes[0, 0], atol=2.0, rtol=0)
    assert not (nothing.scores > 0.5).any()


@pytest.mark.parametrize(("prior", "score"), [("0.01", 0.01), ("null", 0.5)])
def test_all_anchors_start_at_the_prior(prior: str, score: float, images: Tensor) -> None:
    detector = make("small")(f"detector.prior={prior}")
    nn.init.zeros_(detector.classes.last.weight)
    logits, codes = detector(images)
    assert logits.shape == (2, len(detector.anchors), 3)
    assert codes.shape == (2, len(detector.anchors), 4)
    torch.testing.assert_close(logits.sigmoid(), torch.full_like(logits, score))


class Told(Detector):
    """A detector that predicts what it is told."""

    logits: Tensor

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.logits, torch.zeros(1, len(self.anchors), 4)


def told(logits: Tensor) -> Any:
    detector = make("small")()
    detector.__class__ = Told
    detector.logits = logits
    return detector


def test_what_is_found_is_likely_within_the_image_and_not_found_twice(images: Tensor) -> None:
    logits = torch.full((1, len(make("small")().anchors), 3), -9.0)
    logits[0, 0, 1], logits[0, 0, 2] = 2.0, 1.0  # two classes at one anchor, beyond the corner of the image
    logits[0, 40, 1] = 3.0
    logits[0, 42, 1] = 2.5  # the same aspect, a little larger
    detector = told(logits)
    (found,) = detector.detect(images[:1])
    assert found.labels.tolist() == [1, 1, 2]
    torch.testing.assert_close(found.scores, torch.tensor([3.0, 2.0, 1.0]).sigmoid())
    torch.testing.assert_close(found.boxes[0], detector.anchors[40].clamp(min=0))
    assert bool((found.boxes >= 0).all())


def test_at_most_a_hundred_are_found(images: Tensor) -> None:
    logits = torch.full((1, len(make("small")().anchors), 3), 1.0)
    (found,) = told(logits).detect(images[:1])
    assert len(found.boxes) == MAX_DETECTIONS
    assert bool((found.boxes[:, 2] <= SIZE[1]).all() and (found.boxes[:, 3] <= SIZE[0]).all())


def test_a_pretrained_backbone_keeps_its_batch_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    monkeypatch.setattr(
        torchvision.models, "get_model", lambda name, weights, get=torchvision.models.get_model: get(name)
    )
    kinds = {}
    for weights in (None, "DEFAULT"):
        backbone = Torchvision(3, [3, 4, 5], "group", "resnet18", weights)
        kinds[weights] = {type(part) for part in backbone.modules() if "Norm" in type(part).__name__}
    assert kinds == {None: {nn.GroupNorm}, "DEFAULT": {FrozenBatchNorm2d}}


def test_levels_beyond_the_backbone_are_convolved_from_it() -> None:
    detector = part(["detector=torchvision", "detector.backbone.name=mobilenet_v3_small", "detector.channels=8"])(
        in_channels=3, num_classes=2, image_size=(128, 128)
    )
    sides = [level.shape[-1] for level in detector.pyramid(torch.zeros(1, 3, 128, 128))]
    assert sides == [16, 8, 4, 2, 1]


@pytest.mark.parametrize(
    ("option", "override", "message"),
    [
        ("small", "prior=1", "must be in (0, 1)"),
        ("small", "prior=abc", "must be in (0, 1)"),
        ("small", "norm=layer", "must be one of group, batch, none"),
        ("small", "norm=[1]", "must be one of group, batch, none"),
        ("small", "channels=0", "must be a whole number >= 1"),
        ("small", "channels=20.5", "must be a whole number >= 1"),
        ("faster_rcnn", "channels=abc", "must be a whole number >= 1"),
        ("small", "convs=-1", "must be a whole number >= 0"),
        ("small", "convs=1.5", "must be a whole number >= 0"),
        ("small", "backbone=null", "must have a _target_"),
        ("faster_rcnn", "anchors=null", "must have a _target_"),
        ("small", "backbone.widths=[8]", "must be for 3 levels or more"),
        ("small", "backbone.widths=8", "must be a list of whole numbers > 0"),
        ("small", "backbone.widths=null", "must be a list of whole numbers > 0"),
        ("small", "anchors.levels=[3, 6]", "must be consecutive"),
        ("faster_rcnn", "anchors.aspects=1", "must be a list of finite numbers > 0"),
        ("torchvision", "anchors.levels=[5, 6, 7]", "must have strides within the 56 x 72 image, not 128"),
        ("torchvision", "backbone.name=resnet19", "must be a classification model"),
        ("torchvision", "backbone.name=vit_b_16", "must be a sequence of layers"),
        ("torchvision", "backbone.name=inception_v3", "must reach level 3"),
        ("torchvision", "backbone.weights=BEST", "must be null, a file, or one of"),
        ("faster_rcnn", "proposals=0", "must be a whole number >= 1"),
    ],
)
def test_a_wrong_setting_is_one_line(option: str, override: str, message: str) -> None:
    name, _, value = override.partition("=")
    with pytest.raises(InputError) as error:
        make(option)(f"detector.{override}")
    assert str(error.value).startswith(f"detector.{name}={value}: {message}")


@pytest.mark.parametrize("option", ["small", "faster_rcnn"])
def test_a_stride_beyond_the_image_is_refused(option: str) -> None:
    with pytest.raises(
        InputError, match=r"^detector\.anchors\.levels=\[3, 4\]: must have strides within the 12 x 72"
    ):
        make(option)(image_size=(12, 72))


@pytest.mark.parametrize(
    "criterion",
    [
        DetectionCriterion(Focal([1, 1, 1], gamma=2), torch.ones(3)),
        DetectionCriterion(Focal([1, 1, 1], gamma=0), torch.tensor([1.0, 1, 2])),
    ],
)
def test_two_stages_have_losses_of_their_own(criterion: DetectionCriterion) -> None:
    detector = make("faster_rcnn")()
    detector.check(CROSS_ENTROPY)
    with pytest.raises(ValueError, match=r"^must have detection_loss=cross_entropy and reweight=none"):
        detector.check(criterion)


@pytest.mark.parametrize("loss", [Focal([1, 1, 1], 2.0, 0.25), HardNegativeMining([1, 1, 1])])
def test_a_training_step_reads_nothing_back_from_the_device(
    loss: nn.Module, images: Tensor, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta = torch.device("meta")  # whose tensors have no values to read, and which knows no autocast
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    detector = make("small")().to(meta)
    criterion = DetectionCriterion(loss, torch.ones(3))
    detector.loss(images.to(meta), objects.to(meta), criterion).backward()
    assert criterion.shares["foreground"].device == meta


def test_two_stages_compile_what_does_not_vary(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []

    def note(call: Any, mode: str) -> Any:
        modes.append(mode)
        return call

    monkeypatch.setattr(torch, "compile", note)
    detector = make("faster_rcnn")()
    detector.compile(mode="default")
    assert modes == ["default"]
    assert len(detector.eval().detect(images)) == 2
