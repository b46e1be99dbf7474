"""Digits scattered over noisy canvases: a detection set that is made in seconds, with nothing to download."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from longtail.datasets import ArrayImages
from longtail.detection.boxes import Objects
from longtail.detection.scenes import Scenes, canvas
from longtail.errors import text_of
from longtail.imbalance import hold_out, subsample
from longtail.ranges import check_finite, check_whole, pair

HELD_OUT = {"test": 36, "validation": 18}  # source digits of each class, of about 180
SIDES = 16, 40  # pixels of the square that a digit is drawn in
CONTRAST = 0.35, 1.0
INK = 0.15  # what is fainter than this share of full ink is not drawn
OVERLAP = 0.1  # at most this share of the smaller of two boxes is covered by the other
TRIES = 200  # to place a digit
LEAST_AREA = 16  # pixels of a canvas to a digit
MOST_BYTES = 8e9  # of the canvases of a part

Digits = list[NDArray[np.float32]]  # of each class: (K, 8, 8) in [0, 1]
Labels = list[NDArray[np.int64]]  # of each canvas: the digits on it


def scattered_digits(
    profile: Callable[[Tensor], Tensor],
    objects_per_class: int = 1500,
    validation_images: int = 150,
    test_images: int = 500,
    image_size: int | Sequence[int] = 128,
    digits_per_image: Sequence[int] = (1, 6),
    noise: float = 0.12,
    seed: int = 0,
) -> Scenes:
    """Scatter scikit-learn's 8 x 8 digits over grey canvases of coarse texture and Gaussian noise.

    The 1,797 source digits are split into those of training, validation and test before any is placed. Training
    objects follow the profile, and so do the different source digits of a class: a rare class is drawn seldom, and
    from few originals. Validation and test are balanced. A digit is drawn 16 to 40 pixels large at a contrast of
    0.35 to 1, its box is tight around what is drawn, and two boxes share at most a tenth of the smaller one.

    Args:
        profile: the imbalance, (available (C,)) -> counts (C,).
        objects_per_class: training objects of a class where the profile takes none away; there are as many canvases
            as they fill.
        validation_images: number of canvases; 0 for none.
        test_images: number of canvases.
        image_size: side of the canvas, or [height, width], in pixels.
        digits_per_image: the fewest and the most on a canvas, uniformly distributed.
        noise: standard deviation of the noise; black is 0 and white 1.
        seed: of the data alone.

    Raises:
        ValueError: a setting is outside its range, or so many digits do not fit on a canvas.
    """
    size = canvas(image_size, least=SIDES[1])
    check_whole("objects_per_class", objects_per_class, 1, most=10**7)
    check_whole("validation_images", validation_images, 0)
    check_whole("test_images", test_images, 1)
    check_whole("seed", seed, 0)
    check_finite("noise", noise, below=1)
    per_image = pair(digits_per_image)
    if per_image is None or not 1 <= per_image[0] <= per_image[1]:
        wrong = text_of(digits_per_image)
        raise ValueError(f"digits_per_image={wrong}: must be [fewest, most], whole numbers, 1 <= fewest <= most")
    crowded = (
        f"digits_per_image={text_of([*per_image])}: must be fewer, or the canvas larger; so many do not fit on it"
    )
    if per_image[1] * LEAST_AREA > size[0] * size[1]:
        raise ValueError(crowded)
    check_memory("validation_images", validation_images, validation_images, size)
    check_memory("test_images", test_images, test_images, size)
    sources = _sources(seed)
    available = torch.full((len(sources["train"]),), objects_per_class)
    counts = torch.as_tensor(profile(available), dtype=torch.int64)
    check_memory("objects_per_class", objects_per_class, 2 * int(counts.sum()) / sum(per_image), size)
    sources["train"] = _thinned(sources["train"], (counts / objects_per_class).tolist(), seed)

    def scatter(part: int, name: str, images: int | None) -> ArrayImages:
        rng = np.random.default_rng([seed, part])
        if images is None:
            labels = _training_labels(counts, per_image, rng)
        else:
            labels = _balanced_labels(len(counts), per_image, images, rng)
        try:
            return _scenes(labels, sources[name], size, noise, rng)
        except NoRoomError as error:
            raise ValueError(crowded) from error

    return Scenes(
        train=scatter(0, "train", None),
        test=scatter(1, "test", test_images),
        class_names=[str(digit) for digit in range(len(counts))],
        image_shape=(1, *size),
        validation=scatter(2, "validation", validation_images) if validation_images else None,
    )


class NoRoomError(Exception):
    """A digit does not fit on its canvas, beside those that are placed."""


def check_memory(name: str, value: int, images: float, size: tuple[int, int]) -> None:
    """Check that so many canvases of (H, W), which a setting asks for, take no more than `MOST_BYTES`.

    Raises:
        ValueError: they take more.
    """
    taken = images * size[0] * size[1]
    if taken > MOST_BYTES:
        most = f"{MOST_BYTES / 1e9:g} GB"
        raise ValueError(f"{name}={value}: must give canvases of {most} or less, not {taken / 1e9:,.1f} GB")


def _sources(seed: int) -> dict[str, Digits]:
    """Split scikit-learn's digits, class by class."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels, targets = (bunch.images / 16).astype(np.float32), bunch.target
    parts = {"train": np.arange(len(targets))}
    for name, per_class in HELD_OUT.items():
        kept, held = hold_out(targets[parts["train"]], 10, per_class, seed)
        parts["train"], parts[name] = parts["train"][kept], parts["train"][held]
    return {
        name: [pixels[indices[targets[indices] == digit]] for digit in range(10)] for name, indices in parts.items()
    }


