"""Nearest class mean: the means of two passes against those of all features at once."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.methods.ncm import NearestClassMean

from .test_decoupled import make

PIXELS = torch.randint(0, 256, (40, 8, 8, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(40) % 5 % 4


def plain(pixels: Tensor) -> Tensor:
    return pixels.permute(0, 3, 1, 2) / 255


def augment(pixels: Tensor, other: nn.Module | None = None) -> Tensor:
    return plain(pixels) if other else torch.rand(len(pixels), 1, 8, 8)


def test_the_passes_find_the_means_and_train_nothing() -> None:
    method: NearestClassMean = make(NearestClassMean)
    _, *passes = method.stages()
    for stage in passes:
        method.begin(stage)
        before = method.model.state_dict()
        assert stage.optimizer is not None
        optimizer = stage.optimizer(method.parameter_groups())
        for batch in torch.randperm(40).split(16):
            method.loss(method.transform(PIXELS[batch], TARGETS[batch], augment)).backward()
            optimizer.step()
        assert all(torch.equal(value, before[name]) for name, value in method.model.state_dict().items())
    method.eval()
    features = method.model.features(plain(PIXELS)).detach().double()  # type: ignore[operator]
    unit = F.normalize(features - features.mean(0))
    means = torch.stack([unit[c == TARGETS].mean(0) for c in range(4)])
    distances = (unit[:, None] - means).square().sum(2).sqrt()
    torch.testing.assert_close(method.predict(plain(PIXELS)), -distances.float(), atol=1e-5, rtol=1e-4)


def test_the_model_predicts_until_there_are_means() -> None:
    method = make(NearestClassMean)
    for stage in method.stages()[:2]:
        method.begin(stage)
        method.eval()
        assert torch.equal(method.predict(plain(PIXELS)), method.model(plain(PIXELS)))


def test_the_two_passes_are_an_epoch_each() -> None:
    from longtail.training.fit import ends

    assert ends(make(NearestClassMean).stages(), 200) == [198, 199, 200]
    assert ends(make(NearestClassMean).stages(), 3) == [1, 2, 3]
