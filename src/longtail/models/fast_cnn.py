"""A network for ranking methods on a CPU."""

from torch import Tensor, nn

from longtail.models.classifier import ImageClassifier, MeanOverPixels, conv3x3
from longtail.models.heads import Head, make_head
from longtail.models.weights import start
from longtail.ranges import check_whole


class FastCNN(ImageClassifier):
    """A small network for ranking methods on a CPU: a 4 x 4 stem of stride 2, then three 3 x 3 convolutions.

    No layer works at the full size of the image. Each 3 x 3 convolution is max-pooled before its batch norm and ReLU,
    which then handle a quarter of the pixels, as in the networks of Page 2018 ("How to train your ResNet") and Jordan
    2024 (arXiv 2404.00498). All three cost the same, and their channels are multiples of 32, for bfloat16 in
    channels-last memory. Images must be at least 8 x 8.

    Args:
        in_channels: channels of the images.
        num_classes: C.
        width: channels of the stem, >= 1; they double with each of the three convolutions.
        head: the last layer, as in `make_head`.
        weights: a file to start from, as in `weights.start`; None for none.

    Raises:
        ValueError: width is below 1, the head is unknown, or the weights do not fit; in `forward`, the images are
            smaller than 8 x 8.
    """

    def __init__(
        self, in_channels: int, num_classes: int, width: int = 32, head: Head = "linear", weights: str | None = None
    ) -> None:
        super().__init__()
        check_whole("width", width)
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            *_conv_pool_norm_relu(width, 2 * width),
            *_conv_pool_norm_relu(2 * width, 4 * width),
            *_conv_pool_norm_relu(4 * width, 8 * width),
            MeanOverPixels(),
        )
        self.head = make_head(head, 8 * width, num_classes)
        start(self, weights)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, in_channels, H, W) -> logits (B, C)."""
        height, width = images.shape[-2:]
        if min(height, width) < 8:
            raise ValueError(f"images of {height} x {width}: must be at least 8 x 8")
        return super().forward(images)

    def split(self) -> tuple[nn.Module, nn.Module]:
        """Return `features` in two modules that share its parameters: two convolutions, and the other two."""
        return self.features[:7], self.features[7:]  # type: ignore[index]


def _conv_pool_norm_relu(in_channels: int, channels: int) -> tuple[nn.Module, ...]:
    pool = nn.MaxPool2d(2, ceil_mode=True)  # a single pixel stays one
    return conv3x3(in_channels, channels), pool, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
