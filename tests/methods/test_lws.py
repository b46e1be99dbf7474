"""LWS: a scale of 1 changes nothing, and what is trained beside it."""

from functools import partial

import pytest
import torch
from torch import nn

from longtail.losses import Focal, Softmax
from longtail.methods.lws import LearnableWeightScaling

from .test_decoupled import COUNTS, IMAGES, make, step


def begun(lr_factor: float = 0.0, loss: type[nn.Module] = Softmax) -> LearnableWeightScaling:
    method: LearnableWeightScaling = make(partial(LearnableWeightScaling, lr_factor=lr_factor), loss=loss)
    nn.init.normal_(method.model.head.bias)  # type: ignore[union-attr, arg-type]
    before = method.eval().predict(IMAGES)
    method.begin(method.stages()[-1])
    assert torch.equal(method.eval().predict(IMAGES), before)
    return method


@pytest.mark.parametrize("loss", [Softmax, Focal])
@pytest.mark.parametrize(
    ("lr_factor", "trained"), [(0, {"scale.weight"}), (0.5, {"scale.weight", "head.weight", "head.bias"})]
)
def test_a_scale_of_one_is_the_model_and_the_rest_is_frozen(
    lr_factor: float, trained: set[str], loss: type[nn.Module]
) -> None:
    method = begun(lr_factor, loss)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    step(method)
    changed = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"model.head.{name}" for name in trained}


def test_the_bias_is_scaled_too() -> None:
    method = begun()
    logits = method.predict(IMAGES)
    scale = torch.tensor([0.5, 1, 2, 3])
    method.model.head.scale.weight.data = scale  # type: ignore[union-attr]
    torch.testing.assert_close(method.predict(IMAGES), logits * scale)


def test_the_head_has_a_learning_rate_of_its_own() -> None:
    scale, head = begun(0.25).parameter_groups()
    assert [tuple(p.shape) for p in scale["params"]] == [(len(COUNTS),)]
    assert (scale.get("lr_factor"), head["lr_factor"], len(head["params"])) == (None, 0.25, 2)
    [spared] = [group for group in begun(0.25, Focal).parameter_groups() if group.get("weight_decay") == 0]
    assert spared["lr_factor"] == 0.25
