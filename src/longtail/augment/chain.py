"""Several augmentations one after the other."""

from torch import Tensor, nn

from longtail.augment.colour import ColorJitter, Grey
from longtail.augment.crops import ResizedCropFlip


class Chain(nn.Module):
    """Augment by one step after the other, by name, so that a setting of a step has a name too.

    Args:
        steps: modules uint8 (B, H, W, C) -> the same, in order; None for a step that is left out.

    Raises:
        ValueError: a step is no module.
    """

    def __init__(self, **steps: nn.Module | None) -> None:
        super().__init__()
        for name, step in steps.items():
            if not isinstance(step, nn.Module | None):
                raise ValueError(f"{name}={step}: must be an augmentation with a _target_, or null")
        self.steps = nn.ModuleList(step for step in steps.values() if step is not None)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 (B, H, W, C) -> uint8 (B, H, W, C)."""
        for step in self.steps:
            images = step(images)
        return images


class SimAugment(Chain):
    """Augment as contrastive learning does: a resized crop, flip, colour jitter, and some images grey.

    Chen et al. 2020 (SimCLR), in the strengths of PaCo and ProCo for CIFAR.
    """

    def __init__(self) -> None:
        super().__init__(crop=ResizedCropFlip(), jitter=ColorJitter(), grey=Grey())
