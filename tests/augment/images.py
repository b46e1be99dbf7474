"""Images to augment, and torchvision's operations on them one by one."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import interpolate


def random_images(*shape: int) -> Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def photos(count: int, height: int, width: int, channels: int) -> Tensor:
    """Smooth images with a little noise, each channel with levels of its own; the first two of one level only."""
    generator = torch.Generator().manual_seed(0)
    smooth = 64 + 128 * torch.rand(count, channels, 4, 4, generator=generator)
    pixels = interpolate(smooth, (height, width), mode="bilinear").permute(0, 2, 3, 1)
    images = (pixels + torch.randint(-30, 31, pixels.shape, generator=generator)).byte()
    images[0], images[1] = 0, 97
    return images.contiguous()


def of_one(operation: Callable[..., Tensor], images: Tensor, *draws: Tensor) -> Tensor:
    """Apply an operation on (C, H, W) to each image, with the draws for it."""
    rows = zip(images, *(draw.tolist() for draw in draws), strict=True)
    return torch.stack([operation(image.permute(2, 0, 1), *draw).permute(1, 2, 0) for image, *draw in rows])
