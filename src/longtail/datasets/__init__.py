"""Where images come from: functions `() -> ImageData`.

Images of one size live in memory as one uint8 array, decoded once and kept on disk; others are streamed, unless they
are to be resized once. Either way gives whole batches: `images.batch(indices)` is uint8 (B, H, W, C).
"""

from longtail.datasets.downloads import cifar10, cifar100, digits, flowers102, inaturalist, svhn
from longtail.datasets.files import Listed, Reading, passes_on
from longtail.datasets.folders import image_folder
from longtail.datasets.formats import arrays, huggingface
from longtail.datasets.images import ArrayImages, FileImages, ImageData, Images, channel_stats
from longtail.datasets.lists import image_list

__all__ = [
    "ArrayImages",
    "FileImages",
    "ImageData",
    "Images",
    "Listed",
    "Reading",
    "arrays",
    "channel_stats",
    "cifar10",
    "cifar100",
    "digits",
    "flowers102",
    "huggingface",
    "image_folder",
    "image_list",
    "inaturalist",
    "passes_on",
    "svhn",
]
