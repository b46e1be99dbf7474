"""What an evaluation counts, against scikit-learn."""

import math

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import confusion_matrix
from torchmetrics.functional.classification import multiclass_calibration_error

from longtail.losses import LDAM
from longtail.methods import Criterion
from longtail.training.evaluation import Classification, log_softmax

COUNTS = torch.tensor([200, 60, 20, 5])


def evaluation(counts: torch.Tensor = COUNTS) -> Classification:
    return Classification(counts, lambda logits, targets: F.cross_entropy(logits, targets, reduction="none"))


def test_batches_count_as_one() -> None:
    logits, targets = torch.randn(50, 4), torch.randint(0, 3, (50,))
    counting = evaluation()
    for part in torch.arange(50).split(17):
        counting.update(logits[part], targets[part])
    outcome = counting.outcome()
    expected = confusion_matrix(targets, logits.argmax(1), labels=range(4))
    assert outcome.confusion == expected.tolist()
    assert outcome.support == targets.bincount(minlength=4).tolist()
    assert outcome.per_class[:3] == pytest.approx((expected.diagonal()[:3] / expected.sum(1)[:3]).tolist())
    assert math.isnan(outcome.per_class[3])
    assert outcome.scores["loss"] == pytest.approx(float(F.cross_entropy(logits, targets)), rel=1e-6)
    assert outcome.scores["nll"] == pytest.approx(float(F.cross_entropy(logits, targets)), rel=1e-6)
    ece = multiclass_calibration_error(logits.softmax(1), targets, num_classes=4, n_bins=15)
    assert outcome.scores["ece"] == pytest.approx(float(ece), rel=1e-5)
    assert outcome.scores["accuracy"] == pytest.approx(float((logits.argmax(1) == targets).double().mean()))


def test_the_loss_says_what_its_logits_mean() -> None:
    cosines, targets = torch.rand(20, 4) * 2 - 1, torch.randint(0, 4, (20,))
    criterion = Criterion(LDAM(COUNTS, s=7.0), torch.ones(4))
    scores = []
    for of_loss, given in ((criterion.log_probabilities, cosines), (log_softmax, 7 * cosines)):
        counting = Classification(COUNTS, criterion.losses, of_loss)
        counting.update(given, targets)
        found = counting.outcome().scores
        scores.append([found["ece"], found["nll"]])
    assert scores[0] == pytest.approx(scores[1])


def test_its_task_names_what_it_measures() -> None:
    counting = evaluation()
    counting.update(torch.eye(4), torch.arange(4))
    scores = counting.outcome().scores
    assert {*counting.task.metrics, *counting.task.lower_is_better} <= set(scores)


def test_each_outcome_starts_anew_but_what_was_drawn_stays() -> None:
    counting = evaluation()
    counting.draw(torch.tensor([0, 0, 3]))
    for hit in (True, False):
        counting.update(torch.eye(4) if hit else torch.eye(4).flip(0), torch.arange(4))
        assert counting.outcome().scores["accuracy"] == hit
    assert counting.drawn.tolist() == [2, 0, 0, 1]


def test_many_classes_have_no_confusion_matrix() -> None:
    counting = evaluation(torch.ones(1001))
    counting.update(torch.randn(4, 1001), torch.arange(4))
    assert sum(torch.as_tensor(state).numel() for state in counting.metric_state.values()) == 2 * 1001 + 2 + 3 * 15
    outcome = counting.outcome()
    assert outcome.confusion is None
    assert outcome.support[:5] == [1, 1, 1, 1, 0]


def test_predictions_that_are_not_finite_are_no_result() -> None:
    counting = evaluation()
    counting.update(torch.eye(4), torch.arange(4))
    counting.outcome().check()
    counting.update(torch.full((4, 4), math.nan), torch.arange(4))
    with pytest.raises(FloatingPointError, match=r"^test/loss is nan"):
        counting.outcome().check()
