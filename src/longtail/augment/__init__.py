"""Augmentation and normalisation of a whole batch, on its device; each image has its own draws.

Batches arrive as uint8 (B, H, W, C), the layout of the decoded images. Random draws use PyTorch's global generators:
what is drawn on the CPU is sent to the device without waiting for it.
"""

from longtail.augment.auto import AutoAugment
from longtail.augment.chain import Chain, SimAugment
from longtail.augment.colour import ColorJitter, Grey
from longtail.augment.crops import Cutout, PadCropFlip, ResizedCropFlip, Rotate
from longtail.augment.normalize import Normalize

__all__ = [
    "AutoAugment",
    "Chain",
    "ColorJitter",
    "Cutout",
    "Grey",
    "Normalize",
    "PadCropFlip",
    "ResizedCropFlip",
    "Rotate",
    "SimAugment",
]
