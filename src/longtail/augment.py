"""What happens to a whole batch on the device: augmentation, then normalisation.

Batches arrive as uint8 (B, H, W, C), the layout of the decoded images. The draws come from PyTorch's random state.
"""

import torch
from torch import Tensor, nn


class PadCropFlip(nn.Module):
    """Zero-pad, crop back to the size at a random place, flip half of the images: one gather for the batch.

    Every image has its own crop and flip. Given the same draws the result equals torchvision's pad, crop and
    hflip bit for bit.

    Args:
        pad: pixels of zeros on each side, >= 0; 0 turns cropping off.
        flip: whether to flip horizontally with probability 1/2.

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
        # Each padded image as it is and mirrored: a flipped crop is a crop of the mirror image.
        padded = images.new_zeros(2, b, height, width, c)
        padded[0, :, pad : pad + h, pad : pad + w] = images
        padded[1, :, pad : pad + h, pad : pad + w] = images.flip(2)
        left = torch.where(flipped, 2 * pad - left, left)
        image_row = (flipped * b + torch.arange(b, device=images.device)) * height + top
        rows = image_row[:, None] + torch.arange(h, device=images.device)
        # A row of a crop is w * c bytes on end, so each is one copy from a window that starts at any byte.
        windows = padded.view(-1).as_strided((padded.numel() - w * c + 1, w * c), (1, 1))
        return windows.index_select(0, ((rows * width + left[:, None]) * c).view(-1)).view(b, h, w, c)


class Normalize(nn.Module):
    """uint8 (B, H, W, C) -> float32 (B, C, H, W), (x / 255 - mean) / std, in channels-last memory.

    Args:
        mean: per channel, (C,), of images scaled to [0, 1].
        std: per channel, (C,), > 0.
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
        # Whole rows at a time: the inner loop is w * c long instead of c.
        rows = images.reshape(b, h, w * c).float().mul_(self.scale.repeat(w)).add_(self.shift.repeat(w))
        return rows.view(b, h, w, c).permute(0, 3, 1, 2)
