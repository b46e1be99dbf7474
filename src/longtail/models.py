"""Models: `(in_channels=, num_classes=)` -> nn.Module that maps images (B, in_channels, H, W) to logits (B, C).

Each has `features(images)`, (B, F), and `head`, its last layer, which maps those to the logits. A model that experts
may share in part also has `split()`: its features as two modules, images -> maps and maps -> (B, F).

`weights`, of all of them, is a local file to start from: a checkpoint of a run, or the state dict of a model.
"""

import copy
import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from longtail.ranges import check_finite, check_whole
from longtail.weights import are_left_out, start

DEEPEST = 1202  # of He et al. 2016


class ImageClassifier(nn.Module):
    """A backbone, `features`, and a last layer, `head`; a subclass defines both."""

    features: Callable[[Tensor], Tensor]
    head: nn.Module

    def initialise(self, module: nn.Module) -> None:
        """Change how PyTorch has drawn the parameters of a part; this model leaves them."""

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, in_channels, H, W) -> logits (B, C)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def initialise(model: nn.Module, module: nn.Module) -> None:
    """Draw the parameters of a module anew, as the model does: by its own `initialise` if it has one."""
    for part in module.modules():
        if callable(reset := getattr(part, "reset_parameters", None)):
            reset()
    if isinstance(model, ImageClassifier):
        model.initialise(module)


