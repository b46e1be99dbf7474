"""CMO: when it pastes, what, and that it is ordinary training where it does not."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from longtail.losses import Softmax
from longtail.methods import Criterion
from longtail.methods.cmo import ContextRichOversampling
from longtail.models import SmallCNN
from longtail.samplers import ClassBalanced

COUNTS = torch.tensor([200, 60, 20, 5])
BACKGROUNDS, PASTED = torch.zeros(8, 8, 8, 1, dtype=torch.uint8), torch.full((8, 8, 8, 1), 255, dtype=torch.uint8)
IMAGES, TARGETS = torch.cat((BACKGROUNDS, PASTED)), torch.tensor([0] * 8 + [3] * 8)


def make(**settings: Any) -> ContextRichOversampling:
    criterion = Criterion(Softmax(COUNTS), torch.ones(4))
    sampler = partial(ClassBalanced, batch_size=8)
    return ContextRichOversampling(SmallCNN(1, 4, width=4), criterion, COUNTS, sampler, **settings)


def augment(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2) / 255 + 0.1 * torch.rand(len(images), 1, 1, 1)


def test_rare_images_are_pasted_on_ordinary_backgrounds() -> None:
    torch.manual_seed(0)
    method = make(probability=1)
    method.at(0.5)
    for _ in range(20):
        mixed, [(first, share), (second, rest)] = method.transform(IMAGES, TARGETS, augment)
        assert (first.tolist(), second.tolist()) == ([0] * 8, [3] * 8)
        assert share + rest == pytest.approx(1)
        torch.testing.assert_close((mixed > 0.5).float().mean((1, 2, 3)), torch.full((8,), rest))


@pytest.mark.parametrize(("probability", "progress"), [(0, 0.5), (1, 0.0), (1, 3 / 200), (1, 197 / 200)])
def test_a_batch_that_is_not_mixed_is_one_of_ordinary_training(probability: float, progress: float) -> None:
    method = make(probability=probability)
    method.at(progress)
    torch.manual_seed(0)
    found, targets = method.transform(IMAGES, TARGETS, augment)
    torch.manual_seed(0)
    assert torch.equal(found, augment(BACKGROUNDS))
    assert targets.tolist() == method.drawn(TARGETS).tolist() == [0] * 8


@pytest.mark.parametrize("progress", [4 / 200, 196 / 200])
def test_the_window_is_that_of_the_paper(progress: float) -> None:
    method = make(probability=1)
    method.at(progress)
    assert isinstance(method.transform(IMAGES, TARGETS, augment)[1], list)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": 1.0}, r"start=1.0: must be a fraction of the run in \[0, 1\)"),
        ({"start": 0.5, "end": 0.5}, r"end=0.5: must be a fraction of the run in \(start, 1\], start=0.5"),
        ({"end": 1.5}, r"end=1.5: must be a fraction"),
        ({"probability": 2}, r"probability=2: must be a number in"),
    ],
)
def test_a_bad_setting_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make(**settings)
