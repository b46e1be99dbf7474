"""The training of a detector, apart from the detector."""

import torch

from longtail.detection.boxes import BACKGROUND, Objects
from longtail.detection.criterion import DetectionCriterion
from longtail.detection.losses import Focal
from longtail.detection.method import Detection, mirror


def test_a_mirrored_box_holds_what_it_held_before() -> None:
    images = torch.arange(3 * 6 * 8, dtype=torch.uint8).view(3, 6, 8, 1)
    boxes = [torch.tensor([[1.0, 2, 4, 5], [0, 0, 8, 6]]), torch.tensor([[2.0, 0, 3, 1]]), torch.zeros(0, 4)]
    objects = Objects.padded(boxes, [torch.tensor([0, 1]), torch.tensor([1]), torch.zeros(0, dtype=torch.int64)])
    mirrored, moved = mirror(images, objects, torch.tensor([True, False, True]))
    for i, there in enumerate(objects.labels != BACKGROUND):
        for before, after in zip(objects.boxes[i, there].int(), moved.boxes[i, there].int(), strict=True):
            x1, y1, x2, y2 = before.tolist()
            u1, v1, u2, v2 = after.tolist()
            assert set(images[i, y1:y2, x1:x2].flatten().tolist()) == set(
                mirrored[i, v1:v2, u1:u2].flatten().tolist()
            )
    assert moved.boxes[1].equal(objects.boxes[1])
    assert mirrored[0].equal(images[0].flip(1))
    assert not moved.boxes[objects.labels == BACKGROUND].any()


def test_biases_and_normalisations_have_no_weight_decay() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.GroupNorm(1, 8), torch.nn.Conv2d(8, 2, 3))
    criterion = DetectionCriterion(Focal([3, 3]), torch.ones(2))
    decayed, spared = Detection(model, criterion, torch.tensor([3, 3]), flip=False).parameter_groups()
    assert [p.ndim for p in decayed["params"]] == [4, 4]
    assert "weight_decay" not in decayed
    assert [p.ndim for p in spared["params"]] == [1, 1, 1, 1]
    assert spared["weight_decay"] == 0