class CosineHead(nn.Module):
    """Cosine classifier: z_j = scale * cos(w_j, h), with a weight row w_j per class and no bias.

    At scale 1 the logits are cosines in [-1, 1], on which cross entropy hardly learns: something has to multiply them
    by about 30, either the loss, as `losses.LDAM` does by its s, or this scale, but not both. The rows are
    initialised uniformly in [-1, 1] and normalised, as in LDAM's code (Cao et al. 2019).

    Args:
        in_features: F.
        num_classes: C.
        scale: factor on the cosines, finite and > 0.

    Raises:
        ValueError: the scale is outside its range.
    """

    def __init__(self, in_features: int, num_classes: int, scale: float = 1.0) -> None:
        super().__init__()
        check_finite("scale", scale, above=True)
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(num_classes, in_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise the weight rows."""
        with torch.no_grad():
            self.weight.copy_(F.normalize(self.weight.uniform_(-1, 1)))

    @property
    def gives_cosines(self) -> bool:
        """Whether the logits are plain cosines."""
        return self.scale == 1

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, F) -> logits (B, C), without autocast: a loss may multiply them by 30."""
        with torch.autocast(features.device.type, enabled=False):
            return self.scale * F.linear(F.normalize(features.to(self.weight.dtype)), F.normalize(self.weight))


Head = str | Callable[[int, int], nn.Module]
HEADS: dict[str, Callable[[int, int], nn.Module]] = {"linear": nn.Linear, "cosine": CosineHead}


def make_head(head: Head, in_features: int, num_classes: int) -> nn.Module:
    """Build the last layer: "linear", "cosine", or a function `(in_features, num_classes) -> nn.Module`.

    Raises:
        ValueError: there is no head of this name.
    """
    make = HEADS.get(head) if isinstance(head, str) else head
    if not callable(make):
        raise ValueError(f"head={head}: must be {' or '.join(HEADS)}")
    try:
        return make(in_features, num_classes)
    except ValueError as error:
        raise ValueError(f"head.{error}") from error


class ResNet(ImageClassifier):
    """The CIFAR ResNet of He et al. 2016, section 4.2: depth 6n + 2, three stages of n basic blocks, 16/32/64 wide.

    Shortcuts are the parameter-free option A (every second pixel, zeros for the new channels), so that ResNet-32
    has 464,154 parameters for 10 classes and 3 channels. Images must be at least 8 x 8.

    Args:
        in_channels: channels of the images.
        num_classes: C.
        depth: 6n + 2: 20, 32, 44, 56, ...
        head: the last layer, as in `make_head`.
        weights: a file to start from, as in `weights.start`; None for none.

    Raises:
        ValueError: depth is not 6n + 2, the head is unknown, or the weights do not fit.
    """

    def __init__(
        self, in_channels: int, num_classes: int, depth: int = 32, head: Head = "linear", weights: str | None = None
    ) -> None:
        super().__init__()
        if not isinstance(depth, int) or not 8 <= depth <= DEEPEST or (depth - 2) % 6:
            raise ValueError(f"depth={depth}: must be 6n + 2, such as 20, 32, 44, 56, and at most {DEEPEST}")
        blocks = (depth - 2) // 6
        self.stem = nn.Sequential(_conv3x3(in_channels, 16), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.stages = nn.Sequential(
            *(BasicBlock(16, 16) for _ in range(blocks)),
            *(BasicBlock(16 if i == 0 else 32, 32, stride=2 if i == 0 else 1) for i in range(blocks)),
            *(BasicBlock(32 if i == 0 else 64, 64, stride=2 if i == 0 else 1) for i in range(blocks)),
        )
        self.head = make_head(head, 64, num_classes)
        self.initialise(self)
        start(self, weights)

    def initialise(self, module: nn.Module) -> None:
        """Draw the weights of convolutions and linear layers as He et al. 2015 do."""
        for part in module.modules():
            if isinstance(part, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(part.weight)

    def features(self, images: Tensor) -> Tensor:
        """Images (B, in_channels, H, W) -> features (B, 64)."""
        pixels: Tensor = self.stages(self.stem(images))
        return pixels.mean((2, 3))

    def split(self) -> tuple[nn.Module, nn.Module]:
        """Return `features` in two modules that share its parameters: up to the first stage, and the other two."""
        first = len(self.stages) // 3
        early = nn.Sequential(self.stem, *self.stages[:first])
        return early, nn.Sequential(*self.stages[first:], MeanOverPixels())


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm, and an option-A shortcut around them."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv3x3(in_channels, channels, stride), nn.BatchNorm2d(channels)
        self.conv2, self.norm2 = _conv3x3(channels, channels), nn.BatchNorm2d(channels)
        self.stride, self.new_channels = stride, channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm1(self.conv1(x)), inplace=True)
        out = self.norm2(self.conv2(out))
        if self.stride > 1:
            half = self.new_channels // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.new_channels - half))
        return F.relu(out.add_(x), inplace=True)


class SmallCNN(ImageClassifier):
    """Four 3 x 3 convolutions with batch norm: for tests, digits and a first look.

    Args:
        in_channels: channels of the images.
        num_classes: C.
        width: channels of the first two convolutions, >= 1; the last two have twice as many.
        head: the last layer, as in `make_head`.
        weights: a file to start from, as in `weights.start`; None for none.

    Raises:
        ValueError: width is below 1, the head is unknown, or the weights do not fit.
    """

    def __init__(
        self, in_channels: int, num_classes: int, width: int = 32, head: Head = "linear", weights: str | None = None
    ) -> None:
        super().__init__()
        _check_width(width)
        self.features = nn.Sequential(
            *_conv_norm_relu(in_channels, width),
            *_conv_norm_relu(width, width),
            nn.MaxPool2d(2),
            *_conv_norm_relu(width, 2 * width),
            *_conv_norm_relu(2 * width, 2 * width),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = make_head(head, 2 * width, num_classes)
        start(self, weights)

    def split(self) -> tuple[nn.Module, nn.Module]:
        """Return `features` in two modules that share its parameters: two convolutions, and the other two."""
        return self.features[:6], self.features[6:]  # type: ignore[index]


class FastCNN(ImageClassifier):
    """A small network for ranking methods on a CPU: a 4 x 4 stem of stride 2, then three 3 x 3 convolutions.

    No layer works at the full size of the image. Each 3 x 3 convolution is max-pooled before its batch norm and ReLU,
    which then handle a quarter of the pixels, as in the networks of Page 2018 ("How to train your ResNet") and Jordan
    2024 (arXiv 2404.00498). All three cost the same, and their channels are multiples of 32, for bfloat16 in
    channels-last memory. Images must be at least 8 x 8.

    Args:
        in_channels: channels of the images.
        num_classes: C.
        width: channels of the stem, >= 1; they double with each of the three convolutions.
        head: the last layer, as in `make_head`.
        weights: a file to start from, as in `weights.start`; None for none.

    Raises:
        ValueError: width is below 1, the head is unknown, or the weights do not fit; in `forward`, the images are
            smaller than 8 x 8.
    """

    def __init__(
        self, in_channels: int, num_classes: int, width: int = 32, head: Head = "linear", weights: str | None = None
    ) -> None:
        super().__init__()
        _check_width(width)
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            *_conv_pool_norm_relu(width, 2 * width),
            *_conv_pool_norm_relu(2 * width, 4 * width),
            *_conv_pool_norm_relu(4 * width, 8 * width),
            MeanOverPixels(),
        )
        self.head = make_head(head, 8 * width, num_classes)
        start(self, weights)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, in_channels, H, W) -> logits (B, C)."""
        height, width = images.shape[-2:]
        if min(height, width) < 8:
            raise ValueError(f"images of {height} x {width}: must be at least 8 x 8")
        return super().forward(images)

    def split(self) -> tuple[nn.Module, nn.Module]:
        """Return `features` in two modules that share its parameters: two convolutions, and the other two."""
        return self.features[:7], self.features[7:]  # type: ignore[index]


class MeanOverPixels(nn.Module):
    """Global average pooling, (B, F, H, W) -> (B, F)."""

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.mean((2, 3))


class TorchvisionModel(ImageClassifier):
    """Any classification model of torchvision, by name, with its last layer replaced by a head of C outputs.

    Grey images are repeated to three channels, so that pretrained filters can be kept; for any other number of
    channels than 3 the first convolution is replaced.

    Args:
        in_channels: channels of the images.
        num_classes: C.
        name: one of `torchvision.models.list_models()`.
        weights: None, "DEFAULT", the name of a weight set of that model, or a file, as in `weights.start`: a state
            dict of torchvision's, or one of this class.
        head: the last layer, as in `make_head`.
        **options: arguments of the model's builder, such as image_size=32 for the vision transformers.

    Raises:
        ValueError: the name, the weight set or the head is unknown, or pretrained filters do not fit the channels.
        OSError: the weights cannot be downloaded.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        name: str,
        weights: str | None = None,
        head: Head = "linear",
        **options: object,
    ) -> None:
        super().__init__()
        known = torchvision.models.list_models(module=torchvision.models)
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=3, cutoff=0)
            raise ValueError(f"name={name}: must be a classification model of torchvision, such as {', '.join(near)}")
        sets = [w.name for w in torchvision.models.get_model_weights(name)] + ["DEFAULT"]
        file = None if weights in sets else weights
        if file is not None and not Path(str(file)).is_file():
            raise ValueError(f"weights={file}: must be null, a file, or one of {', '.join(sets)}")
        self.body = self._make_body(name, weights if file is None else None, options)
        if name == "inception_v3":
            # Pretrained, it always has its auxiliary output, which would be a second loss.
            self.body.aux_logits, self.body.AuxLogits = False, None
        last, in_features = self._take_off_head()
        self.head = make_head(head, in_features, num_classes)
        self.repeat_grey = in_channels == 1
        if in_channels not in (1, 3):
            if weights is not None and file is None:
                raise ValueError(f"weights={weights}: must be null for images of {in_channels} channels")
            self._replace_first_convolution(in_channels)

        def renamed(name: str) -> str:
            in_head = name.startswith(f"{last}.")
            return f"head.{name.removeprefix(f'{last}.')}" if in_head else f"body.{name}"

        start(self, file, renamed)

    def features(self, images: Tensor) -> Tensor:
        """Images (B, in_channels, H, W) -> features (B, F)."""
        if self.repeat_grey:
            images = images.expand(-1, 3, -1, -1)
        features: Tensor = self.body(images)
        return features

    def _make_body(self, name: str, weights: str | None, options: dict[str, Any]) -> Any:
        """Build the network, with a weight set, or only as that set has it if weights are left out."""
        if weights is not None and are_left_out():
            meta = torchvision.models.get_model_weights(name)[weights].meta
            implied = {
                "image_size": meta["min_size"][0] if name.startswith("vit_") else None,
                "input_size": meta["min_size"] if name.startswith("maxvit") else None,
                "transform_input": name in ("googlenet", "inception_v3") or None,
            }
            options = {option: value for option, value in implied.items() if value is not None} | options
            weights = None
        if name in ("googlenet", "inception_v3") and weights is None:
            options = {"aux_logits": False, "init_weights": True, **options}
        try:
            return torchvision.models.get_model(name, weights=weights, **options)
        except OSError as error:
            folder = f"{torch.hub.get_dir()}/checkpoints"
            raise OSError(f"weights={weights}: the download failed ({error}); put the file into {folder}") from error

    def _take_off_head(self) -> tuple[str, int]:
        """Leave out the body's last layer; return its name and the number of its inputs."""
        if isinstance(self.body, torchvision.models.SqueezeNet):
            # Its classifier is a 1 x 1 convolution: leave the pooled features.
            self.body.classifier = nn.Sequential(nn.Dropout(), nn.AdaptiveAvgPool2d(1))
            return "classifier.1", 512
        path, last = [(p, m) for p, m in self.body.named_modules() if isinstance(m, nn.Linear)][-1]
        parent, _, child = path.rpartition(".")
        setattr(self.body.get_submodule(parent), child, nn.Identity())
        return path, last.in_features

    def _replace_first_convolution(self, in_channels: int) -> None:
        path, old = next((p, m) for p, m in self.body.named_modules() if isinstance(m, nn.Conv2d))
        parent, _, child = path.rpartition(".")
        new = nn.Conv2d(
            in_channels,
            old.out_channels,
            old.kernel_size,  # type: ignore[arg-type]
            old.stride,  # type: ignore[arg-type]
            old.padding,  # type: ignore[arg-type]
            bias=old.bias is not None,
        )
        setattr(self.body.get_submodule(parent), child, new)


