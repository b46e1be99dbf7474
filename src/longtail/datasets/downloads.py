"""Datasets that scikit-learn ships or torchvision downloads."""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from longtail.datasets.images import ArrayImages, ImageData
from longtail.decoding import mapped, once, text
from longtail.imbalance import hold_out


def digits(augment: nn.Module | None = None) -> ImageData:
    """Return the 1,797 grey 8 x 8 digits that ship with scikit-learn (Alpaydin and Kaynak 1998).

    The test set is 50 random images of each class, the same ones in every run.
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
    )


def cifar10(data_dir: str, augment: nn.Module | None = None) -> ImageData:
    """Return CIFAR-10 (Krizhevsky 2009), 50,000 + 10,000 images, downloaded to `data_dir` and checked by MD5."""
    return _cifar("CIFAR10", data_dir, augment)


def cifar100(data_dir: str, augment: nn.Module | None = None) -> ImageData:
    """Return CIFAR-100 (Krizhevsky 2009), 50,000 + 10,000 images, downloaded to `data_dir` and checked by MD5."""
    return _cifar("CIFAR100", data_dir, augment)


def _cifar(name: str, data_dir: str, augment: nn.Module | None) -> ImageData:
    from torchvision import datasets

    source = getattr(datasets, name)
    array, names = (Path(data_dir, "cache", f"{name.lower()}.{suffix}") for suffix in ("npy", "json"))

    @cache
    def source_data() -> tuple[NDArray[np.uint8], dict[str, Any]]:
        try:
            train, test = (source(data_dir, train=part, download=True) for part in (True, False))
        except (OSError, RuntimeError) as error:  # no network, a server's refusal, a wrong MD5
            reason = " ".join(str(error).split())
            raise OSError(
                f"dataset={name.lower()}: the download failed ({reason}); put {source.filename}"
                f" (MD5 {source.tgz_md5}) into data_dir={data_dir} and run again"
            ) from error
        labels = {"classes": train.classes, "train": train.targets, "test": test.targets}
        return np.concatenate((train.data, test.data)), labels

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
    )
