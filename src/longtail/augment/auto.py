"""AutoAugment of a whole batch: each image has a sub-policy, chances and signs of its own."""

import math
from functools import cache
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torchvision import transforms

from longtail.augment.operations import (
    blend,
    blurred,
    grey,
    histograms,
    levels_of,
    look_up,
    mean_grey,
    move,
    rotation,
)
from longtail.ranges import check_whole

Policy = Literal["cifar10", "imagenet", "svhn"]
BINS = 10  # of a magnitude
MOVES = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
BLENDS = ("Color", "Sharpness")
TABLES = ("Brightness", "Contrast", "Posterize", "Solarize", "Invert", "AutoContrast", "Equalize")
NAMES = (*MOVES, *BLENDS, *TABLES)
SIGNED = torch.tensor([name in (*MOVES, *BLENDS, "Brightness", "Contrast") for name in NAMES])


class AutoAugment(nn.Module):
    """Apply one of 25 sub-policies to each image: two operations, each with a probability and a magnitude.

    Cubuk et al. 2019, "AutoAugment: Learning Augmentation Strategies from Data". Given the same draws, the result
    equals that of torchvision's `AutoAugment`, which takes one image at a time, bit for bit on the CPU.

    Args:
        policy: the dataset that it was learned on: cifar10, imagenet or svhn.
        fill: the grey level, 0 to 255, of what comes in from outside.

    Raises:
        ValueError: the policy is unknown, or the grey level out of range.
    """

    def __init__(self, policy: Policy = "cifar10", fill: int = 0) -> None:
        super().__init__()
        if policy not in get_args(Policy):
            raise ValueError(f"policy={policy}: must be one of {', '.join(get_args(Policy))}")
        check_whole("fill", fill, 0, most=255)
        self.policy, self.fill = policy, fill

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, H, W, C) -> uint8 (B, H, W, C)."""
        size = len(images)  # drawn on the CPU, which then knows the images of each operation
        return self.apply_to(images, torch.randint(25, (size,)), torch.rand(size, 2), torch.randint(2, (size, 2)))

    def apply_to(self, images: Tensor, chosen: Tensor, chances: Tensor, signs: Tensor) -> Tensor:
        """Augment images by draws that are on the CPU.

        Args:
            images: uint8 (B, H, W, C).
            chosen: the sub-policy of each image, (B,).
            chances: (B, 2); an operation is left out where its chance is above its probability.
            signs: (B, 2); 0 for a negative magnitude, where an operation has both.
        """
        images, device = images.clone(), images.device
        operations, probabilities, magnitudes = (of[chosen] for of in sub_policies(self.policy, *images.shape[1:3]))
        magnitudes = torch.where(SIGNED[operations] & (signs == 0), -magnitudes, magnitudes)
        for step in (0, 1):  # each image has at most one operation in a step, so the kinds have no order
            operation, magnitude = operations[:, step], magnitudes[:, step]
            applied = chances[:, step] <= probabilities[:, step]
            for kind, names in ((self._moved, MOVES), (_blended, BLENDS), (_looked_up, TABLES)):
                number = operation - NAMES.index(names[0])
                those = (applied & (number >= 0) & (number < len(names))).nonzero().view(-1)
                if len(those):
                    where = those.to(device, non_blocking=True)
                    images[where] = kind(images[where], number[those], magnitude[those])
        return images

    def _moved(self, images: Tensor, numbers: Tensor, magnitudes: Tensor) -> Tensor:
        height, width = images.shape[1:3]
        each = zip(numbers.tolist(), magnitudes.tolist(), strict=True)
        matrices = torch.tensor([_matrix(MOVES[number], magnitude, height, width) for number, magnitude in each])
        return move(images, matrices.to(images.device, non_blocking=True), self.fill)


@cache
def sub_policies(policy: Policy, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the operations (25, 2) of a policy as indices into NAMES, their probabilities and magnitudes."""
    steps = transforms.AutoAugment(transforms.AutoAugmentPolicy(policy)).policies
    size = {"TranslateX": width, "TranslateY": height}
    operations = torch.tensor([[NAMES.index(name) for name, _, _ in pair] for pair in steps])
    probabilities = torch.tensor([[probability for _, probability, _ in pair] for pair in steps])
    levels = [[(name, 0 if level is None else level) for name, _, level in pair] for pair in steps]
    magnitudes = [[float(_magnitudes(name, size.get(name, 0))[level]) for name, level in pair] for pair in levels]
    return operations, probabilities, torch.tensor(magnitudes, dtype=torch.float64)


