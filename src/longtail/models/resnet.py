"""ResNets for images of 32 x 32 (He et al. 2016, section 4.2)."""

import torch.nn.functional as F
from torch import Tensor, nn

from longtail.models.classifier import ImageClassifier, MeanOverPixels, conv3x3
from longtail.models.heads import Head, make_head
from longtail.models.weights import start

DEEPEST = 1202  # of He et al. 2016


class ResNet(ImageClassifier):
    """The CIFAR ResNet of He et al. 2016, section 4.2: depth 6n + 2, three stages of n basic blocks, 16/32/64 wide.

    Shortcuts are the parameter-free option A (every second pixel, zeros for the new channels), so that ResNet-32
    has 464,154 parameters for 10 classes and 3 channels. Images must be at least 8 x 8.

    Args:
        in_channels: channels of the images.
        num_classes: C.
        depth: 6n + 2: 20, 32, 44, 56, ...
        head: the last layer, as in `make_head`.
        weights: a file to start from, as in `weights.start`; None for none.

    Raises:
        ValueError: depth is not 6n + 2, the head is unknown, or the weights do not fit.
    """

    def __init__(
        self, in_channels: int, num_classes: int, depth: int = 32, head: Head = "linear", weights: str | None = None
    ) -> None:
        super().__init__()
        if not isinstance(depth, int) or not 8 <= depth <= DEEPEST or (depth - 2) % 6:
            raise ValueError(f"depth={depth}: must be 6n + 2, such as 20, 32, 44, 56, and at most {DEEPEST}")
        blocks = (depth - 2) // 6
        self.stem = nn.Sequential(conv3x3(in_channels, 16), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.stages = nn.Sequential(
            *(BasicBlock(16, 16) for _ in range(blocks)),
            *(BasicBlock(16 if i == 0 else 32, 32, stride=2 if i == 0 else 1) for i in range(blocks)),
            *(BasicBlock(32 if i == 0 else 64, 64, stride=2 if i == 0 else 1) for i in range(blocks)),
        )
        self.head = make_head(head, 64, num_classes)
        self.initialise(self)
        start(self, weights)

    def initialise(self, module: nn.Module) -> None:
        """Draw the weights of convolutions and linear layers as He et al. 2015 do."""
        for part in module.modules():
            if isinstance(part, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(part.weight)

    def features(self, images: Tensor) -> Tensor:
        """Images (B, in_channels, H, W) -> features (B, 64)."""
        pixels: Tensor = self.stages(self.stem(images))
        return pixels.mean((2, 3))

    def split(self) -> tuple[nn.Module, nn.Module]:
        """Return `features` in two modules that share its parameters: up to the first stage, and the other two."""
        first = len(self.stages) // 3
        early = nn.Sequential(self.stem, *self.stages[:first])
        return early, nn.Sequential(*self.stages[first:], MeanOverPixels())


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm, and an option-A shortcut around them."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.norm1 = conv3x3(in_channels, channels, stride), nn.BatchNorm2d(channels)
        self.conv2, self.norm2 = conv3x3(channels, channels), nn.BatchNorm2d(channels)
        self.stride, self.new_channels = stride, channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm1(self.conv1(x)), inplace=True)
        out = self.norm2(self.conv2(out))
        if self.stride > 1:
            half = self.new_channels // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.new_channels - half))
        return F.relu(out.add_(x), inplace=True)
