"""How many images each class keeps, and which ones.

A profile is a function `(available) -> counts`: from the number of images that each class has to the number that it
keeps, both (C,) int64. Class 0 is the head.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from longtail.ranges import check_whole


def none(available: Tensor | Sequence[int]) -> Tensor:
    """Keep every image: counts = available, (C,) int64.

    Raises:
        ValueError: a class has no images.
    """
    available = torch.as_tensor(available, dtype=torch.int64)
    return _at_least_one(available, available, "")


def exponential(available: Tensor | Sequence[int], ratio: float, at_least: int = 0) -> Tensor:
    """Exponential profile: n_i = int(n_max * f ** (i / (C - 1))), f = 1 / ratio (Cui et al. 2019, section 5.1).

    `int` truncates. n_max is the size of the largest class; a class with fewer images than its n_i keeps them all.

    Args:
        available: images per class, (C,) int64.
        ratio: n_max / n_min, >= 1; some papers call it the imbalance factor, others its inverse.
        at_least: images that a class keeps where the profile gives it fewer, so that a set too small for the ratio
            can still be used, at a lower one.

    Returns:
        Images to keep per class, (C,) int64, each in [1, available_i].

    Raises:
        ValueError: the ratio is below 1 or not finite, `at_least` is below 0, or a class is left without images.
    """
    last = max(len(available) - 1, 1)
    return _profile(available, ratio, at_least, lambda i: (1 / ratio) ** (i / last))


def step(available: Tensor | Sequence[int], ratio: float, at_least: int = 0) -> Tensor:
    """Step profile: the first C // 2 classes keep n_max, the others int(n_max / ratio) (Buda et al. 2018).

    Arguments, result and errors are those of `exponential`.
    """
    return _profile(available, ratio, at_least, lambda i: 1.0 if i < len(available) // 2 else 1 / ratio)


def subsample(targets: ArrayLike, counts: Tensor | Sequence[int], seed: int = 0) -> NDArray[np.int64]:
    """Choose counts[c] images of every class c by LDAM's rule, the field's de-facto standard subset.

    With `RandomState(seed)`, for each class in ascending order, shuffle its indices, which are in dataset order, and
    take the first counts[c] (Cao et al. 2019). The legacy generator and the order reproduce their subset exactly.

    Args:
        targets: (N,) integer class per image.
        counts: (C,) images to keep per class.
        seed: seed of the subset alone; 0 in the literature.

    Returns:
        (sum(counts),) int64 indices into `targets`, class after class.

    Raises:
        ValueError: a class has fewer images than asked for.
    """
    rng = np.random.RandomState(seed)
    chosen = []
    for c, members in enumerate(_members(targets, len(counts))):
        if not 0 <= int(counts[c]) <= len(members):
            raise ValueError(f"counts={int(counts[c])}: must be in [0, {len(members)}], the images of class {c}")
        rng.shuffle(members)
        chosen.append(members[: int(counts[c])])
    return np.concatenate(chosen)


def hold_out(
    targets: ArrayLike, num_classes: int, per_class: int, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Take `per_class` random images of every class out of the pool, before it is made long-tailed.

    Args:
        targets: (N,) integer class per image.
        num_classes: C.
        per_class: images to hold out per class, >= 0.
        seed: seed of the split alone.

    Returns:
        Indices of the remaining pool and of the held-out images, each ascending. With `per_class` = 0 the pool is
        0 .. N - 1, so that the subset drawn from it is the literature's.

    Raises:
        ValueError: `per_class` is negative or leaves a class without a training image.
    """
    if per_class < 0 or per_class != int(per_class):
        raise ValueError(f"validation_per_class={per_class}: must be a whole number >= 0")
    per_class = int(per_class)
    rng = np.random.RandomState(seed)
    held = []
    for c, members in enumerate(_members(targets, num_classes)):
        if len(members) <= per_class:
            raise ValueError(
                f"validation_per_class={per_class}: must leave every class an image, class {c} has {len(members)}"
            )
        held.append(rng.permutation(members)[:per_class])
    is_held = np.zeros(len(np.asarray(targets)), dtype=bool)
    is_held[np.concatenate(held)] = True
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def _members(targets: ArrayLike, num_classes: int) -> list[NDArray[np.int64]]:
    """Return the indices of each class, ascending, by one sort instead of C scans."""
    targets = np.asarray(targets)
    if len(targets) and not 0 <= targets.min() <= targets.max() < num_classes:
        raise ValueError(f"num_classes={num_classes}: targets must be a class in 0 .. {num_classes - 1}")
    order = np.argsort(targets, kind="stable")
    return np.split(order, np.searchsorted(targets[order], np.arange(1, num_classes)))


def _profile(available: Tensor | Sequence[int], ratio: float, at_least: int, share: Callable[[int], float]) -> Tensor:
    """Return n_max * share(i) images for each class i, within `at_least` and what is available."""
    if not (isinstance(ratio, int | float) and 1 <= ratio < math.inf):
        raise ValueError(f"ratio={ratio}: must be a finite number >= 1 (n_max / n_min)")
    check_whole("at_least", at_least, 0)
    available = torch.as_tensor(available, dtype=torch.int64)
    n_max = int(available.max())
    # Python floats in this very order: the papers' totals depend on how the product rounds before it is truncated.
    profile = [int(n_max * share(i)) for i in range(len(available))]
    counts = torch.tensor(profile).clamp(min=at_least).minimum(available)
    return _at_least_one(counts, available, f"ratio={ratio}: ")


def _at_least_one(counts: Tensor, available: Tensor, cause: str) -> Tensor:
    if bool((counts < 1).any()):
        empty = int((counts < 1).nonzero()[0])
        raise ValueError(
            f"{cause}must keep at least 1 image of every class, class {empty} keeps 0 of {int(available[empty])}"
            f" (the largest class has {int(available.max())}; imbalance=none keeps all images)"
        )
    return counts
