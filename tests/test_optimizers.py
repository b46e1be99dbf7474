"""SAM against its formula and against SGD."""

from typing import Any

import pytest
import torch
from torch import nn

from longtail.errors import text_of
from longtail.optimizers import SAM

IMAGES, TARGETS = torch.randn(12, 6, generator=torch.Generator().manual_seed(1)), torch.arange(12) % 3
SETTINGS: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}


def network(dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(dropout), nn.Linear(5, 3))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 4) -> list[float]:
    def closure() -> float:
        loss = nn.functional.cross_entropy(model(IMAGES), TARGETS)
        optimizer.zero_grad()
        loss.backward()
        return loss.item()

    return [optimizer.step(closure) for _ in range(steps)]


def test_the_gradient_is_that_of_the_point_uphill() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer, found = SAM([weight], rho=0.05, lr=1.0), []

    def closure() -> float:
        loss = (torch.tensor([1.0, 10.0]) * weight**2).sum() / 2
        found.append((weight.detach().clone(), loss.item()))
        (weight.grad,) = torch.autograd.grad(loss, weight)
        return loss.item()

    loss = optimizer.step(closure)
    assert loss == found[0][1] == 5.5
    (first, _), (second, _) = found
    assert float((second - first).norm()) == pytest.approx(0.05)
    assert weight.grad is not None
    assert weight.grad.tolist() == pytest.approx([1.004975, 10.497519], abs=1e-6)
    torch.testing.assert_close(weight.detach(), first - weight.grad)


def test_the_way_uphill_has_one_length_over_all_groups() -> None:
    model = network()
    groups = [{"params": model[0].parameters()}, {"params": model[3].parameters(), "weight_decay": 0.0}]
    optimizer, seen = SAM(groups, rho=0.3, **SETTINGS), []
    model.register_forward_pre_hook(
        lambda *_: seen.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    )
    train(model, optimizer, 1)
    assert float((seen[1] - seen[0]).norm()) == pytest.approx(0.3, rel=1e-5)


@pytest.mark.parametrize("fused", [False, True])
def test_without_a_way_uphill_it_is_sgd(fused: bool) -> None:
    ours, theirs = network(), network()
    losses = train(ours, SAM(ours.parameters(), rho=0, fused=fused, **SETTINGS))
    expected = train(theirs, torch.optim.SGD(theirs.parameters(), fused=fused, **SETTINGS))
    assert losses == expected
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())


def test_a_step_is_sgds_from_the_first_point_with_the_second_gradient() -> None:
    ours, theirs = network(), network()
    optimizer, plain = (make(SETTINGS) for make in (
        lambda s: SAM(ours.parameters(), rho=0.2, **s), lambda s: torch.optim.SGD(theirs.parameters(), **s)
    ))  # fmt: skip
    for _ in range(3):
        train(ours, optimizer, 1)
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.grad = mine.grad
        plain.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert ours.state_dict()["1.num_batches_tracked"] == 6


def test_both_passes_draw_the_same() -> None:
    model, masks = network(dropout=0.5), []
    model[2].register_forward_hook(lambda module, given, made: masks.append(made != 0))
    train(model, SAM(model.parameters(), rho=0.1, **SETTINGS), 2)
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[2], masks[3])
    assert not torch.equal(masks[0], masks[2])
    drawn = torch.rand(())
    train(other := network(dropout=0.5), torch.optim.SGD(other.parameters(), **SETTINGS), 2)
    assert torch.equal(drawn, torch.rand(()))


def test_a_flat_point_and_frozen_parameters_stay() -> None:
    still, frozen = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    still.grad = torch.zeros(3)
    SAM([still, frozen], rho=0.5, lr=0.1).step(lambda: 0.0)
    assert still.tolist() == frozen.tolist() == [1.0] * 3


@pytest.mark.parametrize("rho", [-1, float("nan"), float("inf"), "far", True])
def test_a_bad_rho_is_refused(rho: float) -> None:
    with pytest.raises(ValueError, match=rf"^rho={text_of(rho)}: must be a finite number >= 0"):
        SAM([nn.Parameter(torch.ones(1))], rho=rho)


def test_it_asks_for_the_gradients_twice() -> None:
    with pytest.raises(ValueError, match=r"^optimizer.rho: must be 0"):
        SAM([nn.Parameter(torch.ones(1))], lr=0.1).step()
