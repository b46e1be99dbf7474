"""Detection sets that are downloaded and checked by MD5."""

import contextlib
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock
from torch import Tensor
from torchvision.datasets import VOCDetection
from torchvision.datasets.utils import download_and_extract_archive

from longtail.datasets import passes_on
from longtail.detection.coco import coco_folder
from longtail.detection.scenes import Scenes
from longtail.detection.voc import voc_folder

COCO = "http://images.cocodataset.org"
COCO_ARCHIVES = {
    "train2017": ("zips/train2017.zip", "cced6f7f71b7629ddf16f17bbcfab6b2"),
    "val2017": ("zips/val2017.zip", "442b8da7639aecaf257c1dceb8ba8c80"),
    "annotations": ("annotations/annotations_trainval2017.zip", "f4bbac642086de4f52a3fdda2de5fa2c"),
}


@passes_on(voc_folder)
def voc2007(profile: Callable[[Tensor], Tensor], data_dir: str, **settings: Any) -> Scenes:
    """Read Pascal VOC 2007, 5,011 + 4,952 images of 20 classes, below `data_dir/VOCdevkit`; see `voc_folder`."""
    root = Path(data_dir, "VOCdevkit", "VOC2007")
    for part in ("trainval", "test"):
        _fetch(data_dir, root / f"ImageSets/Main/{part}.txt", partial(VOCDetection, data_dir, "2007", part, True))
    return voc_folder(profile, root=str(root), data_dir=data_dir, **settings)


@passes_on(coco_folder)
def coco2017(profile: Callable[[Tensor], Tensor], data_dir: str, **settings: Any) -> Scenes:
    """Read COCO 2017, 118,287 + 5,000 images of 80 classes, below `data_dir/coco2017`; see `coco_folder`.

    The test images are those of val2017: the boxes of test2017 are not public.
    """
    root = Path(data_dir, "coco2017")
    for made, (archive, md5) in COCO_ARCHIVES.items():
        _fetch(data_dir, root / made, partial(_unpack, f"{COCO}/{archive}", md5, root / made))
    return coco_folder(profile, root=str(root), data_dir=data_dir, **settings)


def _unpack(url: str, md5: str, wanted: Path) -> None:
    """Download an archive and unpack it aside, so that a directory that is there is complete."""
    aside = wanted.with_name(f"{wanted.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    download_and_extract_archive(url, str(wanted.parent), str(aside), md5=md5)
    (aside / wanted.name).rename(wanted)
    shutil.rmtree(aside)


def _fetch(data_dir: str, wanted: Path, download: Callable[[], object]) -> None:
    """Download what is wanted unless it is there; one process does and the others wait."""
    try:
        if not wanted.exists():
            os.makedirs(data_dir, exist_ok=True)
        read_only = not os.access(data_dir, os.W_OK)
        with contextlib.nullcontext() if read_only else FileLock(Path(data_dir, "download.lock")):
            if not wanted.exists():
                download()
    except (OSError, RuntimeError) as error:  # no network, a server's refusal, a wrong MD5
        reason = " ".join(str(error).split())
        raise OSError(f"data_dir={data_dir}: must hold {wanted}; the download failed ({reason})") from error