def _magnitudes(name: str, size: int) -> Tensor:
    """Return the magnitudes of an operation by level; `size` is the height or width that it moves along."""
    if name == "Posterize":  # bits that are kept
        return 8 - (torch.arange(BINS) * 4 / (BINS - 1)).round()
    if name.startswith("Translate"):  # pixels
        return torch.linspace(0, 150 / 331 * size, BINS)
    first, last = {"Shear": (0, 0.3), "Rotate": (0, 30), "Solarize": (255, 0)}.get(name.rstrip("XY"), (0, 0.9))
    return torch.linspace(first, last, BINS)


def _matrix(name: str, magnitude: float, height: int, width: int) -> tuple[float, ...]:
    """Return where a pixel of the result comes from, as in `move`."""
    if name == "ShearX":
        return 1, magnitude, magnitude * height / 2, 0, 1, 0
    if name == "ShearY":
        return 1, 0, 0, magnitude, 1, magnitude * width / 2
    if name == "TranslateX":
        return 1, 0, -int(magnitude), 0, 1, 0
    if name == "TranslateY":
        return 1, 0, 0, 0, 1, -int(magnitude)
    return rotation(math.radians(magnitude))


def _blended(images: Tensor, numbers: Tensor, magnitudes: Tensor) -> Tensor:
    colour, factors = numbers == BLENDS.index("Color"), 1 + magnitudes
    if images.shape[3] != 3:
        factors[colour] = 1  # there are no colours
    colour, factors = (values.to(images.device, non_blocking=True) for values in (colour, factors))
    return blend(images, torch.where(colour.view(-1, 1, 1, 1), grey(images), blurred(images)), factors)


def _looked_up(images: Tensor, numbers: Tensor, magnitudes: Tensor) -> Tensor:
    """Apply what changes a level into another, wherever it stands, by a table for each channel."""
    numbers, magnitudes = (values.to(images.device, non_blocking=True) for values in (numbers, magnitudes))
    b, _, _, c = images.shape
    level = torch.arange(256.0, device=images.device)
    magnitude, factors, pixels = magnitudes.view(b, 1, 1), 1 + magnitudes, levels_of(images)
    least, most = (extreme.float().unsqueeze(2) for extreme in (images.amin((1, 2)), images.amax((1, 2))))
    stretch = torch.where(least < most, 255 / (most - least), 1)
    tables = {
        "Brightness": blend(level.view(1, -1, 1, 1), torch.zeros_like(level[:1]), factors).view(b, 1, 256),
        "Contrast": blend(level.view(1, -1, 1, 1), mean_grey(images), factors).view(b, 1, 256),
        "Posterize": level.long() & -(1 << (8 - magnitude.clamp(0, 8).long())),
        "Solarize": torch.where(level >= magnitude.float(), 255 - level, level),
        "Invert": 255 - level,
        "AutoContrast": (level - least * (least < most)).mul_(stretch).clamp_(0, 255),
        "Equalize": _equalized(histograms(pixels, c)),
    }
    own = torch.stack([tables[name].byte().expand(b, c, 256) for name in TABLES], 1)
    return look_up(pixels, own[torch.arange(b, device=images.device), numbers])


def _equalized(counts: Tensor) -> Tensor:
    """Return the tables that spread the levels of histograms, (B, C, 256) each, evenly."""
    level = torch.arange(256, device=counts.device)
    highest = torch.where(counts > 0, level, 0).amax(2, keepdim=True)
    step = (counts.sum(2, keepdim=True) - counts.gather(2, highest)) // 255
    below = counts.cumsum(2) - counts
    return torch.where(step > 0, ((below + step // 2) // step.clamp(min=1)).clamp_(0, 255), level)
