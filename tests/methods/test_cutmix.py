"""CutMix against torchvision's box and against ordinary training."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from longtail.errors import text_of
from longtail.losses import Softmax
from longtail.methods import Criterion
from longtail.methods.cutmix import CutMix, box
from longtail.models import SmallCNN

COUNTS, TARGETS = torch.tensor([200, 60, 20, 5]), torch.arange(8) % 4
IMAGES = torch.arange(8, dtype=torch.uint8)[:, None, None, None].expand(8, 9, 12, 1)


def make(**settings: Any) -> CutMix:
    return CutMix(SmallCNN(1, 4, width=4), Criterion(Softmax(COUNTS), torch.ones(4)), COUNTS, **settings)


def augment(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).float()


def test_the_box_is_that_of_torchvision() -> None:
    theirs = v2.CutMix(num_classes=4)
    for seed in range(20):
        torch.manual_seed(seed)
        expected = theirs.make_params([torch.zeros(2, 3, 9, 12)])
        torch.manual_seed(seed)
        share = float(torch.distributions.Beta(1.0, 1.0).sample())
        top, bottom, left, right = box(9, 12, share)
        assert (left, top, right, bottom) == expected["box"]
        mixed, kept = make().mix(torch.zeros(2, 3, 9, 12), torch.ones(2, 3, 9, 12), 0.5)
        assert 1 - float(mixed.mean()) == pytest.approx(kept)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_whole_image_or_nothing(share: float) -> None:
    torch.manual_seed(0)
    mixed, kept = zip(
        *(make().mix(torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8), share) for _ in range(200)), strict=True
    )
    assert max(kept) <= 0.75 if share == 0 else set(kept) == {1.0}
    assert (min(kept) == 0) == (share == 0), "a box in the middle is not clipped"
    assert [1 - float(images.mean()) for images in mixed] == list(kept)


def test_images_and_targets_are_mixed_by_the_area() -> None:
    torch.manual_seed(1)
    mixed, [(first, share), (second, rest)] = make(probability=1).transform(IMAGES, TARGETS, augment)
    assert torch.equal(first, TARGETS)
    assert 0 < share < 1
    assert share + rest == 1
    own = mixed == torch.arange(8)[:, None, None, None]
    for image, label, is_own in zip(mixed, second, own, strict=True):
        pasted = image[~is_own].unique()
        assert (len(pasted) == 0) or (len(pasted) == 1 and int(pasted) % 4 == label and not bool(is_own.all()))
        assert len(pasted) == 0 or float(is_own.float().mean()) == pytest.approx(share)


def test_the_probability_is_that_of_a_batch() -> None:
    plain = []
    for probability in (0.0, 0.5, 1.0):
        torch.manual_seed(0)
        method = make(probability=probability)
        plain.append(sum(isinstance(method.transform(IMAGES, TARGETS, augment)[1], Tensor) for _ in range(40)))
    assert plain[0] == 40
    assert 8 < plain[1] < 32
    assert plain[2] == 0


def test_a_batch_that_is_not_mixed_has_the_draws_of_ordinary_training() -> None:
    def noisy(images: Tensor) -> Tensor:
        return augment(images) + torch.rand(8, 1, 9, 12)

    torch.manual_seed(0)
    found, _ = make(probability=0).transform(IMAGES, TARGETS, noisy)
    torch.manual_seed(0)
    make()
    assert torch.equal(found, noisy(IMAGES))


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan"), "half", True])
def test_a_bad_probability_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match=rf"^probability={text_of(probability)}: must be a number in \[0, 1\]"):
        make(probability=probability)
