"""The last layer of a model."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail.ranges import check_finite


class CosineHead(nn.Module):
    """Cosine classifier: z_j = scale * cos(w_j, h), with a weight row w_j per class and no bias.

    At scale 1 the logits are cosines in [-1, 1], on which cross entropy hardly learns: something has to multiply them
    by about 30, either the loss, as `losses.LDAM` does by its s, or this scale, but not both. The rows are
    initialised uniformly in [-1, 1] and normalised, as in LDAM's code (Cao et al. 2019).

    Args:
        in_features: F.
        num_classes: C.
        scale: factor on the cosines, finite and > 0.

    Raises:
        ValueError: the scale is outside its range.
    """

    def __init__(self, in_features: int, num_classes: int, scale: float = 1.0) -> None:
        super().__init__()
        check_finite("scale", scale, above=True)
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(num_classes, in_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise the weight rows."""
        with torch.no_grad():
            self.weight.copy_(F.normalize(self.weight.uniform_(-1, 1)))

    @property
    def gives_cosines(self) -> bool:
        """Whether the logits are plain cosines."""
        return self.scale == 1

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, F) -> logits (B, C), without autocast: a loss may multiply them by 30."""
        with torch.autocast(features.device.type, enabled=False):
            return self.scale * F.linear(F.normalize(features.to(self.weight.dtype)), F.normalize(self.weight))


Head = str | Callable[[int, int], nn.Module]
HEADS: dict[str, Callable[[int, int], nn.Module]] = {"linear": nn.Linear, "cosine": CosineHead}


def make_head(head: Head, in_features: int, num_classes: int) -> nn.Module:
    """Build the last layer: "linear", "cosine", or a function `(in_features, num_classes) -> nn.Module`.

    Raises:
        ValueError: there is no head of this name.
    """
    make = HEADS.get(head) if isinstance(head, str) else head
    if not callable(make):
        raise ValueError(f"head={head}: must be {' or '.join(HEADS)}")
    try:
        return make(in_features, num_classes)
    except ValueError as error:
        raise ValueError(f"head.{error}") from error


def width(model: nn.Module) -> int:
    """Return the number of features that a model's head takes.

    Raises:
        ValueError: it has no weight (C, F).
    """
    weight = getattr(model.head, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        raise ValueError(f"must have a linear or cosine head, not {type(model.head).__name__}")
    return weight.shape[1]
