from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import AutoAugment as OfTorchvision
from torchvision.transforms import AutoAugmentPolicy

from longtail.augment import AutoAugment
from longtail.augment.auto import sub_policies

from .images import photos, random_images


def torchvisions(policy: str, fill: int, images: Tensor, draws: list[Any], monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Apply torchvision's transform to one image after the other, which takes these draws for its own."""
    given = iter(draws)
    monkeypatch.setattr(OfTorchvision, "get_params", staticmethod(lambda count: next(given)))
    transform = OfTorchvision(AutoAugmentPolicy(policy), fill=[float(fill)] * images.shape[3] if fill else None)
    return torch.stack([transform(image.permute(2, 0, 1)).permute(1, 2, 0) for image in images])


@pytest.mark.parametrize(
    ("policy", "fill", "height", "width", "channels"),
    [
        ("cifar10", 0, 32, 32, 3),
        ("cifar10", 128, 13, 20, 3),
        ("cifar10", 0, 8, 8, 1),
        ("svhn", 0, 32, 32, 3),
        ("imagenet", 7, 16, 16, 3),
    ],
)
def test_every_operation_equals_torchvisions_bit_for_bit(
    policy: str, fill: int, height: int, width: int, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All 25 sub-policies with both signs: both operations, either alone, none.
    applied, left_out = 0.0, 0.999
    chances = [(applied, applied), (applied, left_out), (left_out, applied), (left_out, left_out)]
    every = [(i, c, s) for i, c, s in product(range(25), chances, ((0, 1), (1, 0)))]
    images = photos(len(every), height, width, channels)
    chosen, chance, sign = (torch.tensor(column) for column in zip(*every, strict=True))
    out = AutoAugment(policy, fill).apply_to(images, chosen, chance, sign)  # type: ignore[arg-type]
    expected = torchvisions(policy, fill, images, list(zip(chosen, chance, sign, strict=True)), monkeypatch)
    assert out.dtype == torch.uint8
    assert [every[i] for i in range(len(every)) if not torch.equal(out[i], expected[i])] == []


def test_random_draws_are_torchvisions(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[Tensor, ...]] = []
    monkeypatch.setattr(AutoAugment, "apply_to", lambda self, images, *draws: drawn.append(draws))
    torch.manual_seed(0)
    AutoAugment()(torch.zeros(20_000, 1, 1, 1))
    [(chosen, chances, signs)] = drawn
    counts = chosen.bincount(minlength=25)
    assert ((counts - 800) ** 2 / 800).sum() < 24 + 6 * 48**0.5
    assert chances.shape == signs.shape == (20_000, 2)
    assert (chances.mean(0) - 0.5).abs().max() < 0.01
    assert (chances.t().corrcoef() - torch.eye(2)).abs().max() < 0.03
    assert (signs.double().mean(0) - 0.5).abs().max() < 0.02


def test_a_batch_is_augmented_as_its_draws_say_and_stays_as_it_is() -> None:
    images, augment = random_images(64, 16, 16, 3), AutoAugment()
    before = images.clone()
    outcomes = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outcomes.append(augment(images))
    assert torch.equal(images, before)
    assert torch.equal(outcomes[0], outcomes[1])
    assert not torch.equal(outcomes[0], outcomes[2])
    changed = (outcomes[0] != images).flatten(1).any(1).sum()
    assert 32 < changed < 64
    assert augment(images[:0]).shape == (0, 16, 16, 3)


def test_images_in_another_memory_order_are_augmented_alike() -> None:
    images = random_images(64, 12, 12, 3)
    planar = images.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    outcomes = []
    for batch in (images, planar):
        torch.manual_seed(0)
        outcomes.append(AutoAugment()(batch))
    assert torch.equal(*outcomes)


def test_a_policy_has_25_pairs_of_operations() -> None:
    for policy in ("cifar10", "imagenet", "svhn"):
        assert [of.shape for of in sub_policies(policy, 32, 32)] == [(25, 2)] * 3


@pytest.mark.parametrize(
    "wrong", [{"policy": "cifar"}, {"fill": -1}, {"fill": 256}, {"fill": 0.5}], ids=lambda wrong: str(wrong)
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    [(name, value)] = wrong.items()
    with pytest.raises(ValueError, match=f"^{name}={value}: must be"):
        AutoAugment(**wrong)
