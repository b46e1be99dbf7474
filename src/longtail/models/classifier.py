"""What the models have in common, and what is checked of them before a run."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn


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


class MeanOverPixels(nn.Module):
    """Global average pooling, (B, F, H, W) -> (B, F)."""

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.mean((2, 3))


def conv3x3(in_channels: int, channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
