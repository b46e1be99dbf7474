"""Average precision: against a definition of it in a few lines, and where there is nothing to measure."""

import math

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from longtail.detection.boxes import Detections, Objects
from longtail.detection.evaluation import AveragePrecision

NONE = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))


def objects(*images: list[tuple[int, list[float]]], crowd: float = -1, scale: float = 1.0) -> Objects:
    """True boxes of images, each (label, box); those with the label `crowd` are crowds."""
    boxes = [torch.tensor([box for _, box in image]).reshape(-1, 4) for image in images]
    labels = [torch.tensor([label for label, _ in image], dtype=torch.int64) for image in images]
    return Objects.padded(boxes, labels, [each == crowd for each in labels], torch.full((len(images),), scale))


def found(*boxes: tuple[int, float, list[float]]) -> Detections:
    """Detections of an image, each (label, score, box)."""
    labels, scores, places = zip(*boxes, strict=True)
    return Detections(torch.tensor(places), torch.tensor(scores), torch.tensor(labels))


def average_precision(detections: list[Detections], truth: Objects, label: int, iou: float = 0.5) -> float:
    """The mean over recalls 0, 0.01, ..., 1 of the best precision at that recall or more (COCO)."""
    hits: list[tuple[float, bool]] = []
    total = int((truth.labels == label).sum())
    for i, one in enumerate(detections):
        boxes = truth.boxes[i][truth.labels[i] == label]
        free = torch.ones(len(boxes), dtype=torch.bool)
        mine = one.labels == label
        for score, box in sorted(zip(one.scores[mine].tolist(), one.boxes[mine], strict=True), key=lambda d: -d[0]):
            overlap = box_iou(box[None], boxes)[0] * free if len(boxes) else torch.zeros(1)
            hit = bool(overlap.max() >= iou)
            if hit:
                free[overlap.argmax()] = False
            hits.append((score, hit))
    ordered = torch.tensor([hit for _, hit in sorted(hits, key=lambda h: -h[0])]).double()
    recall, precision = ordered.cumsum(0) / total, ordered.cumsum(0) / torch.arange(1, len(ordered) + 1)
    at = [precision[recall >= r / 100 - 1e-9] for r in range(101)]
    return sum(float(p.max()) if len(p) else 0.0 for p in at) / 101


def scenes(seed: int, num_classes: int, images: int = 30) -> tuple[list[Detections], Objects]:
    """True boxes at random, and what is found of them: moved a little, some wrong, some missed, some made up."""
    g = torch.Generator().manual_seed(seed)

    def boxes(count: int) -> Tensor:
        corner = torch.rand(count, 2, generator=g) * 80
        return torch.cat((corner, corner + 10 + torch.rand(count, 2, generator=g) * 30), 1).round()

    truth, labels, detections = [], [], []
    for _ in range(images):
        count = int(torch.randint(0, 6, (1,), generator=g))
        truth.append(boxes(count))
        labels.append(torch.randint(num_classes, (count,), generator=g))
        moved = truth[-1] + torch.randn(count, 4, generator=g).clamp(-2, 2) * 2
        guessed = torch.where(torch.rand(count, generator=g) < 0.8, labels[-1], 0)
        made_up = boxes(3)
        wrong = torch.randint(num_classes, (3,), generator=g)
        where, what = torch.cat((moved, made_up)), torch.cat((guessed, wrong))
        detections.append(Detections(where, torch.rand(len(where), generator=g), what))
    return detections, Objects.padded(truth, labels)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_that_of_its_definition(seed: int) -> None:
    detections, truth = scenes(seed, 4)
    metric = AveragePrecision(torch.tensor([200, 50, 30, 10]))
    for start in range(0, 30, 7):
        metric.update(detections[start : start + 7], Objects(*(part[start : start + 7] for part in truth)))
    outcome = metric.outcome()
    expected = [average_precision(detections, truth, label) for label in range(4)]
    assert outcome.per_class == pytest.approx(expected, abs=1e-3)
    assert outcome.scores["mAP"] == pytest.approx(sum(expected) / 4, abs=1e-3)
    assert outcome.scores["mAP_std"] == pytest.approx(float(torch.tensor(expected).std(correction=0)), abs=1e-3)
    assert outcome.scores["mAP_min"] == pytest.approx(min(expected), abs=1e-3)
    assert outcome.scores["mAP_medium"] == pytest.approx(sum(expected[1:3]) / 2, abs=1e-3)
    strict = [average_precision(detections, truth, label, 0.75) for label in range(4)]
    assert outcome.scores["mAP_75"] == pytest.approx(sum(strict) / 4, abs=1e-3)
    assert outcome.scores["mAP_50_95"] < outcome.scores["mAP"]
    assert outcome.support == truth.class_counts(4).tolist()
    assert torch.tensor(outcome.precision).mean(1).tolist() == pytest.approx(outcome.per_class)


def test_a_class_without_true_boxes_has_no_value_and_does_not_count() -> None:
    metric = AveragePrecision(torch.tensor([3, 3, 3, 3]))
    metric.update([found((1, 0.9, [0, 0, 10, 10]), (3, 0.8, [20, 20, 30, 30]))], objects([(1, [0, 0, 10, 10])]))
    outcome = metric.outcome()
    assert outcome.per_class[1] == 1
    assert all(math.isnan(outcome.per_class[label]) for label in (0, 2, 3))
    assert outcome.scores["mAP"] == 1
    assert outcome.support == [0, 1, 0, 0]


def test_without_truth_there_are_no_scores_and_without_detections_they_are_zero() -> None:
    metric = AveragePrecision(torch.tensor([3, 3]))
    metric.update([NONE], objects([]))
    assert all(math.isnan(score) for score in metric.outcome().scores.values())
    metric.update([NONE], objects([(0, [0, 0, 9, 9])]))
    outcome = metric.outcome()
    assert outcome.scores["mAP"] == outcome.per_class[0] == 0
    assert math.isnan(outcome.scores["mAP_50_95_large"])


def test_a_crowd_is_neither_right_nor_wrong_to_be_found() -> None:
    metric = AveragePrecision(torch.tensor([3, 3]))
    truth = objects([(0, [0, 0, 10, 10]), (1, [50, 50, 90, 90])], crowd=1)
    metric.update([found((0, 0.5, [0, 0, 10, 10]), (1, 0.9, [50, 50, 90, 90]))], truth)
    outcome = metric.outcome()
    assert outcome.scores["mAP"] == 1
    assert outcome.support == [1, 0]


@pytest.mark.parametrize(("scale", "size"), [(1.0, "small"), (0.5, "medium"), (0.2, "large")])
def test_sizes_are_those_in_the_original_image(scale: float, size: str) -> None:
    metric = AveragePrecision(torch.tensor([3]))
    box = [0.0, 0.0, 30.0, 30.0]
    metric.update([found((0, 0.9, box))], objects([(0, box)], scale=scale))
    scores = metric.outcome().scores
    assert scores[f"mAP_50_95_{size}"] == 1
    assert sum(math.isnan(scores[f"mAP_50_95_{name}"]) for name in ("small", "medium", "large")) == 2


def test_the_boxes_drawn_are_counted_over_evaluations() -> None:
    metric = AveragePrecision(torch.tensor([3, 3]))
    for _ in range(2):
        metric.draw(objects([(0, [0, 0, 9, 9]), (0, [5, 5, 9, 9])], [], [(1, [0, 0, 9, 9])]))
    assert metric.drawn.tolist() == [4, 2]
