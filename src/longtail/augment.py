"""What happens to a whole batch on the device: augmentation, then normalisation.

Batches arrive as uint8 (B, H, W, C), the layout of the decoded images. The draws come from PyTorch's random state.
"""

import torch
import torch.nn.functional as F
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
        if not self.pad and not self.flip:
            return images
        size, device = len(images), images.device
        top, left = torch.randint(2 * self.pad + 1, (2, size), device=device)
        flipped = (torch.rand(size, device=device) < 0.5) & self.flip
        return self.place(images, top, left, flipped)

    def place(self, images: Tensor, top: Tensor, left: Tensor, flipped: Tensor) -> Tensor:
        """Crop image b at (top[b], left[b]) of the padded image, then flip it where flipped[b]; each (B,)."""
        b, h, w, c = images.shape
        padded = F.pad(images, (0, 0, self.pad, self.pad, self.pad, self.pad))
        padded_h, padded_w = padded.shape[1:3]
        column = torch.arange(w, device=images.device)
        rows = torch.arange(h, device=images.device) + top[:, None]
        columns = torch.where(flipped[:, None], w - 1 - column, column) + left[:, None]
        first_row = torch.arange(b, device=images.device)[:, None] * padded_h
        pixel = ((first_row + rows) * padded_w)[:, :, None] + columns[:, None, :]
        return padded.reshape(-1, c).index_select(0, pixel.view(-1)).view(b, h, w, c)


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
        return torch.addcmul(self.shift, images.float(), self.scale).permute(0, 3, 1, 2)
