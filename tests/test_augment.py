from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as TF
from torch import Tensor

from longtail.augment import Normalize, PadCropFlip


def random_images(*shape: int) -> Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def torchvision_place(image: Tensor, pad: int, top: int, left: int, flipped: bool) -> Tensor:
    height, width, _ = image.shape
    planes: Tensor = TF.pad(image.permute(2, 0, 1), [pad])
    planes = TF.crop(planes, top, left, height, width)
    return (TF.hflip(planes) if flipped else planes).permute(1, 2, 0)


@pytest.mark.parametrize(("height", "width", "channels"), [(8, 8, 1), (5, 7, 3), (6, 4, 4)])
@pytest.mark.parametrize("pad", [0, 1, 4])
def test_place_equals_torchvision_bit_for_bit(height: int, width: int, channels: int, pad: int) -> None:
    draws = list(product(range(2 * pad + 1), range(2 * pad + 1), (False, True)))
    images = random_images(len(draws), height, width, channels)
    top, left, flipped = (torch.tensor(column) for column in zip(*draws, strict=True))
    placed = PadCropFlip(pad).place(images, top, left, flipped)
    expected = torch.stack([torchvision_place(i, pad, *draw) for i, draw in zip(images, draws, strict=True)])
    assert placed.dtype == torch.uint8
    assert torch.equal(placed, expected)


def test_every_crop_and_flip_is_as_likely_as_any_other() -> None:
    image = 1 + torch.arange(64, dtype=torch.uint8).view(8, 8, 1)
    outcomes = {
        torchvision_place(image, 1, top, left, flipped).numpy().tobytes(): (top, left, flipped)
        for top, left, flipped in product(range(3), range(3), (False, True))
    }
    assert len(outcomes) == 18
    torch.manual_seed(0)
    batch = PadCropFlip(pad=1)(image.expand(18 * 400, 8, 8, 1))
    seen = Counter(outcomes[out.numpy().tobytes()] for out in batch)
    observed = np.array([seen[outcome] for outcome in outcomes.values()])
    assert ((observed - 400) ** 2 / 400).sum() < 17 + 6 * np.sqrt(2 * 17)


def test_every_image_has_its_own_crop_and_flip() -> None:
    image = 1 + torch.arange(64, dtype=torch.uint8).view(8, 8, 1)
    torch.manual_seed(0)
    assert len({out.numpy().tobytes() for out in PadCropFlip(pad=4)(image.expand(64, 8, 8, 1))}) > 40


def test_draws_come_from_the_random_state() -> None:
    images, augment = random_images(16, 8, 8, 3), PadCropFlip()
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(augment(images))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_without_padding_and_flip_images_stay_as_they_are() -> None:
    images = random_images(16, 8, 6, 3)
    assert torch.equal(PadCropFlip(pad=0, flip=False)(images), images)


def test_without_flip_no_image_is_flipped() -> None:
    image = 1 + torch.arange(64, dtype=torch.uint8).view(8, 8, 1)
    crops = {torchvision_place(image, 2, *at, False).numpy().tobytes() for at in product(range(5), range(5))}
    assert {out.numpy().tobytes() for out in PadCropFlip(2, flip=False)(image.expand(500, 8, 8, 1))} == crops


def test_without_padding_images_are_only_flipped() -> None:
    images = random_images(200, 8, 6, 3)
    torch.manual_seed(0)
    flipped = [torch.equal(out, image.flip(1)) for out, image in zip(PadCropFlip(pad=0)(images), images, strict=True)]
    kept = [torch.equal(out, image) for out, image in zip(PadCropFlip(pad=0)(images), images, strict=True)]
    assert 60 < sum(flipped) < 140
    assert 60 < sum(kept) < 140


@pytest.mark.parametrize("pad", [0, 2])
def test_images_in_another_memory_order_are_augmented_alike(pad: int) -> None:
    images = random_images(8, 6, 6, 3)
    planar = images.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    outcomes = []
    for batch in (images, planar):
        torch.manual_seed(0)
        outcomes.append(PadCropFlip(pad)(batch))
    assert torch.equal(*outcomes)


def test_an_empty_batch_stays_empty() -> None:
    assert PadCropFlip()(random_images(0, 8, 8, 3)).shape == (0, 8, 8, 3)


@pytest.mark.parametrize("pad", [-1, 1.5, "4", None])
def test_padding_that_is_no_number_of_pixels_is_refused(pad: Any) -> None:
    with pytest.raises(ValueError, match=f"pad={pad}"):
        PadCropFlip(pad)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normalize_equals_the_formula_in_float64(channels: int, dtype: torch.dtype) -> None:
    images = random_images(3, 5, 4, channels)
    mean, std = torch.linspace(0.1, 0.6, channels, dtype=dtype), torch.linspace(0.2, 0.4, channels, dtype=dtype)
    out = Normalize(mean, std)(images)
    expected = (images.numpy() / 255.0 - mean.double().numpy()) / std.double().numpy()
    assert out.dtype == torch.float32
    assert out.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(out.numpy(), expected.transpose(0, 3, 1, 2), rtol=0, atol=2e-6)


def test_normalised_images_have_mean_zero_and_deviation_one() -> None:
    images = random_images(50, 8, 8, 3)
    scaled = images.double().div(255).view(-1, 3)
    out = Normalize(scaled.mean(0).float(), scaled.std(0, correction=0).float())(images).double()
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        out.std((0, 2, 3), correction=0), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-5
    )