def _thinned(sources: Digits, shares: Sequence[float], seed: int) -> Digits:
    """Keep a share of the source digits of each class, at least one."""
    return [
        digits[subsample(np.zeros(len(digits), int), [max(1, round(len(digits) * share))], seed)]
        for digits, share in zip(sources, shares, strict=True)
    ]


def _training_labels(counts: Tensor, per_image: tuple[int, int], rng: np.random.Generator) -> Labels:
    """Spread so many objects of each class over as many canvases as they fill."""
    labels = rng.permutation(np.arange(len(counts)).repeat(counts))
    filled = rng.integers(*per_image, len(labels), endpoint=True).cumsum()
    return np.split(labels, filled[filled < len(labels)])


def _balanced_labels(classes: int, per_image: tuple[int, int], images: int, rng: np.random.Generator) -> Labels:
    """Spread as many objects of each class as of any other, give or take one, over so many canvases."""
    filled = rng.integers(*per_image, images, endpoint=True).cumsum()
    return np.split(rng.permutation(np.arange(filled[-1]) % classes), filled[:-1])


def _scenes(
    labels: Labels, sources: Digits, size: tuple[int, int], noise: float, rng: np.random.Generator
) -> ArrayImages:
    """Draw a canvas for each list of labels; a class takes its source digits in turn."""
    turns = [0] * len(sources)
    pixels = np.empty((len(labels), *size, 1), np.uint8)
    boxes = []
    for image, wanted in zip(pixels, labels, strict=True):
        coarse = Image.fromarray(rng.uniform(0, 0.4, (size[0] // 16 + 1, size[1] // 16 + 1)).astype(np.float32))
        ground = np.array(coarse.resize(size[::-1], Image.Resampling.BICUBIC))
        ink, placed = np.zeros(size, np.float32), np.empty((0, 4), np.int64)
        for label in wanted:
            digit = sources[label][turns[label] % len(sources[label])]
            turns[label] += 1
            tile, box = _place(digit, placed, rng, size)
            there = ink[box[1] : box[3], box[0] : box[2]]
            np.maximum(there, tile * rng.uniform(*CONTRAST), out=there)
            placed = np.concatenate((placed, box[None]))
        grey = ground + ink + noise * rng.standard_normal(size, np.float32)
        image[..., 0] = np.round(grey.clip(0, 1) * 255)
        boxes.append(torch.from_numpy(placed).float())
    return ArrayImages(pixels, Objects.padded(boxes, [torch.from_numpy(wanted) for wanted in labels]))


def _place(
    digit: NDArray[np.float32], placed: NDArray[np.int64], rng: np.random.Generator, size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the ink of a digit, cut to what is drawn, and a box for it beside those that are placed."""
    for _ in range(TRIES):
        side = int(rng.integers(*SIDES, endpoint=True))
        tile = np.array(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)).clip(0, 1)
        rows, columns = (np.flatnonzero((tile > INK).any(axis)) for axis in (1, 0))
        tile = tile[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        height, width = tile.shape
        x, y = rng.integers(0, (size[1] - width, size[0] - height), endpoint=True)
        box = np.array([x, y, x + width, y + height])
        shared = (np.minimum(box[2:], placed[:, 2:]) - np.maximum(box[:2], placed[:, :2])).clip(0).prod(1)
        areas = (placed[:, 2:] - placed[:, :2]).prod(1)
        if (shared <= OVERLAP * np.minimum(areas, tile.size)).all():
            return np.where(tile > INK, tile, 0), box
    raise NoRoomError
