"""Where images come from: functions `() -> ImageData`.

Images of one size live in memory as one uint8 array, decoded once and kept on disk; others are streamed, unless they
are to be resized once. Either way gives whole batches: `images.batch(indices)` is uint8 (B, H, W, C).
"""

from longtail.datasets.downloads import cifar10, cifar100, digits
from longtail.datasets.files import Listed, Reading, passes_on
from longtail.datasets.folders import image_folder
from longtail.datasets.images import ArrayImages, FileImages, ImageData, Images, channel_stats

__all__ = [
    "ArrayImages",
    "FileImages",
    "ImageData",
    "Images",
    "Listed",
    "Reading",
    "channel_stats",
    "cifar10",
    "cifar100",
    "digits",
    "image_folder",
    "passes_on",
]