def check(model: nn.Module, image_shape: tuple[int, int, int], num_classes: int) -> None:
    """Check on two blank images that the model takes this shape and gives a logit per class.

    Raises:
        ValueError: it does not.
    """
    shape = "x".join(map(str, image_shape))
    model.eval()
    try:
        with torch.no_grad():
            logits = model(torch.zeros(2, *image_shape))
    except Exception as error:  # whatever a model raises when images are too small for it
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"must take images of {shape} (channels x height x width): {reason}") from error
    model.train()
    if logits.shape != (2, num_classes):
        raise ValueError(f"must give {num_classes} logits per image, gives {tuple(logits.shape[1:])}")


def check_cosines(model: nn.Module) -> None:
    """Check that the model gives plain cosines, for a loss that scales them itself.

    Raises:
        ValueError: its head does not say so by `gives_cosines`.
    """
    head = model.head
    if not getattr(head, "gives_cosines", False):
        name = "linear" if type(head) is nn.Linear else type(head).__name__
        raise ValueError(f"head={name}: must be cosine, of scale 1, for a loss that scales cosines")


def check_single(model: nn.Module, image_shape: tuple[int, int, int], batch_size: int) -> None:
    """Check on a copy of the model that it can train on a batch of one image, which some batch norms cannot.

    Raises:
        ValueError: it cannot.
    """
    try:
        copy.deepcopy(model).train()(torch.zeros(1, *image_shape))
    except ValueError as error:
        raise ValueError(
            f"batch_size={batch_size}: must not leave a last batch of 1 image for this model ({error})"
        ) from error


def _check_width(width: int) -> None:
    check_whole("width", width)


def _conv3x3(in_channels: int, channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)


def _conv_norm_relu(in_channels: int, channels: int) -> tuple[nn.Module, ...]:
    return _conv3x3(in_channels, channels), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)


def _conv_pool_norm_relu(in_channels: int, channels: int) -> tuple[nn.Module, ...]:
    pool = nn.MaxPool2d(2, ceil_mode=True)  # a single pixel stays one
    return _conv3x3(in_channels, channels), pool, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
