"""Anchors: their places, and how many boxes they reach."""

import math
from typing import Any

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import box_iou

from longtail.detection.anchors import AnchorGrid, recall
from longtail.detection.boxes import Objects

SETTINGS: dict[str, Any] = {"levels": [4, 5], "sizes": [16, 64], "octaves": 1, "aspects": [0.25, 1, 4]}


def test_anchors_are_torchvisions_in_the_middle_of_their_cells() -> None:
    ours = torch.cat(AnchorGrid(**SETTINGS).boxes((64, 96)))
    generator = AnchorGenerator(((16,), (64,)), ((0.25, 1.0, 4.0),) * 2)
    strides = [[torch.tensor(stride)] * 2 for stride in (16, 32)]
    theirs = generator.grid_anchors([[4, 6], [2, 3]], strides)
    expected = torch.cat([boxes + stride / 2 for boxes, stride in zip(theirs, (16, 32), strict=True)])
    torch.testing.assert_close(ours, expected)


def test_octaves_divide_a_doubling_of_the_size() -> None:
    (boxes,) = AnchorGrid([4], [10], octaves=3, aspects=[1]).boxes((16, 16))
    assert (boxes[:, 2] - boxes[:, 0]).tolist() == pytest.approx([10, 10 * 2 ** (1 / 3), 10 * 2 ** (2 / 3)])


def test_strides_are_kept_where_they_do_not_divide_the_image() -> None:
    grid = AnchorGrid(**SETTINGS | {"octaves": 2})
    assert grid.padded((60, 70)) == (64, 96)
    boxes = grid.boxes((60, 70))
    assert torch.equal(torch.cat(boxes), torch.cat(grid.boxes((64, 96))))
    assert list(map(len, boxes)) == [4 * 6 * grid.per_cell, 2 * 3 * grid.per_cell]


def test_recall_is_the_share_of_boxes_with_an_anchor_of_that_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    (anchors,) = AnchorGrid([3], [16], 1, [1]).boxes((64, 64))
    boxes = torch.rand(30, 2, generator=torch.Generator().manual_seed(0)) * 40
    boxes = torch.cat((boxes, boxes + torch.linspace(6, 30, 30)[:, None]), 1)
    best = box_iou(boxes, anchors).amax(1)
    crowd = torch.arange(30) % 7 == 0
    objects = Objects.padded(list(boxes.split(10)), [torch.zeros(10)] * 3, list(crowd.split(10)))
    expected = float((best[~crowd] >= 0.5).float().mean())
    assert 0 < expected < 1
    assert recall(anchors, objects) == pytest.approx(expected)
    assert recall(anchors, objects, iou=0.0) == 1
    monkeypatch.setattr("longtail.detection.anchors.AT_ONCE", 100)
    assert recall(anchors, objects) == pytest.approx(expected)
    monkeypatch.setattr("longtail.detection.anchors.ENOUGH", 10)
    assert recall(anchors, objects) == pytest.approx(float((best[~crowd][::3] >= 0.5).float().mean()))
    assert math.isnan(recall(anchors, Objects.padded([torch.zeros(0, 4)], [torch.zeros(0)])))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"levels": [3, 3]}, r"levels=\[3, 3\]: must be consecutive"),
        ({"levels": [3, 5]}, r"levels=\[3, 5\]: must be consecutive"),
        ({"levels": 3}, r"levels=3: must be a list of whole numbers > 0"),
        ({"levels": [0, 1]}, r"levels=\[0, 1\]: must be a list of whole numbers > 0"),
        ({"sizes": [16]}, r"sizes=\[16\]: must be a size for each of the 2 levels"),
        ({"sizes": None}, r"sizes=null: must be a list of finite numbers > 0"),
        ({"sizes": ["a", "b"]}, r"sizes=\[a, b\]: must be a list of finite numbers > 0"),
        ({"octaves": 0}, r"octaves=0: must be a whole number >= 1"),
        ({"aspects": []}, r"aspects=\[\]: must be a list of finite numbers > 0"),
        ({"aspects": [math.inf]}, r"aspects=\[inf\]: must be a list of finite numbers > 0"),
    ],
)
def test_a_setting_outside_its_range_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        AnchorGrid(**SETTINGS | settings)


def test_more_than_a_million_anchors_are_refused_before_they_are_made() -> None:
    message = r"^anchors\.octaves=100000: must give 1,000,000 anchors an image or fewer, not 9,000,000; or"
    with pytest.raises(ValueError, match=message):
        AnchorGrid(**SETTINGS | {"octaves": 100_000}).boxes((64, 96))


def test_a_stride_beyond_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must have strides within the 96 x 24 image, not 32"):
        AnchorGrid(**SETTINGS).boxes((96, 24))
