"""Backbones: `(in_channels=, levels=, norm=)` -> nn.Module that maps images to the features of each level.

Level n has stride 2 ** n. A backbone gives those of the levels that it reaches, and says their `channels`; the
pyramid adds the others.
"""

from collections.abc import Callable, Sequence
from itertools import takewhile

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from longtail.errors import text_of
from longtail.models import TorchvisionModel
from longtail.ranges import check_numbers


def group_norm(channels: int) -> nn.Module:
    """Make a group norm of 16 channels a group, which a CPU computes faster than 8; 8 or all where 16 do not fit."""
    size = next(size for size in (16, 8, channels) if channels % size == 0)
    return nn.GroupNorm(channels // size, channels)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "group": group_norm,
    "batch": nn.BatchNorm2d,
    "none": lambda channels: nn.Identity(),
}


def make_norm(norm: str) -> Callable[[int], nn.Module]:
    """Return the norm of this name as a function of the channels.

    Raises:
        ValueError: there is none.
    """
    if norm not in [*NORMS]:
        raise ValueError(f"norm={text_of(norm)}: must be one of {', '.join(NORMS)}")
    return NORMS[norm]


def conv_norm_relu(in_channels: int, channels: int, norm: str, stride: int = 1) -> list[nn.Module]:
    """Make a 3 x 3 convolution with its norm; without a norm it has a bias."""
    conv = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=norm == "none")
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return [conv, make_norm(norm)(channels), nn.ReLU(inplace=True)]


class Small(nn.Module):
    """A convolution of stride 2, then for each further level one of stride 2 and one of stride 1; for a CPU.

    Args:
        in_channels: channels of the images.
        levels: whose features are given.
        norm: "group" (16 channels a group), "batch" or "none".
        widths: channels of levels 1, 2, ...

    Raises:
        ValueError: a width is below 1, or no level is reached.
    """

    def __init__(self, in_channels: int, levels: Sequence[int], norm: str, widths: Sequence[int]) -> None:
        super().__init__()
        check_numbers("backbone.widths", widths, whole=True)
        if len(widths) < levels[0]:
            raise ValueError(f"backbone.widths={text_of(widths)}: must be for {levels[0]} levels or more")
        self.reached = [level for level in levels if level <= len(widths)]
        self.channels = [widths[level - 1] for level in self.reached]
        self.stages = nn.ModuleList()
        for before, width in zip([in_channels, *widths], widths[: self.reached[-1]], strict=False):
            again = conv_norm_relu(width, width, norm) if len(self.stages) else []
            self.stages.append(nn.Sequential(*conv_norm_relu(before, width, norm, stride=2), *again))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, in_channels, H, W) -> features (B, channels[i], H / stride, W / stride) of each level."""
        features = []
        for level, stage in enumerate(self.stages, start=1):
            images = stage(images)
            if level in self.reached:
                features.append(images)
        return features


class Torchvision(nn.Module):
    """The convolutions of a classification model of torchvision: ResNet, MobileNet, EfficientNet and their like.

    Pretrained, its batch norms are frozen; from scratch they become the norm of the detector.

    Args:
        in_channels: channels of the images; grey ones are repeated to three.
        levels: whose features are given.
        norm: "group" (16 channels a group), "batch" or "none"; of no effect with weights.
        name: a model of torchvision that is a sequence of layers.
        weights: None, "DEFAULT", the name of a weight set of that model, or a file.

    Raises:
        ValueError: the name, the weight set or the norm is unknown, or no level is reached.
        OSError: the weights cannot be downloaded.
    """

    def __init__(
        self, in_channels: int, levels: Sequence[int], norm: str, name: str, weights: str | None = None
    ) -> None:
        super().__init__()
        try:
            model = TorchvisionModel(in_channels, 1, name, weights)
        except (ValueError, OSError) as error:
            raise type(error)(f"backbone.{error}") from error
        self.repeat_grey = model.repeat_grey
        self.layers = nn.ModuleList(_convolutions(model.body))
        _replace_norms(self.layers, _freeze if weights is not None else lambda old: make_norm(norm)(old.num_features))
        try:
            self.last, self.channels = self._find_levels(3 if self.repeat_grey else in_channels, levels)
        except Exception as error:  # whatever layers raise that are not made to follow one another
            raise ValueError(f"backbone.name={name}: must be a sequence of layers, such as resnet50") from error
        if not self.last:
            raise ValueError(f"backbone.name={name}: must reach level {levels[0]}")
        del self.layers[self.last[-1] + 1 :]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (B, in_channels, H, W) -> features (B, channels[i], H / stride, W / stride) of each level."""
        features = []
        images = images.expand(-1, 3, -1, -1) if self.repeat_grey else images
        for index, layer in enumerate(self.layers):
            images = layer(images)
            if index in self.last:
                features.append(images)
        return features

    @torch.no_grad()
    def _find_levels(self, in_channels: int, levels: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return the last layer of each level, and its channels."""
        side, found = 128, {}
        images = torch.zeros(2, in_channels, side, side)
        for index, layer in enumerate(self.layers):
            images = layer.eval()(images)
            found[side / images.shape[-1]] = index, images.shape[1]
        self.layers.train()
        reached = [found[2**level] for level in takewhile(lambda level: 2**level in found, levels)]
        return [index for index, _ in reached], [channels for _, channels in reached]


def _convolutions(body: nn.Module) -> list[nn.Module]:
    """Return the layers of a body in order, without those that pool, flatten and classify."""
    features = getattr(body, "features", body)
    names = [name for name, _ in features.named_children()]
    end = next((i for i, name in enumerate(names) if name in ("avgpool", "fc", "classifier")), len(names))
    return list(features.children())[:end]


def _replace_norms(module: nn.Module, make: Callable[[nn.BatchNorm2d], nn.Module]) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, make(child))
        else:
            _replace_norms(child, make)


def _freeze(norm: nn.BatchNorm2d) -> nn.Module:
    frozen: nn.Module = FrozenBatchNorm2d(norm.num_features, norm.eps)
    frozen.load_state_dict(norm.state_dict())
    return frozen
