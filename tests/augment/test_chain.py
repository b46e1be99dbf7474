from typing import Any

import pytest
import torch
from torch import Tensor, nn

from longtail.augment import AutoAugment, Chain, Cutout, PadCropFlip, Rotate, SimAugment

from .images import random_images


class Add(nn.Module):
    def __init__(self, what: int) -> None:
        super().__init__()
        self.what = what

    def forward(self, images: Tensor) -> Tensor:
        return images * 2 + self.what


def test_steps_follow_each_other_without_those_left_out() -> None:
    images = torch.ones(2, 8, 8, 1, dtype=torch.uint8)
    assert torch.equal(Chain(first=Add(1), without=None, then=Add(3))(images), images * 9)
    assert torch.equal(Chain()(images), images)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 30)])
def test_any_size_and_number_of_channels_is_augmented(height: int, width: int, channels: int) -> None:
    strong = Chain(crop_flip=PadCropFlip(), auto=AutoAugment(), cutout=Cutout(), rotate=Rotate())
    images = random_images(40, height, width, channels)
    before = images.clone()
    for augment in (strong, SimAugment()):
        out = augment(images)
        assert out.dtype == torch.uint8
        assert out.shape == images.shape
        assert torch.equal(images, before)
        assert augment(images[:0]).shape == (0, height, width, channels)


@pytest.mark.parametrize("wrong", [5, "PadCropFlip", {"pad": 4}])
def test_a_step_that_is_no_augmentation_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^step=.*: must be an augmentation with a _target_, or null"):
        Chain(step=wrong)
