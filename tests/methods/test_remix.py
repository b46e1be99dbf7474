"""Remix against its definition, worked out by hand, and against mixup."""

from typing import Any

import pytest
import torch

from longtail.errors import text_of
from longtail.losses import Softmax
from longtail.methods import Criterion
from longtail.methods.mixup import Mixup
from longtail.methods.remix import Remix
from longtail.models import SmallCNN

COUNTS = torch.tensor([100, 10, 10, 30])


def make(kind: type[Mixup] = Remix, counts: torch.Tensor = COUNTS, **settings: Any) -> Any:
    return kind(SmallCNN(1, 4, width=4), Criterion(Softmax(counts), torch.ones(4)), counts, **settings)


@pytest.mark.parametrize(
    ("share", "first", "second", "expected"),
    [(0.4, 0, 1, 0.0), (0.6, 0, 1, 0.6), (0.6, 1, 0, 1.0), (0.4, 1, 0, 0.4), (0.4, 1, 2, 0.4), (0.4, 3, 1, 0.0)],
)
def test_the_label_leans_to_the_rarer_class(share: float, first: int, second: int, expected: float) -> None:
    found = make().label_share(torch.tensor([first]), torch.tensor([second]), share)
    assert found.tolist() == pytest.approx([expected])


@pytest.mark.parametrize("settings", [{"counts": torch.full((4,), 20)}, {"tau": 0.0}])
def test_equal_counts_or_a_tau_of_zero_are_mixup(settings: dict[str, Any]) -> None:
    images = torch.randint(0, 256, (8, 8, 8, 1), dtype=torch.uint8)
    found = []
    for kind, given in ((Remix, settings), (Mixup, {})):
        method = make(kind, **given)
        torch.manual_seed(3)
        mixed, targets = method.transform(
            images, torch.arange(8) % 4, lambda pixels: pixels.permute(0, 3, 1, 2) / 255
        )
        found.append((mixed, method.criterion(torch.linspace(-1, 1, 32).view(8, 4), targets)))
    (ours, loss), (theirs, expected) = found
    assert torch.equal(ours, theirs)
    torch.testing.assert_close(loss, expected)


def test_the_shares_of_each_image_sum_to_one() -> None:
    torch.manual_seed(0)
    images, leaning = torch.zeros(16, 8, 8, 1, dtype=torch.uint8), 0
    for _ in range(10):
        _, [(_, first), (_, second)] = make().transform(
            images, torch.arange(16) % 4, lambda pixels: pixels.permute(0, 3, 1, 2).float()
        )
        torch.testing.assert_close(first + second, torch.ones(16))
        leaning += int(((first == 0) | (first == 1)).sum())
    assert leaning > 20


@pytest.mark.parametrize(
    ("name", "value"), [("kappa", 1), ("kappa", "big"), ("tau", -0.1), ("tau", 1.1), ("tau", True)]
)
def test_a_bad_setting_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name}={text_of(value)}: must be a number"):
        make(**{name: value})
