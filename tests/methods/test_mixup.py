"""mixup against its formula."""

import pytest
import torch
from torch import Tensor

from longtail.losses import Softmax
from longtail.methods import Criterion
from longtail.methods.mixup import Mixup
from longtail.models import SmallCNN

COUNTS = torch.tensor([200, 60, 20, 5])
TARGETS = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3])


def make(alpha: float = 1.0) -> Mixup:
    return Mixup(SmallCNN(1, 4, width=4), Criterion(Softmax(COUNTS), torch.ones(4)), COUNTS, alpha)


def augment(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).float()


def test_images_and_targets_are_mixed_by_the_same_share() -> None:
    images = torch.arange(8, dtype=torch.uint8)[:, None, None, None].expand(8, 8, 8, 1)
    mixed, [(first, share), (second, rest)] = make().transform(images, TARGETS, augment)
    assert torch.equal(first, TARGETS)
    assert share + rest == pytest.approx(1)
    partner = (mixed[:, 0, 0, 0] - share * torch.arange(8)) / rest
    torch.testing.assert_close(partner, partner.round(), atol=1e-4, rtol=0)
    assert sorted(partner.round().int().tolist()) == list(range(8))
    assert torch.equal(second, TARGETS[partner.round().long()])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_shares_follow_the_beta_distribution(alpha: float) -> None:
    torch.manual_seed(0)
    images, method = torch.zeros(2, 8, 8, 1, dtype=torch.uint8), make(alpha)
    shares = torch.tensor([method.transform(images, TARGETS[:2], augment)[1][0][1] for _ in range(2000)])
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(shares.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_each_batch_has_a_share_of_its_own_drawn_from_the_seed() -> None:
    images, method = torch.zeros(4, 8, 8, 1, dtype=torch.uint8), make()
    draws = []
    for _ in range(2):
        torch.manual_seed(3)
        draws.append([method.transform(images, TARGETS[:4], augment)[1][0][1] for _ in range(3)])
    assert draws[0] == draws[1]
    assert len(set(draws[0])) == 3


@pytest.mark.parametrize("alpha", [0, -1, float("nan"), float("inf"), "one", True, 1e-300])
def test_a_bad_alpha_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match=rf"^alpha={alpha}: must be a finite number >= 0.001"):
        make(alpha)
