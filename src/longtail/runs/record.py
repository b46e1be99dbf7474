"""What a run leaves on disk: metrics, a row per class, its confusion matrix, and what makes two runs comparable."""

import contextlib
import csv
import hashlib
import json
import math
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from longtail import __version__

if TYPE_CHECKING:  # the command line imports this module before it knows that it will need numpy
    import numpy as np
    from numpy.typing import NDArray

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "wandb", "numpy")
COLUMNS = ("class_index", "class_name", "train_count", "test_count", "weight", "accuracy")

Row = tuple[int, str, int, int, float, float]


def fingerprint(train_indices: "NDArray[np.int64]", **facts: Any) -> dict[str, Any]:
    """What must agree for two runs to be compared.

    Args:
        train_indices: the chosen training images, (N,) int64; recorded as the SHA-256 of their little-endian bytes.
        **facts: class_counts, parameters, steps, images_seen, augmentation, reduction, selection, seed, ...

    Returns:
        The facts, with `train_indices_sha256`, `versions` and `git_revision` (None outside a git checkout).
    """
    digest = hashlib.sha256(train_indices.astype("<i8").tobytes()).hexdigest()
    return {
        "train_indices_sha256": digest,
        **facts,
        "versions": {"longtail": __version__, **{name: _version(name) for name in PACKAGES}},
        "git_revision": git_revision(),
    }


def git_revision() -> str | None:
    """The commit of the checkout that this package lies in, with `-dirty` if it was changed since."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def class_rows(
    class_names: Sequence[str],
    train_counts: Sequence[int],
    test_counts: Sequence[int],
    weights: Sequence[float],
    accuracy: Sequence[float],
) -> list[Row]:
    """One row per class, in the columns of `per_class.csv`."""
    columns = (range(len(class_names)), class_names, train_counts, test_counts, weights, accuracy)
    return list(zip(*columns, strict=True))


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write JSON in which NaN is null."""
    with atomic_write(path) as file:
        file.write(json.dumps(_nan_to_none(metrics), indent=2, allow_nan=False) + "\n")


def read_metrics(directory: Path) -> dict[str, Any] | None:
    """What a run left in `metrics.json`; None if it has not finished: there is none, or no whole one."""
    try:
        metrics = json.loads((directory / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return metrics if isinstance(metrics, dict) and isinstance(metrics.get("test"), dict) else None


def write_per_class(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows as CSV; an accuracy that is NaN is left empty."""
    with atomic_write(path) as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows((*row[:-1], "" if math.isnan(row[-1]) else row[-1]) for row in rows)


def write_confusion(path: Path, confusion: Sequence[Sequence[int]]) -> None:
    """Write a confusion matrix (C, C) of test images: a line per true class, a column per predicted class."""
    with atomic_write(path) as file:
        csv.writer(file).writerows(confusion)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[TextIO]:
    """A text file that is there with all that is written to it, or not at all."""
    part = path.with_name(f"{path.name}.part")
    with part.open("w", newline="", encoding="utf-8") as file:
        yield file
    part.replace(path)


def safe_names(names: Sequence[str]) -> list[str]:
    """Names that W&B can sort and filter, `[_a-zA-Z][_a-zA-Z0-9]*`, made distinct where two become the same."""
    safe: list[str] = []
    taken: set[str] = set()
    for index, name in enumerate(names):
        candidate = re.sub(r"[^a-zA-Z0-9_]", "_", name)
        if not re.match(r"[_a-zA-Z]", candidate):
            candidate = f"_{candidate}"
        while candidate in taken:
            candidate = f"{candidate}_{index}"
        taken.add(candidate)
        safe.append(candidate)
    return safe


def relative_path(path: Path) -> str:
    """Relative to the working directory where it lies below it."""
    path = path.absolute()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # imported from a folder
        return None


def _nan_to_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _nan_to_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nan_to_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
