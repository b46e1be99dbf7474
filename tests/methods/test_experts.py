"""Experts against the losses that they are made of."""

import pytest
import torch
from torch import Tensor, nn

from longtail.errors import InputError
from longtail.losses import BalancedSoftmax, InfluenceBalanced, Sigmoid, Softmax
from longtail.methods import Criterion, Stage
from longtail.methods.experts import Experts
from longtail.models import ResNet, SmallCNN

COUNTS = torch.tensor([100, 10, 1])
Z = torch.tensor([[2, 1, -0.5], [0.2, 0.1, 0.4]])
TARGETS = torch.tensor([2, 0])


class Constant(nn.Module):
    """A model whose logits are the same whatever the images."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images)
        return logits


def make(tau: list[float], logits: bool = True) -> Experts:
    method = Experts(Constant(), Criterion(Softmax(COUNTS), torch.ones(3)), COUNTS, tau)
    if logits:
        method.model.forward = lambda images: torch.stack([Z] * len(tau))
    return method


def test_three_experts_have_the_mean_of_three_priors() -> None:
    # Cross entropy, balanced softmax and logit adjustment with tau = 2, computed independently in float64.
    expected = (2.871539 + 7.142089 + 11.714021 + 1.139831 + 0.097760 + 0.009129) / 6
    assert float(make([0, 1, 2]).loss((Z, TARGETS))) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("tau", [[1.0], [1.0, 1.0, 1.0]])
def test_experts_of_tau_one_are_balanced_softmax(tau: list[float]) -> None:
    expected = BalancedSoftmax(COUNTS)(Z, TARGETS).mean()
    torch.testing.assert_close(make(tau).loss((Z, TARGETS)), expected)


def test_the_mean_of_identical_experts_is_one_of_them() -> None:
    torch.testing.assert_close(make([0, 1, 2]).predict(Z), Z)


def test_heads_differ_and_all_are_trained() -> None:
    torch.manual_seed(0)
    method = make([0, 1, 2], logits=False)
    method.begin(Stage())
    method.loss((torch.rand(2, 1), TARGETS)).backward()
    assert len(method.heads) == 3
    weights = [next(head.parameters()) for head in method.heads]
    assert not torch.equal(weights[0], weights[1])
    assert all(weight.grad is not None and bool(weight.grad.abs().sum() > 0) for weight in weights)


def test_all_heads_start_at_the_prior_and_spare_their_bias() -> None:
    method = Experts(SmallCNN(1, 3, width=4), Criterion(Sigmoid(COUNTS), torch.ones(3)), COUNTS, [0, 2])
    for head in method.heads:
        torch.testing.assert_close(torch.sigmoid(head.bias), torch.full((3,), 1 / 3))  # type: ignore[arg-type]
    decayed, spared = method.parameter_groups()
    assert len(spared["params"]) == 2
    assert len(decayed["params"]) + 2 == len(list(method.parameters()))


@pytest.mark.parametrize("tau", [[], [float("nan")], ["a"], [True], [1e308], 1, True, None, "abc"])
def test_a_bad_tau_is_refused(tau: list[float]) -> None:
    with pytest.raises(ValueError, match=r"^tau=.*: must be a list of numbers"):
        make(tau)


def test_experts_with_late_parts_share_the_early_one_alone() -> None:
    torch.manual_seed(0)
    counts = torch.ones(100)
    method = Experts(ResNet(3, 100, head="cosine"), Criterion(Softmax(counts), counts), counts, late=True)
    assert sum(p.numel() for p in method.parameters()) == 1_362_064  # BalPoE's
    method.loss((torch.rand(4, 3, 8, 8), torch.arange(4))).backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in method.parameters())


def test_an_expert_with_a_late_part_is_the_model() -> None:
    torch.manual_seed(0)
    model, images = SmallCNN(1, 3, width=4).eval(), torch.rand(2, 1, 8, 8)
    expected = model(images)
    method = Experts(model, Criterion(Softmax(COUNTS), torch.ones(3)), COUNTS, [1.0], late=True).eval()
    torch.testing.assert_close(method.predict(images), expected)


def test_late_parts_start_differently_as_the_model_draws_them() -> None:
    torch.manual_seed(0)
    method = Experts(ResNet(3, 3, depth=8), Criterion(Softmax(COUNTS), torch.ones(3)), COUNTS, late=True)
    first, second, _ = (next(late.parameters()).detach() for late in method.model.late)  # type: ignore[union-attr]
    assert not torch.equal(first, second)
    assert float(second.std()) == pytest.approx(float(first.std()), rel=0.05)


def test_a_model_that_cannot_be_split_has_no_late_parts() -> None:
    with pytest.raises(ValueError, match=r"^late=true: must be false for Constant, which has no split"):
        Experts(Constant(), Criterion(Softmax(COUNTS), torch.ones(3)), COUNTS, late=True)


def test_a_loss_that_takes_the_features_is_refused() -> None:
    with pytest.raises(InputError, match=r"^method=Experts: must not be used with a loss that takes the features"):
        Experts(Constant(), Criterion(InfluenceBalanced(COUNTS), torch.ones(3)), COUNTS)
