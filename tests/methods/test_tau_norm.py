"""tau-normalisation against numbers computed independently, and what it leaves as it is."""

from functools import partial

import pytest
import torch
from torch import nn

from longtail.methods.tau_norm import TauNormalized
from longtail.models import CosineHead

from .test_decoupled import IMAGES, make


@pytest.mark.parametrize(
    ("tau", "expected"),
    [(0, [7, 1, 0.5]), (0.5, [3.130495, 1, 0.707107]), (1, [1.4, 1, 1]), (2, [0.28, 1, 2])],
)
def test_the_weights_are_divided_by_a_power_of_their_length_and_the_bias_dropped(
    tau: float, expected: list[float]
) -> None:
    method = make(partial(TauNormalized, tau=tau))
    method.model.head = nn.Linear(2, 3)
    method.model.features = nn.Identity()
    method.model.head.weight.data = torch.tensor([[3, 4], [1, 0], [0, 0.5]])
    torch.testing.assert_close(method.predict(torch.ones(1, 2)), torch.tensor([expected]), atol=1e-6, rtol=1e-6)


def test_tau_zero_is_the_model_but_for_its_bias() -> None:
    method = make(partial(TauNormalized, tau=0)).eval()
    assert not torch.allclose(method.predict(IMAGES), method.model(IMAGES))
    nn.init.zeros_(method.model.head.bias)
    torch.testing.assert_close(method.predict(IMAGES), method.model(IMAGES))


def test_it_balances_the_classes_unless_tau_is_zero() -> None:
    assert make(TauNormalized).balances_classes
    assert not make(partial(TauNormalized, tau=0)).balances_classes


def test_a_cosine_head_has_nothing_to_normalise() -> None:
    with pytest.raises(ValueError, match=f"^must have a linear head to normalise, not {CosineHead.__name__}"):
        make(TauNormalized, head="cosine")
