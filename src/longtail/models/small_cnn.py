"""Four convolutions, for tests, digits and a first look."""

from torch import nn

from longtail.models.classifier import ImageClassifier, conv3x3
from longtail.models.heads import Head, make_head
from longtail.models.weights import start
from longtail.ranges import check_whole


class SmallCNN(ImageClassifier):
    """Four 3 x 3 convolutions with batch norm: for tests, digits and a first look.

    Args:
        in_channels: channels of the images.
        num_classes: C.
        width: channels of the first two convolutions, >= 1; the last two have twice as many.
        head: the last layer, as in `make_head`.
        weights: a file to start from, as in `weights.start`; None for none.

    Raises:
        ValueError: width is below 1, the head is unknown, or the weights do not fit.
    """

    def __init__(
        self, in_channels: int, num_classes: int, width: int = 32, head: Head = "linear", weights: str | None = None
    ) -> None:
        super().__init__()
        check_whole("width", width)
        self.features = nn.Sequential(
            *_conv_norm_relu(in_channels, width),
            *_conv_norm_relu(width, width),
            nn.MaxPool2d(2),
            *_conv_norm_relu(width, 2 * width),
            *_conv_norm_relu(2 * width, 2 * width),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = make_head(head, 2 * width, num_classes)
        start(self, weights)

    def split(self) -> tuple[nn.Module, nn.Module]:
        """Return `features` in two modules that share its parameters: two convolutions, and the other two."""
        return self.features[:6], self.features[6:]  # type: ignore[index]


def _conv_norm_relu(in_channels: int, channels: int) -> tuple[nn.Module, ...]:
    return conv3x3(in_channels, channels), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
