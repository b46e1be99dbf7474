"""Matching and coding of boxes, against torchvision's."""

import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.ops import box_iou

from longtail.detection.anchors import AnchorGrid
from longtail.detection.boxes import BACKGROUND, IGNORED, Objects
from longtail.detection.matching import HIGH, LOW, decode, encode, match

CODER = BoxCoder((1.0, 1.0, 1.0, 1.0))


@pytest.fixture
def anchors() -> Tensor:
    return torch.cat(AnchorGrid([3, 4], [16, 32], 2, [1, 1.6]).boxes((96, 128)))


def random_boxes(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 80
    return torch.cat((corner, corner + 6 + torch.rand(count, 2, generator=generator) * 40), 1)


def test_every_anchor_is_matched_as_torchvision_matches_it(anchors: Tensor) -> None:
    boxes = [random_boxes(count, seed=count) for count in (0, 1, 5, 20)]
    labels = [torch.arange(len(one)) for one in boxes]
    found = match(Objects.padded(boxes, labels), anchors)
    matcher = Matcher(HIGH, LOW, allow_low_quality_matches=True)
    assert bool((found.labels[0] == BACKGROUND).all())
    for i in (1, 2, 3):
        index = matcher(box_iou(boxes[i], anchors))  # the labels are the indices
        assert torch.equal(found.labels[i], index)
        assert torch.equal(found.boxes[i], torch.where(index[:, None] >= 0, boxes[i][index.clamp_min(0)], anchors))


def test_what_lies_in_a_crowd_is_ignored_unless_it_has_a_box_of_its_own(anchors: Tensor) -> None:
    crowd, box = torch.tensor([0.0, 0, 64, 96]), torch.tensor([8.0, 8, 24, 24])
    boxes = torch.stack((crowd, box))
    alone = match(Objects.padded([boxes[1:]], [torch.tensor([3])]), anchors).labels[0]
    found = match(Objects.padded([boxes], [torch.tensor([5, 3])], [torch.tensor([True, False])]), anchors).labels[0]
    inside = (anchors[:, 0] >= 0) & (anchors[:, 2] <= 64) & (anchors[:, 1] >= 0) & (anchors[:, 3] <= 96)
    outside = anchors[:, 0] >= 64
    assert torch.equal(found >= 0, alone >= 0)
    assert bool((alone >= 0).any())
    assert bool((found[inside & (alone < 0)] == IGNORED).all())
    assert torch.equal(found[outside], alone[outside])


def test_a_box_in_a_crowd_keeps_the_best_anchor_that_it_has(anchors: Tensor) -> None:
    box = torch.tensor([20.0, 20, 26, 26])  # too small for an IoU of 0.4 with any anchor
    boxes = torch.stack((torch.tensor([0.0, 0, 64, 96]), box))
    alone = match(Objects.padded([boxes[1:]], [torch.tensor([3])]), anchors)
    found = match(Objects.padded([boxes], [torch.tensor([5, 3])], [torch.tensor([True, False])]), anchors)
    assert box_iou(box[None], anchors).max() < LOW
    assert bool((alone.labels == 3).any())
    assert torch.equal(found.labels == 3, alone.labels == 3)
    assert torch.equal(found.boxes[found.labels == 3], alone.boxes[alone.labels == 3])


def test_a_box_beyond_all_anchors_is_matched_to_none(anchors: Tensor) -> None:
    found = match(Objects.padded([torch.tensor([[900.0, 900, 910, 910]])], [torch.tensor([1])]), anchors)
    assert bool((found.labels == BACKGROUND).all())


def test_codes_are_torchvisions_and_lead_back_to_the_boxes(anchors: Tensor) -> None:
    boxes = random_boxes(len(anchors), seed=1)
    codes = encode(boxes, anchors)
    torch.testing.assert_close(codes, CODER.encode_single(boxes, anchors))
    torch.testing.assert_close(decode(codes, anchors), boxes, rtol=1e-4, atol=1e-4)
    wild = codes * 50
    torch.testing.assert_close(decode(wild, anchors), CODER.decode_single(wild, anchors))
