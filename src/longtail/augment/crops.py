"""Random crops, and squares cut out, of a whole batch: each image has its own."""

import math

import torch
from torch import Tensor, nn

from longtail.augment.operations import move, rotation, stretch


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
        if not pad:  # there is one crop, and half of the bytes to move
            column = torch.arange(w * c, device=images.device).view(w, c)
            columns = torch.where(flipped[:, None], column.flip(0).reshape(-1), column.view(-1))
            return images.reshape(b, h, w * c).gather(2, columns[:, None].expand(b, h, w * c)).view(b, h, w, c)
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


class ResizedCropFlip(nn.Module):
    """Crop a random part, stretch it to the original size, and flip half of the images.

    Given the same draws, the result equals torchvision's `resized_crop` (bilinear) and `hflip`, but for rounding,
    within 1 of 255 levels. A part is never larger than the image, so that nothing has to be smoothed.

    Args:
        scale: the least share of the area that is kept, in (0, 1].
        ratio: the largest ratio of a part's width to its height, and of its height to its width, >= 1.
        flip: whether to flip horizontally, with probability 1/2.

    Raises:
        ValueError: scale or ratio is out of range.
    """

    TRIES = 10  # parts that do not fit are drawn again so often

    def __init__(self, scale: float = 0.2, ratio: float = 4 / 3, flip: bool = True) -> None:
        super().__init__()
        if not 0 < scale <= 1:
            raise ValueError(f"scale={scale}: must be a number in (0, 1]")
        if not 1 <= ratio < math.inf:
            raise ValueError(f"ratio={ratio}: must be a finite number >= 1")
        self.scale, self.ratio, self.flip = scale, ratio, flip

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, H, W, C) -> uint8 (B, H, W, C)."""
        height, width = self.draw(len(images), *images.shape[1:3])
        top, left = (
            (torch.rand(len(images), dtype=torch.float64) * (whole - part + 1)).long()
            for whole, part in zip(images.shape[1:3], (height, width), strict=True)
        )
        flipped = (torch.rand(len(images)) < 0.5) & self.flip
        draws = torch.stack((top, left, height, width, flipped)).to(images.device, non_blocking=True)
        return self.place(images, *draws.unbind())

    def draw(self, size: int, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Draw the heights and widths of parts, int64 (size,) each; the largest part where none of ten fits."""
        area = height * width * (self.scale + (1 - self.scale) * torch.rand(size, self.TRIES))
        ratio = (math.log(self.ratio) * (2 * torch.rand(size, self.TRIES) - 1)).exp()
        heights, widths = (area / ratio).sqrt().round().long(), (area * ratio).sqrt().round().long()
        fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
        first = fits.byte().argmax(1, keepdim=True)
        largest = min(height, round(width * self.ratio)), min(width, round(height * self.ratio))
        drawn = (parts.gather(1, first).view(-1) for parts in (heights, widths))
        tall, wide = (torch.where(fits.any(1), part, most) for part, most in zip(drawn, largest, strict=True))
        return tall, wide

    def place(
        self, images: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor, flipped: Tensor
    ) -> Tensor:
        """Stretch the part of image b at (top[b], left[b]) to the whole, then flip it where flipped[b]; each (B,)."""
        rows = stretch(images.float(), top, height, torch.zeros_like(top))
        return stretch(rows.transpose(1, 2), left, width, flipped).transpose(1, 2).round().byte().contiguous()


class Cutout(nn.Module):
    """Cut a square out of each image, black; its centre is anywhere in the image, its rest is clipped.

    DeVries and Taylor 2017, "Improved Regularization of Convolutional Neural Networks with Cutout".

    Args:
        size: of the square, in pixels, >= 1.

    Raises:
        ValueError: the size is no whole number >= 1.
    """

    def __init__(self, size: int = 16) -> None:
        super().__init__()
        if not (isinstance(size, int) and size >= 1):
            raise ValueError(f"size={size}: must be a whole number of pixels >= 1")
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, H, W, C) -> uint8 (B, H, W, C)."""
        size, height, width = images.shape[:3]
        centres = torch.stack((torch.randint(height, (size,)), torch.randint(width, (size,))))
        return self.place(images, *centres.to(images.device, non_blocking=True))

    def place(self, images: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Cut squares out around (row[b], column[b]), each (B,)."""
        inside = []
        for centre, length in ((row, images.shape[1]), (column, images.shape[2])):
            offset = torch.arange(length, device=images.device) - (centre[:, None] - self.size // 2)
            inside.append((offset >= 0) & (offset < self.size))
        kept = ~(inside[0][:, :, None] & inside[1][:, None])
        return images * kept[..., None]


class Rotate(nn.Module):
    """Turn each image by a random angle, from the nearest pixels; what comes in from outside is black.

    Given the same angles, the result equals torchvision's `rotate` bit for bit on the CPU.

    Args:
        degrees: the largest angle to either side, in [0, 180].

    Raises:
        ValueError: the angle is out of range.
    """

    def __init__(self, degrees: float = 15) -> None:
        super().__init__()
        if not 0 <= degrees <= 180:
            raise ValueError(f"degrees={degrees}: must be a number in [0, 180]")
        self.degrees = degrees

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, H, W, C) -> uint8 (B, H, W, C)."""
        return self.place(images, self.degrees * (2 * torch.rand(len(images), dtype=torch.float64) - 1))

    def place(self, images: Tensor, degrees: Tensor) -> Tensor:
        """Turn image b counter-clockwise by degrees[b], (B,) on the CPU."""
        matrices = torch.tensor([rotation(math.radians(angle)) for angle in degrees.tolist()])
        return move(images, matrices.to(images.device, non_blocking=True))
