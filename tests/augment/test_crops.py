from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as TF
from torch import Tensor
from torchvision.transforms import RandomResizedCrop

from longtail.augment import Cutout, PadCropFlip, ResizedCropFlip, Rotate

from .images import of_one, photos, random_images


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


@pytest.mark.parametrize(("height", "width", "channels"), [(32, 32, 3), (8, 8, 1), (9, 14, 3)])
def test_a_stretched_part_equals_torchvisions_but_for_rounding(height: int, width: int, channels: int) -> None:
    images = photos(200, height, width, channels)
    torch.manual_seed(0)
    tall, wide = torch.randint(1, height + 1, (200,)), torch.randint(1, width + 1, (200,))
    top, left = ((torch.rand(200) * (n - part + 1)).long() for n, part in ((height, tall), (width, wide)))
    flipped = torch.rand(200) < 0.5
    placed = ResizedCropFlip().place(images, top, left, tall, wide, flipped)

    def torchvision(image: Tensor, *draw: int) -> Tensor:
        part: Tensor = TF.resized_crop(image, *draw[:4], [height, width])
        return TF.hflip(part) if draw[4] else part

    expected = of_one(torchvision, images, top, left, tall, wide, flipped)
    assert placed.dtype == torch.uint8
    assert placed.is_contiguous()
    off = (placed.int() - expected.int()).abs()
    assert off.max() <= 1
    assert (off > 0).double().mean() < 2e-3


def test_a_whole_image_is_stretched_to_itself() -> None:
    images, zero = random_images(4, 9, 7, 3), torch.zeros(4, dtype=torch.int64)
    assert torch.equal(ResizedCropFlip().place(images, zero, zero, zero + 9, zero + 7, zero), images)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (8, 30)])
def test_parts_have_the_sizes_that_torchvision_draws(height: int, width: int) -> None:
    torch.manual_seed(0)
    ours = torch.stack(ResizedCropFlip().draw(3000, height, width), 1).double()
    image = torch.empty(1, height, width)
    params = [RandomResizedCrop.get_params(image, [0.2, 1.0], [3 / 4, 4 / 3])[2:] for _ in range(3000)]
    theirs = torch.tensor(params, dtype=torch.float64)
    assert (ours.mean(0) - theirs.mean(0)).abs().max() < 5 * theirs.std(0).max() * (2 / 3000) ** 0.5
    assert ours.amax(0).tolist() == theirs.amax(0).tolist()
    assert (ours.std(0) - theirs.std(0)).abs().max() < 0.05 * theirs.std(0).max()


def test_random_parts_lie_within_their_images() -> None:
    image = torch.arange(64, dtype=torch.uint8).view(8, 8, 1)  # grey levels that tell the place
    torch.manual_seed(0)
    out = ResizedCropFlip(scale=0.1)(image.expand(2000, 8, 8, 1))
    assert out.shape == (2000, 8, 8, 1)
    assert out.min() == 0
    assert out.max() == 63
    assert len({one.numpy().tobytes() for one in out}) > 200
    levels = ResizedCropFlip(scale=0.1, flip=False)(image.expand(2000, 8, 8, 1)).int()
    assert bool((levels[:, :, 0] <= levels[:, :, -1]).all())


@pytest.mark.parametrize("size", [1, 4, 5, 40])
def test_a_square_is_cut_out_around_its_centre_and_clipped(size: int) -> None:
    images, draws = 1 + random_images(70, 7, 10, 2) % 255, list(product(range(7), range(10)))
    expected = images.clone()
    for image, (row, column) in zip(expected, draws, strict=True):
        top, left = row - size // 2, column - size // 2
        image[max(top, 0) : top + size, max(left, 0) : left + size] = 0
    row, column = torch.tensor(draws).t()
    assert torch.equal(Cutout(size).place(images, row, column), expected)


def test_every_centre_of_a_square_is_as_likely_as_any_other() -> None:
    torch.manual_seed(0)
    out = Cutout(1)(torch.ones(20 * 400, 4, 5, 1, dtype=torch.uint8))
    assert bool((out.sum((1, 2, 3)) == 19).all())
    observed = (out == 0).sum((0, 3)).double()
    assert ((observed - 400) ** 2 / 400).sum() < 19 + 6 * np.sqrt(2 * 19)


@pytest.mark.parametrize(("height", "width", "channels"), [(32, 32, 3), (8, 11, 1)])
def test_a_turned_image_equals_torchvisions(height: int, width: int, channels: int) -> None:
    images, degrees = random_images(60, height, width, channels), torch.linspace(-180, 180, 60, dtype=torch.float64)
    assert torch.equal(Rotate().place(images, degrees), of_one(TF.rotate, images, degrees))


def test_images_are_turned_to_either_side_by_at_most_the_degrees() -> None:
    image = torch.zeros(65, 65, 1, dtype=torch.uint8)
    image[31:34, 58:61] = 1  # 27 pixels to the right of the centre
    torch.manual_seed(0)
    turned = Rotate(30)(image.expand(400, 65, 65, 1)).double().sum((2, 3))
    height = (turned * (32 - torch.arange(65))).sum(1) / turned.sum(1)
    assert float(height.amax()) == pytest.approx(27 / 2, abs=0.8)
    assert float(height.amin()) == pytest.approx(-27 / 2, abs=0.8)
    assert torch.equal(Rotate(0)(image[None]), image[None])


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        *((Cutout, {"size": value}) for value in (0, 1.5, "4", None)),
        *((ResizedCropFlip, {"scale": value}) for value in (0, 1.1, -1)),
        *((ResizedCropFlip, {"ratio": value}) for value in (0.75, float("inf"))),
        *((Rotate, {"degrees": value}) for value in (-1, 181, float("nan"))),
    ],
)
def test_settings_out_of_range_are_refused(make: Any, wrong: dict[str, Any]) -> None:
    [(name, value)] = wrong.items()
    with pytest.raises(ValueError, match=f"^{name}={value}: must be"):
        make(**wrong)
