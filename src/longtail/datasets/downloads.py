"""Datasets that scikit-learn ships or torchvision downloads."""

import json
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from longtail.datasets.files import Listed, Reading, passes_on
from longtail.datasets.images import ArrayImages, ImageData
from longtail.decoding import mapped, once, text
from longtail.imbalance import hold_out
from longtail.metrics import OLTR, Shots

FLOWERS = {"train": "trnid", "val": "valid", "test": "tstid"}  # the names of the parts in setid.mat
LEVELS = ("full", "kingdom", "phylum", "class", "order", "family", "genus")  # of iNaturalist 2021


def digits(augment: nn.Module | None = None, many: int = OLTR.many, few: int = OLTR.few) -> ImageData:
    """Return the 1,797 grey 8 x 8 digits that ship with scikit-learn (Alpaydin and Kaynak 1998).

    The test set is 50 random images of each class, the same ones in every run. Classes are many and few as `Shots`
    says; so they are in every dataset.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    pool, test = hold_out(bunch.target, 10, 50)
    return ImageData(
        train=ArrayImages(pixels[pool], bunch.target[pool]),
        test=ArrayImages(pixels[test], bunch.target[test]),
        class_names=[str(name) for name in bunch.target_names],
        image_shape=(1, 8, 8),
        augment=augment,
        shots=Shots(many, few),
    )


def cifar10(data_dir: str, augment: nn.Module | None = None, many: int = OLTR.many, few: int = OLTR.few) -> ImageData:
    """Return CIFAR-10 (Krizhevsky 2009), 50,000 + 10,000 images, downloaded to `data_dir` and checked by MD5."""
    return _cifar("CIFAR10", data_dir, augment, Shots(many, few))


def cifar100(
    data_dir: str, augment: nn.Module | None = None, many: int = OLTR.many, few: int = OLTR.few
) -> ImageData:
    """Return CIFAR-100 (Krizhevsky 2009), 50,000 + 10,000 images, downloaded to `data_dir` and checked by MD5."""
    return _cifar("CIFAR100", data_dir, augment, Shots(many, few))


def svhn(data_dir: str, augment: nn.Module | None = None, many: int = OLTR.many, few: int = OLTR.few) -> ImageData:
    """Return SVHN (Netzer et al. 2011), 73,257 + 26,032 cropped house numbers, downloaded to `data_dir`."""
    from torchvision.datasets import SVHN

    def read() -> tuple[NDArray[np.uint8], dict[str, Any]]:
        train, test = (SVHN(data_dir, part, download=True) for part in ("train", "test"))
        labels = {name: part.labels.tolist() for name, part in (("train", train), ("test", test))}
        return np.concatenate((train.data, test.data)).transpose(0, 2, 3, 1), labels | {"classes": [*"0123456789"]}

    files = " and ".join(SVHN.split_list[part][1] for part in ("train", "test"))
    return _arrays("svhn", data_dir, read, files, augment, Shots(many, few))


def _cifar(name: str, data_dir: str, augment: nn.Module | None, shots: Shots) -> ImageData:
    from torchvision import datasets

    source = getattr(datasets, name)

    def read() -> tuple[NDArray[np.uint8], dict[str, Any]]:
        train, test = (source(data_dir, train=part, download=True) for part in (True, False))
        labels = {"classes": train.classes, "train": train.targets, "test": test.targets}
        return np.concatenate((train.data, test.data)), labels

    files = f"{source.filename} (MD5 {source.tgz_md5})"
    return _arrays(name.lower(), data_dir, read, files, augment, shots)


def _arrays(
    name: str,
    data_dir: str,
    read: Callable[[], tuple[NDArray[np.uint8], dict[str, Any]]],
    files: str,
    augment: nn.Module | None,
    shots: Shots,
) -> ImageData:
    """Return images of 32 x 32 from what torchvision downloads, kept in `data_dir/cache` as one array.

    Args:
        name: of the dataset.
        data_dir: where it is.
        read: gives the images, uint8 (N, 32, 32, 3), training images first, and `classes`, `train` and `test` labels.
        files: what to download by hand where that fails.
        augment: training augmentation on the device.
        shots: which classes are many, medium and few.
    """
    array, names = (Path(data_dir, "cache", f"{name}.{suffix}") for suffix in ("npy", "json"))
    source_data = cache(lambda: _downloaded(name, data_dir, read, files))
    if os.access(data_dir, os.W_OK) or not Path(data_dir).exists() or names.exists():
        pixels = mapped(once(array, lambda: source_data()[0]))
        labels = json.loads(text(once(names, lambda: json.dumps(source_data()[1]))))
    else:
        pixels, labels = source_data()  # a folder that others look after
    cut = len(labels["train"])
    return ImageData(
        train=ArrayImages(pixels[:cut], labels["train"]),
        test=ArrayImages(pixels[cut:], labels["test"]),
        class_names=labels["classes"],
        image_shape=(3, 32, 32),
        augment=augment,
        shots=shots,
    )


def _downloaded(name: str, data_dir: str, read: Callable[[], Any], files: str) -> Any:
    """Return what reads a dataset and downloads it where it is missing.

    Raises:
        OSError: it can be neither read nor downloaded.
    """
    try:
        return read()
    except (OSError, RuntimeError) as error:  # no network, a server's refusal, a wrong MD5
        reason = " ".join(str(error).split())
        raise OSError(
            f"dataset={name}: the download failed ({reason}); put {files} into data_dir={data_dir} and run again"
        ) from error


@passes_on(Reading)
def flowers102(data_dir: str, pool: Sequence[str] = ("train", "val"), **reading: Any) -> ImageData:
    """Return Oxford's 102 flowers (Nilsback and Zisserman 2008), downloaded to `data_dir`; 6,149 images for the test.

    Args:
        data_dir: where they are.
        pool: the parts that are trained on, `train`, `val` or both: 10 images of each class in each.
        **reading: as in `Reading`.

    Raises:
        ValueError: a setting is outside its range.
        OSError: the images can be neither read nor downloaded.
    """
    from torchvision.datasets import Flowers102

    way = Reading(data_dir, **reading)
    if not pool or isinstance(pool, str) or not {*pool} <= {"train", "val"} or len({*pool}) < len(pool):
        raise ValueError(f"pool={pool}: must be [train], [val] or [train, val]")

    folder = Path(data_dir, "flowers-102")

    def read() -> tuple[Any, Any]:
        from scipy.io import loadmat

        Flowers102(data_dir, download=True)
        return tuple(loadmat(folder / name, squeeze_me=True) for name in ("setid.mat", "imagelabels.mat"))

    files = "102flowers.tgz, unpacked, imagelabels.mat and setid.mat"
    numbers, labels = _downloaded("flowers102", str(folder), read, files)  # of the images of each part, from 1
    train, test = (
        Listed(
            [folder / "jpg" / f"image_{i:05d}.jpg" for i in chosen],
            [int(labels["labels"][i - 1]) - 1 for i in chosen],
        )
        for chosen in (np.concatenate([numbers[FLOWERS[part]] for part in pool]), numbers[FLOWERS["test"]])
    )
    names = getattr(Flowers102, "classes", None) or [str(c) for c in range(102)]
    return way.files(folder, names, train, test)


@passes_on(Reading)
def inaturalist(data_dir: str, version: str = "2021_train_mini", level: str = "full", **reading: Any) -> ImageData:
    """Return iNaturalist 2021 (Van Horn et al. 2021), downloaded to `data_dir`; its validation images are the test.

    The species have 50 (mini) or 152 to 300 training images each; genera, families and orders are long-tailed.

    Args:
        data_dir: where it is, `data_dir/<version>` and `data_dir/2021_valid`.
        version: `2021_train_mini`, 42 GB, or `2021_train`, 224 GB.
        level: what a class is: `full` for a species, or kingdom, phylum, class, order, family, genus.
        **reading: as in `Reading`.

    Raises:
        ValueError: a setting is outside its range.
        OSError: the images can be neither read nor downloaded.
    """
    from torchvision.datasets import INaturalist

    way = Reading(data_dir, **reading)
    if version not in ("2021_train", "2021_train_mini"):
        raise ValueError(f"version={version}: must be 2021_train or 2021_train_mini")
    if level not in LEVELS:
        raise ValueError(f"level={level}: must be one of {', '.join(LEVELS)}")

    def read() -> list[INaturalist]:
        return [INaturalist(data_dir, part, download=True) for part in (version, "2021_valid")]

    train, test = _downloaded("inaturalist", data_dir, read, f"{version} and 2021_valid, unpacked,")
    names = train.all_categories if level == "full" else list(train.categories_index[level])
    return way.files(Path(data_dir), names, _of_level(train, level), _of_level(test, level))


def _of_level(part: Any, level: str) -> Listed:
    """Return the files of torchvision's iNaturalist in the order of their names, which it does not keep."""
    index = sorted(part.index)
    paths = [Path(part.root, part.all_categories[species], name) for species, name in index]
    return Listed(paths, [s if level == "full" else part.categories_map[s][level] for s, _ in index])
