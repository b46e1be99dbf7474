"""Ordinary training and its stages: what is frozen, what starts anew, which heads suit which loss."""

import pytest
import torch
from torch import nn

from longtail.errors import InputError
from longtail.losses import Focal, InfluenceBalanced, Softmax
from longtail.methods import Criterion, Method, Stage
from longtail.methods.experts import Experts
from longtail.models import ResNet, SmallCNN
from longtail.training.fit import ends

COUNTS = torch.tensor([200, 60, 20, 5])


def make(loss: type[nn.Module] = Softmax, head: str = "linear") -> Method:
    model = SmallCNN(1, 4, width=4, head=head)
    return Method(model, Criterion(loss(COUNTS), torch.ones(4)), COUNTS)


def test_a_frozen_part_keeps_parameters_and_statistics() -> None:
    method = make()
    head = method.model.head
    assert isinstance(head, nn.Module)
    method.begin(Stage(trained=head))
    before = {name: value.clone() for name, value in method.state_dict().items()}
    optimizer = torch.optim.SGD(method.parameter_groups(), lr=0.1)
    loss = method.loss((torch.rand(8, 1, 8, 8), torch.arange(8) % 4))
    loss.backward()
    optimizer.step()
    changed = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"model.head.weight", "model.head.bias"}
    method.begin(Stage())
    assert all(p.requires_grad for p in method.parameters())
    assert all(module.training for module in method.modules())


def test_a_frozen_part_may_go_on_with_its_statistics() -> None:
    method = make()
    method.begin(Stage(trained=method.model.head, update_statistics=True))  # type: ignore[arg-type]
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method.loss((torch.rand(8, 1, 8, 8), torch.arange(8) % 4))
    changed = {
        name.rpartition(".")[2] for name, value in method.state_dict().items() if (value != before[name]).any()
    }
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}


def test_what_a_model_froze_itself_stays_frozen() -> None:
    method = make()
    first = next(method.model.parameters()).requires_grad_(False)
    head = method.model.head
    assert isinstance(head, nn.Module)
    for stage in (Stage(), Stage(trained=head), Stage()):
        method.begin(stage)
    assert not first.requires_grad


def test_a_fresh_head_starts_anew_at_the_prior_if_the_loss_does() -> None:
    method = make(Focal)
    head = method.model.head
    assert isinstance(head, nn.Linear)
    before = head.weight.clone()
    nn.init.zeros_(head.bias)
    method.begin(Stage(fresh=head))
    assert not torch.equal(head.weight, before)
    torch.testing.assert_close(torch.sigmoid(head.bias), torch.full((4,), 0.25))


def test_a_loss_that_starts_at_the_prior_takes_a_bias() -> None:
    with pytest.raises(InputError, match=r"^model.head: must be linear, not CosineHead, for Focal"):
        make(Focal, head="cosine")


def test_a_loss_is_given_the_features_that_it_takes() -> None:
    method, images, targets = make(InfluenceBalanced), torch.rand(8, 1, 8, 8), torch.arange(8) % 4
    logits, features = method.outputs(images)
    assert features is not None
    torch.testing.assert_close(method.model(images), logits)
    expected = InfluenceBalanced(COUNTS)(logits, targets, features).mean()
    torch.testing.assert_close(method.loss((images, targets)), expected)
    assert make(Softmax).outputs(images)[1] is None


def test_the_loss_of_a_stage_that_trains_a_part_is_that_of_training() -> None:
    method = make()
    method.begin(Stage(trained=method.model.head))  # type: ignore[arg-type]
    assert method.criterion.loss.training
    assert not method.model.training


def test_stages_share_the_epochs() -> None:
    assert ends([Stage()], 7) == [7]
    assert ends([Stage(0.8), Stage(0.2)], 30) == [24, 30]
    assert ends([Stage(1 / 3)] * 3, 10) == [3, 7, 10]


def test_a_stage_has_an_epoch_at_least() -> None:
    assert ends([Stage(0.99), Stage(0.01)], 2) == [1, 2]
    assert ends([Stage(0.01), Stage(0.98), Stage(0.01)], 5) == [1, 4, 5]
    with pytest.raises(ValueError, match=r"^epochs=1: must be at least 2, one for each stage"):
        ends([Stage(0.5), Stage(0.5)], 1)
    with pytest.raises(ValueError, match="sum to 1"):
        ends([Stage(0.5), Stage(0.4)], 10)


def test_new_heads_are_drawn_as_the_model_draws_its_own() -> None:
    torch.manual_seed(0)
    counts = torch.ones(1000)
    method = Experts(ResNet(3, 1000, depth=8), Criterion(Softmax(counts), counts), counts)
    first, second, _ = (next(head.parameters()).detach() for head in method.heads)
    assert float(second.std()) == pytest.approx(float(first.std()), rel=0.05)
    before = first.clone()
    method.begin(Stage(fresh=method.heads[0]))
    assert not torch.equal(first, before)
    assert float(first.std()) == pytest.approx(float(before.std()), rel=0.05)
