"""Random colours: each image of a batch has its own, and its own order of the changes."""

import torch
from torch import Tensor, nn

from longtail.augment.operations import blend, check_share, grey, mean_grey, shift_hue

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


class ColorJitter(nn.Module):
    """Change brightness, contrast, saturation and hue of some images, in random order.

    Given the same draws, the result equals torchvision's `ColorJitter` of one image at a time on the CPU: bit for bit
    without a change of hue, else within 1 of 255 levels for each of them.

    Args:
        brightness: the most that its factor differs from 1, in [0, 1].
        contrast: the same.
        saturation: the same.
        hue: the largest shift, in [0, 0.5] of the circle.
        share: the probability that an image is changed.

    Raises:
        ValueError: a setting is out of range.
    """

    def __init__(
        self,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.4,
        hue: float = 0.1,
        share: float = 0.8,
    ) -> None:
        super().__init__()
        check_share(brightness=brightness, contrast=contrast, saturation=saturation, share=share)
        if not 0 <= hue <= 0.5:
            raise ValueError(f"hue={hue}: must be a number in [0, 0.5]")
        self.most, self.share = torch.tensor([brightness, contrast, saturation, hue], dtype=torch.float64), share

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, H, W, C) -> uint8 (B, H, W, C)."""
        size = len(images)
        strengths = (2 * torch.rand(size, 4, dtype=torch.float64) - 1) * self.most
        strengths[:, :HUE] += 1
        return self.apply_to(images, torch.rand(size) < self.share, torch.rand(size, 4).argsort(1), strengths)

    def apply_to(self, images: Tensor, chosen: Tensor, order: Tensor, strengths: Tensor) -> Tensor:
        """Change images by draws that are on the CPU.

        Args:
            images: uint8 (B, H, W, C).
            chosen: whether an image is changed, (B,).
            order: of the four changes, (B, 4), each 0 to 3 once.
            strengths: factors of brightness, contrast and saturation, and the shift of the hue, float64 (B, 4).
        """
        images = images.clone()
        for kind in order.t():
            strength = strengths.gather(1, kind[:, None]).view(-1)
            for change, those in ((_blended, chosen & (kind != HUE)), (_turned, chosen & (kind == HUE))):
                those = those.nonzero().view(-1)
                if len(those):
                    where, own, how = (
                        t.to(images.device, non_blocking=True) for t in (those, kind[those], strength[those])
                    )
                    images[where] = change(images[where], own, how)
        return images


def _blended(images: Tensor, kinds: Tensor, factors: Tensor) -> Tensor:
    kind, light = kinds.view(-1, 1, 1, 1), grey(images)
    other = torch.where(kind == SATURATION, light, mean_grey(images)).mul_(kind != BRIGHTNESS)
    if images.shape[3] != 3:
        factors = factors.masked_fill(kinds == SATURATION, 1)  # there are no colours
    return blend(images, other, factors)


def _turned(images: Tensor, kinds: Tensor, shifts: Tensor) -> Tensor:
    return shift_hue(images, shifts)


class Grey(nn.Module):
    """Make some images grey; equal to torchvision's `rgb_to_grayscale` bit for bit on the CPU.

    Args:
        share: the probability that an image becomes grey.

    Raises:
        ValueError: the share is not in [0, 1].
    """

    def __init__(self, share: float = 0.2) -> None:
        super().__init__()
        check_share(share=share)
        self.share = share

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, H, W, C) -> uint8 (B, H, W, C)."""
        chosen = (torch.rand(len(images)) < self.share).to(images.device, non_blocking=True)
        return torch.where(chosen.view(-1, 1, 1, 1), grey(images), images)
