"""ProCo: the von Mises-Fisher normaliser, the class features, the loss."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.errors import InputError
from longtail.losses import LDAM, LogitAdjustment, Softmax
from longtail.methods import Criterion
from longtail.methods.proco import ClassFeatures, LogC, ProCo, log_c
from longtail.models import SmallCNN

COUNTS = torch.tensor([200, 60, 20, 5])
TARGETS = torch.tensor([0, 0, 0, 1, 1, 2])
KAPPAS = torch.tensor([0.1, 1, 5, 30, 100, 606.3158, 2000, 1e4, 1e5], dtype=torch.float64)


def make(loss: nn.Module | None = None, **settings: Any) -> ProCo:
    torch.manual_seed(0)
    criterion = Criterion(loss or LogitAdjustment(COUNTS), torch.ones(4))
    return ProCo(SmallCNN(1, 4, width=4), criterion, COUNTS, **{"hidden": 16, "dim": 8, **settings})


def augment(images: Tensor, other: nn.Module | None = None) -> Tensor:
    return (images if other is None else other(images)).permute(0, 3, 1, 2) / 255


def unit(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


@pytest.mark.parametrize("dim", [4, 16, 128, 256])
def test_the_normaliser_and_its_derivative_are_bessel_functions(dim: int) -> None:
    special = pytest.importorskip("scipy.special")
    order, kappa = dim / 2 - 1, KAPPAS.numpy()
    scaled, further = special.ive(order, kappa), special.ive(order + 1, kappa)
    known = scaled > 1e-290  # scipy's underflows
    assert known.sum() >= 6
    value, slope = (found.numpy()[known] for found in log_c(KAPPAS, dim))
    expected = np.log(scaled[known]) + kappa[known] - order * np.log(kappa[known])
    np.testing.assert_allclose(value, expected, atol=1e-6, rtol=0)
    np.testing.assert_allclose(slope, (further / np.where(known, scaled, 1))[known], rtol=1e-6)


def test_the_normaliser_in_four_dimensions() -> None:
    ten, twelve = log_c(torch.tensor([10.0, 12.0], dtype=torch.float64), 4)[0].tolist()
    assert twelve - ten == pytest.approx(1.733424, abs=1e-6)


def test_the_normaliser_is_finite_where_the_bessel_functions_are_not() -> None:
    value, slope = log_c(torch.tensor([0.0, 1e5], dtype=torch.float64), 1024)
    assert value[0].item() == pytest.approx(-511 * math.log(2) - math.lgamma(512))
    assert slope[0] == 0
    assert bool(value.isfinite().all() and (slope < 1).all())


def test_the_gradient_is_that_of_the_value() -> None:
    kappa = torch.tensor([[0.5, 3.0], [40.0, 700.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda k: LogC.apply(k, 16), (kappa,), atol=1e-4)


def test_a_new_class_has_the_concentration_of_a_mean_of_length_0_9() -> None:
    kappa, mu = ClassFeatures(3, 128).estimates()
    torch.testing.assert_close(kappa, torch.full((3,), 606.3158, dtype=torch.float64), atol=1e-2, rtol=0)
    torch.testing.assert_close(mu.norm(dim=1), torch.ones(3, dtype=torch.float64))


def test_a_class_of_one_image_has_the_largest_concentration() -> None:
    classes = ClassFeatures(4, 8)
    classes.add(unit(1, 8), torch.tensor([2]))
    kappa, mu = classes.estimates()
    assert float(kappa[2]) == 1e5
    torch.testing.assert_close(mu[2], unit(1, 8)[0], atol=1e-6, rtol=0)


def test_the_means_are_those_of_the_last_epoch_and_of_this_one_so_far() -> None:
    classes = ClassFeatures(4, 8)
    epochs = [[unit(6, 8, seed=10 * epoch + step) for step in range(3)] for epoch in range(3)]
    for number, epoch in enumerate(epochs):
        classes.turn()
        for step, features in enumerate(epoch):
            classes.add(features, TARGETS)
            seen = torch.stack([*(epochs[number - 1] if number else []), *epoch[: step + 1]])
            expected = torch.stack([seen[:, j == TARGETS].mean((0, 1)) for j in range(3)]).float()
            torch.testing.assert_close(classes.means[0, :3], expected)
            torch.testing.assert_close(classes.means[:, 3], classes.start[3].expand(2, -1))  # no image yet
    assert classes.counts[:, :, 0].tolist() == [[18, 12, 6, 0], [9, 6, 3, 0]]


def test_the_likelihoods_are_those_of_the_formula() -> None:
    method, views = make(), torch.stack((unit(6, 8, seed=1), unit(6, 8, seed=2)))
    found = method.log_likelihoods(views, TARGETS)
    classes = ClassFeatures(4, 8)
    classes.means.copy_(make().classes.means)
    for features, g in zip(views, found, strict=True):  # the second view finds the first one in the means
        classes.add(features, TARGETS)
        kappa, mu = classes.estimates()
        moved = (kappa[:, None] * mu + features[:, None] / 0.1).norm(dim=2)
        torch.testing.assert_close(g, log_c(moved, 8)[0] - log_c(kappa, 8)[0])


def test_the_loss_is_that_of_one_view_and_of_the_mean_of_two_others() -> None:
    method = make()
    images = torch.randint(0, 256, (6, 8, 8, 1), dtype=torch.uint8)
    batch, same = method.transform(images, TARGETS, augment)
    assert batch.shape == (18, 1, 8, 8)
    assert torch.equal(same, TARGETS)
    again, plain = copy.deepcopy(method), copy.deepcopy(method)
    plain.alpha = 0.0
    features = again.model.features(batch)  # type: ignore[operator]
    views = F.normalize(again.projection(features).double(), dim=1).view(3, 6, 8)[1:]
    g = again.log_likelihoods(views, TARGETS).float()
    losses = LogitAdjustment(COUNTS)
    first = losses(again.model.head(features[:6]), TARGETS).mean()  # type: ignore[operator]
    torch.testing.assert_close(plain.loss((batch, TARGETS)), first)
    expected = first + (losses(g[0], TARGETS).mean() + losses(g[1], TARGETS).mean()) / 2
    torch.testing.assert_close(method.loss((batch, TARGETS)), expected)


def test_the_views_have_an_augmentation_of_their_own() -> None:
    class Blank(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.zeros_like(images)

    images = torch.full((2, 8, 8, 1), 255, dtype=torch.uint8)
    batch, _ = make(view=Blank()).transform(images, TARGETS[:2], augment)
    assert batch.mean((1, 2, 3)).tolist() == [1, 1, 0, 0, 0, 0]


def test_an_epoch_begins_once_and_its_state_is_in_the_checkpoint() -> None:
    method, images = make(), torch.rand(18, 1, 8, 8)
    for progress in (0.0, 0.2):
        method.at(progress)
        method.loss((images, TARGETS))
    resumed = make()
    resumed.at(0.8)  # as before an evaluation
    resumed.load_state_dict(method.state_dict())
    resumed.at(0.2)  # in the middle of the epoch
    assert torch.equal(resumed.classes.means, method.classes.means)
    assert resumed.classes.counts.sum((1, 2)).tolist() == [24, 12]
    resumed.at(0.4)
    assert resumed.classes.counts.sum((1, 2)).tolist() == [12, 0]


def test_under_autocast_the_likelihoods_are_exact() -> None:
    method, other = make(), make()
    views = unit(2, 6, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = method.log_likelihoods(views, TARGETS)
    assert found.dtype == torch.float64
    assert torch.equal(found, other.log_likelihoods(views, TARGETS))


def test_all_of_it_is_trained() -> None:
    method = make()
    method.loss((torch.rand(18, 1, 8, 8), TARGETS)).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in method.parameters())


@pytest.mark.parametrize(
    ("setting", "value"),
    [("temperature", 0), ("alpha", -1), ("hidden", 0), ("dim", 127), ("dim", 2), ("temperature", float("nan"))],
)
def test_a_bad_setting_is_refused(setting: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{setting}={value}: must be a"):
        make(None, **{setting: value})


def test_a_loss_of_cosines_is_refused() -> None:
    with pytest.raises(InputError, match=r"^loss: must not take cosines, as LDAM does, for ProCo"):
        make(LDAM(COUNTS))
    make(Softmax(COUNTS))
