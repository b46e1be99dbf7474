"""Normalisation of a whole batch."""

from torch import Tensor, nn


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
