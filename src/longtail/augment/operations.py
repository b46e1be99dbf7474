"""Operations on the images of a batch, each with a magnitude of its own, in a few calls for all of them.

Images are uint8 (B, H, W, C). Given the same magnitudes, the result for each image is torchvision's for it alone
(`torchvision.transforms.functional` on tensors): bit for bit on the CPU, but for a change of hue.
"""

import math

import torch
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)  # of red, green and blue


def move(images: Tensor, matrices: Tensor, fill: int = 0) -> Tensor:
    """Take each pixel from elsewhere, from the nearest pixel.

    Args:
        images: uint8 (B, H, W, C).
        matrices: (B, 2, 3): a pixel at (x, y) from the image's centre is taken from (a x + b y + c, d x + e y + f).
        fill: the grey level of what lies outside.
    """
    b, h, w, c = images.shape
    device = images.device
    x, y = (torch.arange(size, device=device) - (size - 1) / 2 for size in (w, h))
    grid = torch.stack((x.expand(h, w), y[:, None].expand(h, w), torch.ones(h, w, device=device)), 2).view(1, -1, 3)
    size = torch.tensor([w, h], device=device)
    # In the steps in which torchvision computes it, so that what lies exactly between two pixels is rounded alike.
    source = grid.expand(b, -1, -1).bmm(matrices.view(b, 2, 3).transpose(1, 2) / (0.5 * size))
    column, row = (((source + 1) * size - 1) / 2).round_().view(b, h, w, 2).unbind(3)
    outside = (column != column.clamp(0, w - 1)) | (row != row.clamp(0, h - 1))
    image = torch.arange(b, device=device).view(b, 1, 1) * h
    where = (image + row.clamp_(0, h - 1).long()) * w + column.clamp_(0, w - 1).long()
    moved = images.reshape(-1, c).index_select(0, where.view(-1)).view(b, h, w, c)
    return moved.masked_fill_(outside[..., None], fill)


def rotation(angle: float) -> tuple[float, ...]:
    """Return the matrix of `move` that turns an image counter-clockwise about its centre by an angle in radians."""
    return math.cos(angle), -math.sin(angle), 0.0, math.sin(angle), math.cos(angle), 0.0


def stretch(rows: Tensor, first: Tensor, length: Tensor, mirrored: Tensor) -> Tensor:
    """Stretch some of the rows of each image to all of them, linearly.

    Args:
        rows: float32 (B, H, W, C).
        first: the first of the rows that are kept, int64 (B,).
        length: how many are kept, (B,).
        mirrored: where not 0, the order is reversed, (B,).
    """
    b, h, w, c = rows.shape
    centre = torch.arange(h, device=rows.device) + 0.5
    centre = torch.where(mirrored[:, None] > 0, h - centre, centre)
    where = ((length / h)[:, None] * centre - 0.5).clamp_(min=0)
    lower = where.long()
    share = (where - lower).view(b, h, 1)
    upper = torch.minimum(lower + 1, length[:, None] - 1)
    start = (torch.arange(b, device=rows.device) * h + first)[:, None]
    flat = rows.reshape(b * h, w * c)
    one, other = (flat.index_select(0, (start + index).view(-1)).view(b, h, w * c) for index in (lower, upper))
    return (one * (1 - share)).add_(other.mul_(share)).view(b, h, w, c)


def levels_of(images: Tensor) -> Tensor:
    """Return each pixel of each channel as an index into tables (B, C, 256), int64 (B, H, W * C)."""
    b, h, w, c = images.shape
    first = torch.arange(0, b * c * 256, 256, device=images.device).view(b, 1, c)
    return images.reshape(b, h, w * c) + first.repeat(1, 1, w)


def look_up(levels: Tensor, tables: Tensor) -> Tensor:
    """Replace levels (B, H, W * C) by those in uint8 tables (B, C, 256): uint8 (B, H, W, C)."""
    return tables.view(-1).index_select(0, levels.view(-1)).view(*levels.shape[:2], -1, tables.shape[1])


def histograms(levels: Tensor, channels: int) -> Tensor:
    """Count how often each channel has each level, (B, C, 256) int64."""
    counts = levels.new_zeros(len(levels) * channels * 256)
    return counts.scatter_add_(0, levels.view(-1), levels.new_ones(1).expand(levels.numel())).view(-1, channels, 256)


def blend(images: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    """Go from other images, which may be broadcast, towards and beyond the images: factor 0 is the others, 1 is them.

    Args:
        images: uint8 (B, H, W, C).
        others: (B, H, W, C), or 1 instead of H, W or C.
        factors: float64 (B,), >= 0.
    """
    own, rest = factors.float().view(-1, 1, 1, 1), (1 - factors).float().view(-1, 1, 1, 1)
    return (own * images).add_(rest * others).clamp_(0, 255).byte()


def grey(images: Tensor) -> Tensor:
    """Return the brightness of RGB images, uint8 (B, H, W, 1); other images unchanged."""
    if images.shape[3] != 3:
        return images
    red, green, blue = (weight * channel for weight, channel in zip(GREY, images.unbind(3), strict=True))
    return red.add_(green).add_(blue).byte().unsqueeze(3)


def mean_grey(images: Tensor) -> Tensor:
    """Return the mean brightness of each image, float32 (B, 1, 1, 1)."""
    return grey(images).float().mean((1, 2, 3), keepdim=True)


def blurred(images: Tensor) -> Tensor:
    """Smooth images by a 3 x 3 kernel of ones around a five, all but their borders, float32 (B, H, W, C)."""
    pixels = images.float()
    rows = pixels[:, :-2] + pixels[:, 1:-1] + pixels[:, 2:]
    around = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    inner = pixels[:, 1:-1, 1:-1]
    inner.copy_(around.add_(inner, alpha=4).div_(13).round_())
    return pixels


def shift_hue(images: Tensor, shifts: Tensor) -> Tensor:
    """Turn the hue of RGB images by shifts (B,) in [-0.5, 0.5] of the whole circle; other images stay as they are."""
    if images.shape[3] != 3:
        return images
    red, green, blue = images.permute(3, 0, 1, 2).float().div_(255)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    divisor = chroma.masked_fill(chroma == 0, 1)
    of_green_or_blue = torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor)
    hue = torch.where(value == red, (green - blue) / divisor, of_green_or_blue)
    hue += 6 * shifts.float().view(-1, 1, 1)
    turned = torch.empty_like(images)
    for channel, start in enumerate((5, 3, 1)):
        sector = (hue + start) / 6
        sector = sector.sub_(sector.floor()).mul_(6)
        share = torch.minimum(sector, 4 - sector).clamp_(0, 1)
        turned[..., channel] = (value - chroma * share).mul_(256 - 1e-3)
    return turned


def check_share(**values: float) -> None:
    """Check that settings are in [0, 1].

    Raises:
        ValueError: one is not.
    """
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name}={value}: must be a number in [0, 1]")
