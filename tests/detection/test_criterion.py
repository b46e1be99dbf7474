"""What a detector minimises: class weights, the positives it is divided by, and the shares of the loss."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from longtail.detection.boxes import BACKGROUND, IGNORED
from longtail.detection.build import build, make_criterion
from longtail.detection.criterion import DetectionCriterion
from longtail.detection.losses import Focal
from longtail.errors import InputError

WEIGHTS = torch.tensor([0.5, 3.0])
LABELS = torch.tensor([[0, 1, 1, BACKGROUND], [BACKGROUND, IGNORED, BACKGROUND, 0]])
LOGITS = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(0))
CROSS_ENTROPY = Focal([5, 1], gamma=0)


def terms() -> Tensor:
    positive = torch.stack((LABELS == 0, LABELS == 1), -1)
    found: Tensor = CROSS_ENTROPY(LOGITS, positive, LABELS != IGNORED)
    return found


def test_terms_are_weighed_by_the_class_of_their_anchor_and_divided_by_the_positives() -> None:
    by_anchor = torch.tensor([[0.5, 3, 3, 1], [1, 0, 1, 0.5]])
    expected = (by_anchor[..., None] * terms()).sum() / 4 + 0.7 * (0 + 1 + 2 + 7) / 4
    losses = torch.arange(8.0).reshape(2, 4)
    torch.testing.assert_close(DetectionCriterion(CROSS_ENTROPY, WEIGHTS, 0.7)(LOGITS, LABELS, losses), expected)


def test_images_without_boxes_have_a_loss_of_background_alone() -> None:
    labels = torch.full((2, 4), BACKGROUND)
    loss = DetectionCriterion(CROSS_ENTROPY, WEIGHTS)(LOGITS, labels, torch.ones(2, 4))
    torch.testing.assert_close(loss, torch.nn.functional.softplus(LOGITS).sum())


def test_weights_follow_the_run() -> None:
    criterion = DetectionCriterion(CROSS_ENTROPY, lambda progress: WEIGHTS if progress >= 0.8 else torch.ones(2))
    before = criterion(LOGITS, LABELS, torch.zeros(2, 4))
    criterion.at(0.9)
    after = criterion(LOGITS, LABELS, torch.zeros(2, 4))
    torch.testing.assert_close(before, terms().sum() / 4)
    torch.testing.assert_close(after, DetectionCriterion(CROSS_ENTROPY, WEIGHTS)(LOGITS, LABELS, torch.zeros(2, 4)))


def test_shares_tell_where_the_loss_of_the_last_step_came_from() -> None:
    criterion = DetectionCriterion(CROSS_ENTROPY, WEIGHTS, box_weight=2.0)
    assert criterion.shares == {}
    logits = torch.tensor([[[4.0, -4], [-4, -4], [2, -4], [-4, -4]]] * 2)
    loss = criterion(logits, LABELS, torch.ones(2, 4))
    shares = {name: float(value) for name, value in criterion.shares.items()}
    counted = torch.nn.functional.softplus(torch.where(torch.stack((LABELS == 0, LABELS == 1), -1), -logits, logits))
    counted = counted * torch.tensor([[0.5, 3, 3, 1], [1, 0, 1, 0.5]])[..., None]
    easy = counted[(logits == -4) & ~torch.stack((LABELS == 0, LABELS == 1), -1)].sum()
    assert shares["easy_negatives"] == pytest.approx(float(easy / counted.sum()))
    assert shares["foreground"] == pytest.approx(float(counted[LABELS >= 0].sum() / counted.sum()))
    assert shares["classification_to_box"] == pytest.approx(float(loss - 2) / 2)
    assert (shares["positives"], shares["anchors"]) == (2, 4)


@pytest.mark.parametrize(("labels", "weight"), [(LABELS, 0.0), (torch.full((2, 4), BACKGROUND), 1.0)])
def test_without_a_box_loss_there_is_no_ratio_to_it(labels: Tensor, weight: float) -> None:
    criterion = DetectionCriterion(CROSS_ENTROPY, WEIGHTS, weight)
    criterion(LOGITS, labels, torch.ones(2, 4))
    assert math.isnan(criterion.shares["classification_to_box"])


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf")])
def test_a_box_weight_outside_its_range_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match=f"^box_weight={weight}: must be a finite number >= 0"):
        DetectionCriterion(CROSS_ENTROPY, WEIGHTS, weight)


def test_parts_that_do_not_keep_their_contract_are_named() -> None:
    parts: dict[str, Any] = {
        "imbalance": None,
        "detection_data": lambda profile: [],
        "reweight": lambda counts: WEIGHTS,
    }
    with pytest.raises(InputError, match=r"^detection_data: must return Scenes, not list"):
        build(parts, {}, {})
    parts["detection_loss"] = lambda counts: max
    data: Any = SimpleNamespace(class_counts=torch.ones(len(WEIGHTS)), num_classes=len(WEIGHTS))
    with pytest.raises(InputError, match=r"^detection_loss: must be an nn\.Module, not builtin_function"):
        make_criterion(parts, {"box_weight": 1.0}, data)
