import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, recall_score
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_confusion_matrix

from longtail.metrics import (
    Shots,
    calibration_error,
    count_confidences,
    count_confusions,
    count_hits,
    groups,
    per_class_accuracy,
    summarise,
)

NAN = float("nan")


def scored(num_classes: int, size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(size)
    targets = torch.randint(num_classes, (size,), generator=generator)
    logits = torch.randn(size, num_classes, generator=generator)
    return logits + 2 * torch.nn.functional.one_hot(targets, num_classes), targets


def numpy_summary(hits: list[int], support: list[int], train: list[int], worst: int) -> dict[str, float]:
    h, s, n = (np.array(v, dtype=np.float64) for v in (hits, support, train))
    measured = s > 0
    accuracy = h[measured] / s[measured]

    def mean(values: NDArray[np.float64]) -> float:
        return float(np.mean(values)) if len(values) else NAN

    return {
        "accuracy": float(h.sum() / s.sum()),
        "accuracy_std": float(np.std(accuracy, ddof=0)),
        "accuracy_min": float(accuracy.min()),
        "accuracy_mean": mean(accuracy),
        "accuracy_gmean": float(np.prod(accuracy) ** (1 / len(accuracy))),
        f"accuracy_worst_{worst}": mean(np.sort(accuracy)[:worst]),
        "accuracy_many": mean(accuracy[n[measured] > 100]),
        "accuracy_medium": mean(accuracy[(n[measured] <= 100) & (n[measured] >= 20)]),
        "accuracy_few": mean(accuracy[n[measured] < 20]),
    }


@pytest.mark.parametrize(
    ("hits", "support", "train"),
    [
        ([90, 81, 70, 43, 20, 3], [100] * 6, [5000, 101, 100, 20, 19, 1]),
        ([9, 2, 7, 1], [10, 20, 7, 30], [500, 60, 30, 5]),
        ([9, 0, 7, 0], [10, 0, 7, 1], [500, 60, 30, 5]),
        ([3], [7], [101]),
        ([1, 1], [3, 3], [5, 5]),
    ],
)
@pytest.mark.parametrize("worst", [1, 3, 5])
def test_summary_equals_numpy(hits: list[int], support: list[int], train: list[int], worst: int) -> None:
    summary = summarise(torch.tensor(hits), torch.tensor(support), torch.tensor(train), worst)
    assert summary == pytest.approx(numpy_summary(hits, support, train, worst), rel=1e-12, nan_ok=True)
    assert {type(value) for value in summary.values()} == {float}


def test_groups_split_exactly_at_100_and_20() -> None:
    members = {name: in_group.tolist() for name, in_group in groups(torch.tensor([101, 100, 20, 19]))}
    assert members == {
        "many": [True, False, False, False],
        "medium": [False, True, True, False],
        "few": [False, False, False, True],
    }


def test_a_dataset_may_have_groups_of_its_own() -> None:
    counts, hits, support = torch.tensor([6, 5, 2, 1]), torch.tensor([4, 3, 2, 1]), torch.tensor([4] * 4)
    members = {name: in_group.tolist() for name, in_group in groups(counts, Shots(many=5, few=2))}
    assert members == {
        "many": [True, False, False, False],
        "medium": [False, True, True, False],
        "few": [False, False, False, True],
    }
    summary = summarise(hits, support, counts, shots=Shots(5, 2))
    assert (summary["accuracy_many"], summary["accuracy_medium"], summary["accuracy_few"]) == (1, 0.625, 0.25)
    assert str(Shots(5, 2)) == "many > 5, few < 2"


@pytest.mark.parametrize(
    ("many", "few", "named"), [(0, 1, "many=0"), (5, 6, "few=6"), (5, 0, "few=0"), (2.5, 1, "many")]
)
def test_groups_that_overlap_are_refused(many: int, few: int, named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named}.*: must be a whole number of images"):
        Shots(many, few)


def test_a_class_without_test_images_has_no_accuracy_and_no_say() -> None:
    hits, support = torch.tensor([3, 0, 1]), torch.tensor([4, 0, 4])
    assert per_class_accuracy(hits, support).tolist() == pytest.approx([0.75, NAN, 0.25], nan_ok=True)
    summary = summarise(hits, support, torch.tensor([200, 50, 30]))
    assert summary["accuracy_min"] == summary["accuracy_medium"] == 0.25
    assert summary["accuracy_mean"] == 0.5


def test_an_empty_group_is_nan_never_zero() -> None:
    summary = summarise(torch.tensor([3, 0]), torch.tensor([4, 4]), torch.tensor([200, 300]))
    assert math.isnan(summary["accuracy_medium"])
    assert math.isnan(summary["accuracy_few"])
    assert summary["accuracy_many"] == 0.375


def test_without_any_test_image_every_number_is_nan() -> None:
    zero = torch.zeros(3, dtype=torch.int64)
    assert all(math.isnan(value) for value in summarise(zero, zero, torch.tensor([200, 50, 3])).values())


def test_geometric_mean_is_zero_if_one_class_is_never_hit() -> None:
    counts = torch.tensor([200, 200, 200])
    assert summarise(torch.tensor([4, 0, 4]), torch.tensor([4, 4, 4]), counts)["accuracy_gmean"] == 0


def test_worst_of_fewer_classes_is_the_mean_of_all() -> None:
    summary = summarise(torch.tensor([4, 2]), torch.tensor([4, 4]), torch.tensor([200, 20]), worst=5)
    assert summary["accuracy_worst_5"] == summary["accuracy_mean"] == 0.75


def test_accuracy_of_a_balanced_test_set_equals_the_mean_over_classes() -> None:
    hits, support = torch.tensor([769, 770, 768]), torch.tensor([1000, 1000, 1000])
    summary = summarise(hits, support, torch.tensor([200, 50, 3]))
    assert summary["accuracy"] == pytest.approx(0.769, rel=1e-14)
    assert summary["accuracy"] == pytest.approx(summary["accuracy_mean"], rel=1e-14)


@pytest.mark.parametrize(("num_classes", "size"), [(2, 1), (5, 200), (30, 64)])
def test_counts_equal_brute_force_sklearn_and_torchmetrics(num_classes: int, size: int) -> None:
    logits, targets = scored(num_classes, size)
    predicted = [max(range(num_classes), key=row.__getitem__) for row in logits.tolist()]
    expected = [[0] * num_classes for _ in range(num_classes)]
    for true, guess in zip(targets.tolist(), predicted, strict=True):
        expected[true][guess] += 1
    hits, support = count_hits(logits, targets)
    confusions = count_confusions(logits, targets)

    assert confusions.tolist() == expected
    assert hits.tolist() == [row[c] for c, row in enumerate(expected)]
    assert support.tolist() == [sum(row) for row in expected]
    assert {hits.dtype, support.dtype, confusions.dtype} == {torch.int64}

    labels = list(range(num_classes))
    assert np.array_equal(confusions, confusion_matrix(targets, predicted, labels=labels))
    assert torch.equal(confusions, multiclass_confusion_matrix(logits, targets, num_classes))
    seen = support > 0
    accuracy = per_class_accuracy(hits, support)[seen]
    recall = recall_score(targets, predicted, labels=labels, average=None, zero_division=0)
    np.testing.assert_allclose(accuracy, recall[seen.numpy()])
    per_class = multiclass_accuracy(logits, targets, num_classes, average="none")
    np.testing.assert_allclose(accuracy, per_class[seen], rtol=1e-6)


def test_counts_of_an_empty_batch_are_zero() -> None:
    logits, targets = torch.empty(0, 4), torch.empty(0, dtype=torch.int64)
    assert [counts.tolist() for counts in count_hits(logits, targets)] == [[0] * 4, [0] * 4]
    assert count_confusions(logits, targets).tolist() == [[0] * 4] * 4


@pytest.mark.parametrize(("num_classes", "size"), [(10, 128), (1000, 128), (8142, 128), (3, 2000)])
def test_counts_equal_those_by_mask_and_bincount(num_classes: int, size: int) -> None:
    logits, targets = scored(num_classes, size)
    logits[: size // 4] = 0  # a tie goes to the first class
    right = targets[logits.argmax(1) == targets]
    hits, support = count_hits(logits, targets)
    assert torch.equal(hits, right.bincount(minlength=num_classes))
    assert torch.equal(support, targets.bincount(minlength=num_classes))


def test_batches_are_added_to_counts_in_place() -> None:
    logits, targets = scored(5, 200)
    counts = torch.zeros(5, dtype=torch.int64), torch.zeros(5, dtype=torch.int64)
    confusions = torch.zeros(5, 5, dtype=torch.int64)
    for part in (slice(0, 90), slice(90, None)):
        assert count_hits(logits[part], targets[part], counts)[0] is counts[0]
        assert count_confusions(logits[part], targets[part], confusions) is confusions
    assert torch.equal(torch.stack(counts), torch.stack(count_hits(logits, targets)))
    assert torch.equal(confusions, count_confusions(logits, targets))


class Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("count", [count_hits, count_confusions, count_confidences])
def test_counting_never_makes_the_host_wait_for_the_device(count: Callable[[Tensor, Tensor], object]) -> None:
    logits, targets = scored(10, 64)
    with Operations() as operations:
        count(logits, targets)
    assert operations.names
    assert not operations.names & {"bincount", "nonzero", "index", "masked_select", "_local_scalar_dense", "item"}


def confident(confidences: list[float], right: list[int]) -> tuple[Tensor, Tensor]:
    """Return log probabilities of 10 classes whose largest are these, of class 0, and targets."""
    c = torch.tensor(confidences)[:, None]
    return torch.cat((c, (1 - c).expand(-1, 9) / 9), 1).log(), 1 - torch.tensor(right)


def test_the_calibration_error_of_the_literature() -> None:
    counts = count_confidences(*confident([0.95, 0.85, 0.65, 0.55, 0.35], [1, 0, 1, 1, 0]))
    assert calibration_error(counts) == pytest.approx(0.41)
    assert counts[0].nonzero().flatten().tolist() == [5, 8, 9, 12, 14]


def test_a_bin_has_its_upper_end() -> None:
    counts = count_confidences(*confident([1 / 3, 5 / 15 + 1e-4, 1.0, 0.2], [1, 1, 1, 0]))
    assert counts[0].tolist() == [0, 0, 1, 0, 1, 1, *[0] * 8, 1]
    assert counts[2].tolist() == [0, 0, 0, 0, 1, 1, *[0] * 8, 1]


def test_the_calibration_of_batches_is_that_of_all() -> None:
    logits, targets = scored(30, 400)
    log_probabilities = logits.log_softmax(1)
    counts = torch.zeros(3, 15)
    for part in torch.arange(400).split(64):
        assert count_confidences(log_probabilities[part], targets[part], counts) is counts
    torch.testing.assert_close(counts, count_confidences(log_probabilities, targets))
    confidence, hit = log_probabilities.exp().max(1).values.numpy(), (logits.argmax(1) == targets).numpy()
    edges, error = np.linspace(0, 1, 16), 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        error += abs(confidence[inside].sum() - hit[inside].sum()) / 400
    assert calibration_error(counts) == pytest.approx(error, rel=1e-5)


def test_no_image_has_no_calibration_error() -> None:
    assert math.isnan(calibration_error(count_confidences(torch.empty(0, 4), torch.empty(0, dtype=torch.int64))))


class LargestOutput(TorchDispatchMode):
    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.elements = max([self.elements, *sizes])
        return result


def test_counting_hits_makes_nothing_larger_than_the_classes_or_the_batch() -> None:
    logits, targets = scored(500, 64)
    with LargestOutput() as largest:
        count_hits(logits, targets)
    assert 64 <= largest.elements <= 500
