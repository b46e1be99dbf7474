"""Augmentation and normalisation of a whole batch, on its device.

Batches arrive as uint8 (B, H, W, C), the layout of the decoded images. Random draws use PyTorch's global generator.
"""

import torch
from torch import Tensor, nn


class PadCropFlip(nn.Module):
    """Zero-pad, crop to the original size at random, and flip half of the images, in one gather per batch.

    Every image has its own crop and flip. Given the same draws, the result equals torchvision's pad, crop and hflip
    bit for bit.

    Args:
        pad: pixels of zeros on each side, >= 0; 0 for no cropping.
        flip: whether to flip horizontally, with probability 1/2.

    Raises:
        ValueError: pad is negative or not a whole number.
    """

    def __init__(self, pad: int = 4, flip: bool = True) -> None:
        super().__init__()
        if not (isinstance(pad, int) and pad >= 0):
            raise ValueError(f"pad={pad}: must be a whole number of pixels >= 0")
        self.pad, self.flip = pad, flip

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, H, W, C) -> uint8 (B, H, W, C)."""
        if not len(images) or (not self.pad and not self.flip):
            return images
        size, device = len(images), images.device
        top, left = torch.randint(2 * self.pad + 1, (2, size), device=device)
        flipped = (torch.rand(size, device=device) < 0.5) & self.flip
        return self.place(images, top, left, flipped)

    def place(self, images: Tensor, top: Tensor, left: Tensor, flipped: Tensor) -> Tensor:
        """Crop image b at (top[b], left[b]) of the padded image, then flip it where flipped[b]; each (B,)."""
        (b, h, w, c), pad = images.shape, self.pad
        height, width = h + 2 * pad, w + 2 * pad
        # Each padded image, and its mirror image: a flipped crop is a crop of the latter.
        padded = images.new_zeros(2, b, height, width, c)
        padded[0, :, pad : pad + h, pad : pad + w] = images
        padded[1, :, pad : pad + h, pad : pad + w] = images.flip(2)
        left = torch.where(flipped, 2 * pad - left, left)
        image_row = (flipped * b + torch.arange(b, device=images.device)) * height + top
        rows = image_row[:, None] + torch.arange(h, device=images.device)
        # A row of a crop is w * c contiguous bytes: one copy from a window that may start at any byte.
        windows = padded.view(-1).as_strided((padded.numel() - w * c + 1, w * c), (1, 1))
        return windows.index_select(0, ((rows * width + left[:, None]) * c).view(-1)).view(b, h, w, c)


class Normalize(nn.Module):
    """Scale to (x / 255 - mean) / std and move the channels: uint8 (B, H, W, C) -> float32 (B, C, H, W).

    The result is in channels-last memory.

    Args:
        mean: mean of each channel, (C,), of images scaled to [0, 1].
        std: standard deviation of each channel, (C,), > 0.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", (1 / (255 * std)).float())
        self.register_buffer("shift", (-mean / std).float())

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, H, W, C) -> float32 (B, C, H, W)."""
        b, h, w, c = images.shape
        # Work on whole rows: the inner loop is w * c long instead of c.
        rows = images.reshape(b, h, w * c).float().mul_(self.scale.repeat(w)).add_(self.shift.repeat(w))
        return rows.view(b, h, w, c).permute(0, 3, 1, 2)
