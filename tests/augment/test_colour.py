from itertools import permutations
from typing import Any

import pytest
import torch
import torchvision.transforms.functional as TF
from torch import Tensor

from longtail.augment import ColorJitter, Grey

from .images import of_one, photos, random_images

CHANGES = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue)


def jittered(image: Tensor, order: list[int], strengths: list[float]) -> Tensor:
    for change in order:
        image = CHANGES[change](image, strengths[change])
    return image


def draws(count: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    orders = torch.tensor(list(permutations(range(4)))).repeat(-(-count // 24), 1)[:count]
    return orders, 0.6 + 0.8 * torch.rand(count, 4, dtype=torch.float64)


@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_without_hue_equals_torchvisions_bit_for_bit(channels: int) -> None:
    images = photos(72, 9, 14, channels)
    orders, strengths = draws(72)
    strengths[:, 3] = 0
    out = ColorJitter().apply_to(images, torch.ones(72, dtype=torch.bool), orders, strengths)
    kept = [[change for change in order if change != 3] for order in orders.tolist()]
    one_by_one = zip(images.permute(0, 3, 1, 2), kept, strengths.tolist(), strict=True)
    assert torch.equal(out, torch.stack([jittered(*one).permute(1, 2, 0) for one in one_by_one]))


@pytest.mark.parametrize("make", [photos, random_images])
def test_a_change_of_hue_equals_torchvisions_within_one_level(make: Any) -> None:
    images, shifts = make(101, 16, 16, 3), torch.linspace(-0.5, 0.5, 101, dtype=torch.float64)
    strengths, hue_first = torch.ones(101, 4, dtype=torch.float64), torch.tensor([[3, 0, 1, 2]]).expand(101, 4)
    strengths[:, 3] = shifts
    out = ColorJitter().apply_to(images, torch.ones(101, dtype=torch.bool), hue_first, strengths)
    off = (out.int() - of_one(TF.adjust_hue, images, shifts).int()).abs()
    assert off.max() <= 1
    assert (off > 0).double().mean() < 1e-3


@pytest.mark.parametrize("channels", [1, 3])
def test_all_four_changes_in_any_order_equal_torchvisions_but_for_rounding(channels: int) -> None:
    images, chosen = photos(96, 16, 16, channels), torch.arange(96) % 4 > 0
    orders, strengths = draws(96)
    strengths[:, 3] = (strengths[:, 3] - 1) / 4
    out = ColorJitter().apply_to(images, chosen, orders, strengths)
    off = (out.int() - of_one(jittered, images, orders, strengths).int()).abs()
    assert torch.equal(out[~chosen], images[~chosen])
    assert off[chosen].max() <= (3 if channels == 3 else 0)
    assert (off[chosen] > 0).double().mean() < 1e-3


def test_random_changes_are_in_their_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[Tensor, ...]] = []
    monkeypatch.setattr(ColorJitter, "apply_to", lambda self, images, *draws: drawn.append(draws))
    torch.manual_seed(0)
    ColorJitter(0.1, 0.2, 0.3, 0.4, share=0.7)(torch.zeros(10_000, 1, 1, 1))
    [(chosen, order, strengths)] = drawn
    assert float(chosen.double().mean()) == pytest.approx(0.7, abs=0.03)
    assert len(order.unique(dim=0)) == 24
    torch.testing.assert_close(strengths.amax(0), torch.tensor([1.1, 1.2, 1.3, 0.4]).double(), rtol=0, atol=0.01)
    torch.testing.assert_close(strengths.amin(0), torch.tensor([0.9, 0.8, 0.7, -0.4]).double(), rtol=0, atol=0.01)


def test_some_images_become_grey_as_torchvisions() -> None:
    images = photos(400, 4, 4, 3)
    torch.manual_seed(0)
    out = Grey(0.25)(images)
    expected = of_one(lambda image: TF.rgb_to_grayscale(image, 3), images)
    grey = (out == expected).flatten(1).all(1)
    assert torch.equal(out[~grey], images[~grey])
    assert 70 < int(grey.sum()) < 140
    assert torch.equal(Grey(1)(images), expected)
    assert torch.equal(Grey(1)(images[..., :1]), images[..., :1])


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue", "share"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_settings_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name}={value}: must be a number in"):
        ColorJitter(**{name: value})


def test_a_share_of_grey_images_is_in_0_to_1() -> None:
    with pytest.raises(ValueError, match=r"^share=2: must be a number in \[0, 1\]"):
        Grey(2)
