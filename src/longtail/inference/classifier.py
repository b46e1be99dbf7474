"""A trained classifier, and what makes an image its input."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import Resize

from longtail import runs
from longtail.augment import Normalize
from longtail.datasets.images import central, with_channels
from longtail.decoding import pixels_of
from longtail.errors import InputError
from longtail.methods import Criterion, Method
from longtail.models import weights
from longtail.training import checkpoints, fit
from longtail.training.build import make_criterion, make_module
from longtail.training.training import Parts, Settings


class Classifier(nn.Module):
    """What a run has trained: normalised images (B, channels, H, W) -> logits (B, C).

    Args:
        method: of the run, in its last stage.
    """

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, C), as the run's method evaluates them."""
        return self.method.predict(images)

    def log_probabilities(self, images: Tensor) -> Tensor:
        """Return the log probabilities (B, C), by the rule of the run's loss."""
        criterion = self.method.criterion
        assert isinstance(criterion, Criterion)  # a detector's has none
        return criterion.log_probabilities(self(images))

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """Return the probabilities (B, C) of normalised images, by the rule of the run's loss; no gradient."""
        return self.log_probabilities(images).exp()


class Transform:
    """Make an image what a classifier takes, as its test images were made.

    Args:
        image_shape: (channels, height, width) of the input.
        cropped: whether images are resized by their shorter side and cropped at the centre; else they are resized as
            a whole, whatever their proportions.
        normalize: of the training.
    """

    def __init__(self, image_shape: tuple[int, int, int], cropped: bool, normalize: Normalize) -> None:
        self.image_shape, self.cropped, self.normalize = image_shape, cropped, normalize
        _, height, width = image_shape
        self.change: Callable[[Image.Image], Image.Image] = central(height) if cropped else Resize((height, width))

    def __call__(self, image: Image.Image | Tensor) -> Tensor:
        """Normalise an image, -> (channels, H, W), or uint8 images (B, H, W, channels) -> (B, channels, H, W).

        Raises:
            ValueError: images in a tensor are not uint8, or not of the input's shape.
        """
        if isinstance(image, Image.Image):
            return self(torch.from_numpy(self.pixels(image).copy())[None])[0]
        channels, height, width = self.image_shape
        if image.dtype != torch.uint8 or image.shape[1:] != (height, width, channels):
            found, wanted = (" x ".join(map(str, shape)) for shape in (image.shape, ("B", height, width, channels)))
            raise ValueError(f"images of {found}, {image.dtype}: must be {wanted}, torch.uint8")
        normalized: Tensor = self.normalize(image)
        return normalized

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize an image of any size and mode, -> (H, W, channels).

        Raises:
            ValueError: the classifier takes neither grey nor colour images, or the pixels are no whole numbers of 8
                or 16 bits.
        """
        return with_channels(pixels_of(image, self.change), self.image_shape[0])

    def read(self, path: Path) -> NDArray[np.uint8]:
        """Read an image file, -> (H, W, channels)."""
        with Image.open(path) as image:
            return self.pixels(image)


class Loaded(NamedTuple):
    """What `longtail.load` returns."""

    model: Classifier
    class_names: list[str]
    transform: Transform


def load(run_dir: Path, parts: Parts, settings: Settings, accelerator: str = "cpu") -> Loaded:
    """Load the classifier of a finished run onto a device, named as Lightning names its accelerators.

    Args:
        run_dir: of the run.
        parts: its parts.
        settings: its resolved config.
        accelerator: auto, cpu, gpu, cuda or mps.

    Raises:
        InputError: the run is not finished, its checkpoint does not fit or is not finite, or there is no such device.
    """
    device, facts = device_of(accelerator), runs.read_facts(run_dir)
    counts = torch.tensor(facts.class_counts)
    with weights.left_out(), torch.random.fork_rng(devices=[]):
        criterion = make_criterion(parts, settings["reduction"], counts)
        module = make_module(parts, criterion, facts.image_shape, counts)
        fit.as_trained(module, settings["trainer"]["max_epochs"])
    checkpoint = checkpoints.path(run_dir, settings["selection"])
    checkpoints.load(module, checkpoint)
    if broken := [name for name, value in module.state_dict().items() if not value.isfinite().all()]:
        raise InputError(f"checkpoint={checkpoint}: must have finite weights, {broken[0]} is not")
    module.eval().to(device)
    cropped = facts.streamed or settings["dataset"].get("image_size") is not None
    assert isinstance(module.normalize, Normalize)
    transform = Transform(facts.image_shape, cropped, module.normalize)
    return Loaded(Classifier(module.method).eval(), facts.class_names, transform)


def device_of(accelerator: str) -> torch.device:
    """Return the first device of an accelerator of Lightning's: auto, cpu, gpu, cuda or mps.

    Raises:
        InputError: this machine has none.
    """
    if accelerator == "cpu":
        return torch.device("cpu")
    try:
        return Fabric(accelerator=accelerator, devices=1).device
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"accelerator={accelerator}: must be one that this machine has ({reason})") from error
