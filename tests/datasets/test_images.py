"""Streamed images, their random crops, and the statistics of any images."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as F

from longtail.datasets import ArrayImages, ImageData, channel_stats, image_folder
from longtail.datasets.images import TRIES, check, random_box, random_crop

from ..conftest import MakeImages


def test_channel_stats_are_those_of_the_pixels(make_images: MakeImages, tmp_path: Path) -> None:
    data = image_folder(str(make_images({"a": 6, "b": 5}, {"a": 1, "b": 1})), str(tmp_path), num_workers=0)
    for chosen in (np.arange(11), np.array([7, 2, 3])):
        pixels = data.train.batch(chosen.tolist()).double().reshape(-1, 3) / 255
        mean, std = channel_stats(data.train, chosen)
        torch.testing.assert_close(mean, pixels.mean(0).float())
        torch.testing.assert_close(std, pixels.std(0, correction=0).float())


@pytest.mark.parametrize("size", [(50, 40), (300, 40), (7, 90), (1, 1)])
def test_random_boxes_are_distributed_as_torchvisions(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    image, count = Image.new("L", size), 1000
    ours = np.array([random_box(*size, draws) for draws in torch.rand(count, TRIES, 4).tolist()])
    left, top, right, bottom = ours.T
    theirs = np.array([RandomResizedCrop.get_params(image, [0.08, 1], [3 / 4, 4 / 3]) for _ in range(count)])
    assert bool((ours >= 0).all())
    assert right.max() <= size[0]
    assert bottom.max() <= size[1]
    for own, other in zip((top, left, bottom - top, right - left), theirs.T, strict=True):
        assert ks_2samp(own, other).pvalue > 1e-3


def test_a_random_crop_has_the_pixels_of_torchvisions() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    torch.manual_seed(0)
    for draws in torch.rand(20, TRIES, 4).tolist():
        left, top, right, bottom = random_box(50, 40, draws)
        theirs = F.resized_crop(Image.fromarray(pixels), top, left, bottom - top, right - left, [16, 16])
        assert np.array_equal(np.asarray(random_crop(Image.fromarray(pixels), 16, draws)), np.asarray(theirs))


def test_a_large_jpeg_is_cropped_as_if_it_were_read_whole(tmp_path: Path) -> None:
    across, down = np.meshgrid(np.linspace(0, 255, 400), np.linspace(0, 255, 320))
    Image.fromarray(np.stack((across, down, across), 2).astype(np.uint8)).save(tmp_path / "a.jpg", quality=95)
    torch.manual_seed(0)
    reduced = 0
    for draws in torch.rand(20, TRIES, 4).tolist():
        with Image.open(tmp_path / "a.jpg") as image, Image.open(tmp_path / "a.jpg") as other:
            other.load()
            small, whole = (np.asarray(random_crop(one, 32, draws)).astype(int) for one in (image, other))
            reduced += image.size < (400, 320)
        assert np.abs(small - whole).max() <= 6
    assert reduced > 10


def test_grey_files_become_grey_images_of_three_channels(make_images: MakeImages, tmp_path: Path) -> None:
    root = make_images({"a": 1, "b": 1}, {"a": 1, "b": 1}, size=(40, 30))
    grey = np.random.default_rng(0).integers(0, 256, (30, 40), np.uint8)
    for name, pixels in (("a", grey), ("b", np.stack([grey] * 3, 2))):
        Image.fromarray(pixels).save(root / "train" / name / "000.png")
    data = image_folder(str(root), str(tmp_path / "data"), image_size=16, num_workers=0)
    one, other = data.train.for_evaluation().batch([0, 1])
    assert torch.equal(one, other)


def test_a_dataset_keeps_its_contract_or_is_told_what_it_breaks() -> None:
    good = np.zeros((3, 6, 5, 1), np.uint8)

    def made(pixels: np.ndarray, targets: object = (0, 1, 1), shape: tuple[int, int, int] = (1, 6, 5)) -> ImageData:
        return ImageData(ArrayImages(good, [0, 1, 1]), ArrayImages(pixels, targets), ["a", "b"], shape)

    check(made(good))
    for wrong, line in (
        ([good], "must return ImageData, not list"),
        (
            made(good / 1),
            "must have pixels torch.uint8 of (N, 6, 5, 1) by its image_shape for test, not torch.float64",
        ),
        (
            made(good.transpose(0, 3, 1, 2)),
            "must have pixels torch.uint8 of (N, 6, 5, 1) by its image_shape for test",
        ),
        (made(good, shape=(6, 5, 1)), "must have pixels torch.uint8 of (N, 5, 1, 6) by its image_shape for train"),
        (made(good, [0, 1]), "must have a class for each of 3 images for test, not 2"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(line)}"):
            check(wrong)
    with pytest.raises(ValueError, match="targets must be whole numbers, not"):
        made(good, [0.5, 1, 1.5])
