"""Adjustments of predictions, against the definitions and by brute force."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from longtail import posthoc

LOGITS, COUNTS = torch.tensor([[2.0, 1.0, -0.5], [0.2, 0.1, 0.4]]), torch.tensor([100, 10, 1])


@pytest.mark.parametrize(("tau", "expected"), [(0, [0, 2]), (1, [2, 2]), (2, [2, 2])])
def test_logit_adjustment_moves_predictions_to_the_tail(tau: float, expected: list[int]) -> None:
    assert posthoc.adjust(LOGITS, COUNTS, tau).argmax(1).tolist() == expected


def test_logit_adjustment_moves_the_threshold_of_two_classes() -> None:
    gap = 2 * np.log(30 / 7)
    logits = torch.tensor([[gap - 0.01, 0.0], [gap + 0.01, 0.0]])
    assert posthoc.adjust(logits, torch.tensor([30, 7]), tau=2).argmax(1).tolist() == [1, 0]
    assert torch.equal(posthoc.adjust(LOGITS, torch.tensor([5, 5, 5]), 1).argmax(1), LOGITS.argmax(1))


@pytest.mark.parametrize(
    ("tau", "expected"),
    [(0, [7, 1, 0.5]), (0.5, [3.130495, 1, 0.707107]), (1, [1.4, 1, 1]), (2, [0.28, 1, 2])],
)
def test_tau_normalisation(tau: float, expected: list[float]) -> None:
    weight = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 0.5]])
    logits = posthoc.tau_normalised(torch.ones(1, 2), weight, tau)
    torch.testing.assert_close(logits, torch.tensor([expected]), atol=1e-6, rtol=1e-6)


def test_the_nearest_mean_is_that_of_centred_features_of_length_one() -> None:
    generator = torch.Generator().manual_seed(0)
    features, targets = torch.randn(40, 5, generator=generator) + 3, torch.arange(40) % 4
    means, centre = posthoc.class_means(features, targets, num_classes=5)  # the last without images
    given = torch.randn(7, 5, generator=generator) + 3
    units = [np.asarray((f - centre) / (f - centre).norm()) for f in (*features, *given)]
    own = [np.mean([units[i] for i in range(40) if i % 4 == c], axis=0) for c in range(4)]
    np.testing.assert_allclose(centre, features.mean(0), rtol=1e-6)
    np.testing.assert_allclose(means[:4], own, atol=1e-6)
    found = posthoc.nearest_mean(given, means, centre)
    expected = [[-float(np.linalg.norm(unit - mean)) for mean in own] for unit in units[40:]]
    np.testing.assert_allclose(found[:, :4], expected, atol=1e-5)
    assert bool((found[:, 4] == -torch.inf).all())


@pytest.mark.parametrize("true", [0.3, 1.0, 4.0])
def test_the_temperature_that_drew_the_classes_is_found(true: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(20_000, 6, generator=generator)
    targets = logits.softmax(1).multinomial(1, generator=generator)[:, 0]
    found = posthoc.temperature(true * logits, targets)
    assert found == pytest.approx(true, rel=0.03)

    def nll(temperature: float) -> float:
        return float(F.cross_entropy((true * logits / temperature).double(), targets))

    assert nll(found) < min(nll(found * 1.01), nll(found / 1.01))


def test_what_is_always_right_may_be_sure_and_what_is_always_wrong_may_not() -> None:
    assert posthoc.temperature(torch.eye(4), torch.arange(4)) < 0.1
    assert posthoc.temperature(torch.eye(4), torch.tensor([1, 2, 3, 0])) == pytest.approx(100)


def test_the_prior_of_the_test_is_taken_for_that_of_the_training() -> None:
    logits = posthoc.with_prior(LOGITS, COUNTS, COUNTS.flip(0))
    expected = torch.tensor([[-2.60517, 1, 4.10517], [-4.40517, 0.1, 5.00517]])
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    uniform = posthoc.with_prior(LOGITS, COUNTS, torch.ones(3)).log_softmax(1)
    torch.testing.assert_close(uniform, posthoc.adjust(LOGITS, COUNTS, 1).log_softmax(1))
    absent = posthoc.with_prior(LOGITS, torch.ones(3), torch.tensor([1, 1, 0]))
    assert absent.argmax(1).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("num_classes", "each", "ratio", "images"),  # of the lists in use for ImageNet-LT, Places-LT and iNaturalist 2018
    [
        *(
            (1000, 50, ratio, images)
            for ratio, images in {50: 12058, 25: 14437, 10: 19059, 5: 24365, 2: 35574}.items()
        ),
        *(
            (365, 100, ratio, images)
            for ratio, images in {50: 8989, 25: 10727, 10: 14103, 5: 17970, 2: 26155}.items()
        ),
        (8142, 3, 2, 12906),
    ],
)
def test_shifted_tests_have_the_size_of_the_literature(num_classes: int, each: int, ratio: int, images: int) -> None:
    order = torch.arange(num_classes)
    forward, backward = (
        posthoc.shifted_counts(torch.full((num_classes,), each), by, ratio) for by in (order, order.flip(0))
    )
    assert int(forward.sum()) == images
    assert torch.equal(forward, backward.flip(0))
    assert int(forward[0]) == each


def test_a_shifted_test_has_as_many_images_as_the_scarcest_class_allows() -> None:
    available, order = torch.tensor([8, 100, 3, 0]), torch.tensor([1, 0, 3, 2])
    counts = posthoc.shifted_counts(available, order, 8)
    assert counts.tolist() == [8, 16, 2, 0]  # 16 * 8 ** (-place / 3)
    assert posthoc.shifted_counts(available, order, 1).tolist() == [3, 3, 3, 0]
    assert posthoc.shifted_counts(torch.zeros(2, dtype=torch.int64), torch.arange(2), 5).tolist() == [0, 0]


def test_as_many_images_as_wanted_are_drawn_the_smaller_set_from_the_larger() -> None:
    targets = torch.randint(0, 4, (200,), generator=torch.Generator().manual_seed(1))

    def drawn(*counts: int, seed: int = 0) -> Tensor:
        return posthoc.draw(targets, torch.tensor(counts), seed)

    large, small = drawn(20, 10, 5, 0), drawn(10, 10, 1, 0)
    assert targets[large].bincount(minlength=4).tolist() == [20, 10, 5, 0]
    assert set(small.tolist()) < set(large.tolist())
    assert large.tolist() == sorted(large.tolist())
    assert torch.equal(drawn(20, 10, 5, 0), large)
    assert not torch.equal(drawn(20, 10, 5, 0, seed=1), large)
    everything = targets.bincount().tolist()
    assert drawn(*everything).tolist() == list(range(200))
