"""Digits scattered over canvases: where they lie, how many, and from which originals."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_area

from longtail.detection.scattered import scattered_digits
from longtail.detection.scenes import Scenes
from longtail.imbalance import exponential, none

SMALL: dict[str, Any] = {"objects_per_class": 40, "validation_images": 6, "test_images": 12}


@pytest.fixture(scope="module")
def data() -> Scenes:
    return scattered_digits(partial(exponential, ratio=20), **SMALL)


def test_training_objects_follow_the_profile_and_the_rest_is_balanced(data: Scenes) -> None:
    assert data.train.targets.class_counts(10).tolist() == exponential([40] * 10, ratio=20).tolist()
    assert data.validation is not None
    for images, number in ((data.test, 12), (data.validation, 6)):
        counts = images.targets.class_counts(10)
        assert len(images) == number
        assert counts.max() - counts.min() <= 1


def test_canvases_are_of_the_shape_that_is_told(data: Scenes) -> None:
    assert data.image_shape == (1, 128, 128)
    assert data.train.batch([0, len(data.train) - 1]).shape == (2, 128, 128, 1)
    assert scattered_digits(none, **SMALL, image_size=[96, 160]).test.batch([3]).shape == (1, 96, 160, 1)
    assert not data.flip


def test_boxes_are_tight_inside_and_share_little(data: Scenes) -> None:
    still = scattered_digits(partial(exponential, ratio=20), **SMALL, noise=0)
    assert torch.equal(still.train.targets.labels, data.train.targets.labels)
    boxes, present = data.train.targets.boxes, data.train.targets.present
    assert (boxes >= 0).all()
    assert (boxes <= 128).all()
    for where in (boxes[i][present[i]] for i in range(len(boxes))):
        corners = torch.cat(
            (
                torch.maximum(where[:, None, :2], where[None, :, :2]),
                torch.minimum(where[:, None, 2:], where[None, :, 2:]),
            ),
            2,
        )
        shared = (corners[..., 2:] - corners[..., :2]).clamp(min=0).prod(2).fill_diagonal_(0)
        smaller = torch.minimum(box_area(where)[:, None], box_area(where)[None])
        assert (shared <= 0.1 * smaller).all()


def test_the_box_holds_the_digit_and_nothing_else() -> None:
    data = scattered_digits(none, **SMALL, digits_per_image=[1, 1], noise=0)
    for image, box in zip(
        data.test.batch(range(12))[..., 0].float(), data.test.targets.boxes[:, 0].int().tolist(), strict=True
    ):
        # The ground is smooth, so steep steps are at the digit's edge; a pixel beyond it belongs to such a step.
        steep = ((image[1:, :] - image[:-1, :]).abs() > 12).nonzero()
        assert len(steep) > 0
        assert (steep[:, 0] >= box[1] - 1).all()
        assert (steep[:, 0] < box[3]).all()
        assert (steep[:, 1] >= box[0]).all()
        assert (steep[:, 1] < box[2]).all()


def test_a_rare_class_is_drawn_from_few_originals(monkeypatch: pytest.MonkeyPatch) -> None:
    from longtail.detection import scattered

    seen: list[list[Tensor]] = []
    draw = scattered._scenes

    def watch(labels: Any, sources: Any, *rest: Any) -> Any:
        seen.append([torch.from_numpy(digits).flatten(1) for digits in sources])
        return draw(labels, sources, *rest)

    monkeypatch.setattr(scattered, "_scenes", watch)
    scattered_digits(partial(exponential, ratio=20), **SMALL)
    train, test, validation = seen
    assert len(train[0]) > 100
    assert len(train[9]) == 6
    every = [tuple(row.tolist()) for part in (train, test, validation) for digits in part for row in digits]
    assert len(set(every)) == len(every)


def test_the_seed_of_the_data_decides_and_nothing_else(data: Scenes) -> None:
    make: Callable[..., Scenes] = partial(scattered_digits, partial(exponential, ratio=20))
    torch.manual_seed(5)
    again = make(**SMALL | {"test_images": 5})
    assert torch.equal(again.train.batch(range(9)), data.train.batch(range(9)))
    assert not torch.equal(make(**SMALL, seed=1).train.batch([0]), data.train.batch([0]))


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("objects_per_class", 0, r"must be a whole number in \[1, 10,000,000\]"),
        ("validation_images", -1, "must be a whole number >= 0"),
        ("test_images", 1.5, "must be a whole number >= 1"),
        ("image_size", 39, "must be a number of pixels >= 40"),
        ("image_size", [128], r"must be .* or \[height, width\]"),
        ("image_size", None, "must be a number of pixels >= 40"),
        ("digits_per_image", [3, 2], "must be .*fewest <= most"),
        ("digits_per_image", 3, "must be .*fewest <= most"),
        ("digits_per_image", ["a", "b"], "must be .*whole numbers"),
        ("digits_per_image", [1.5, 2.5], "must be .*whole numbers"),
        ("digits_per_image", [30, 30], r"\[30, 30\]: must be fewer"),
        ("digits_per_image", [1, 10**9], "must be fewer"),
        ("objects_per_class", 4_000_000, r"must give canvases of 8 GB or less, not 187\.2 GB"),
        ("objects_per_class", 10**30, "must be a whole number in"),
        ("test_images", 10**9, "must give canvases of 8 GB or less"),
        ("noise", -0.1, r"must be in \[0, 1\)"),
        ("noise", None, r"must be in \[0, 1\)"),
        ("seed", -1, "must be a whole number >= 0"),
    ],
)
def test_a_setting_outside_its_range_is_refused(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}=.*{allowed}"):
        scattered_digits(none, **SMALL | {name: value})


def test_no_validation_images_is_no_validation() -> None:
    assert scattered_digits(none, **SMALL | {"validation_images": 0}).validation is None
