"""The files of a run directory, each written whole or not at all, and read back."""

import contextlib
import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from longtail.runs.task import CLASSIFICATION, Task

METRICS, PER_CLASS, CONFUSION, FAILURE = "metrics.json", "per_class.csv", "confusion.csv", "failure.txt"
RESULTS = (
    METRICS,
    PER_CLASS,
    CONFUSION,
    "*.part",
    FAILURE,
    "checkpoints/*.ckpt",
    "figures/*.png",
    "evaluation/*.*",
)


class Row(NamedTuple):
    """What `per_class.csv` says of a class; `score` is the primary metric of it, NaN without test images."""

    class_index: int
    class_name: str
    train_count: int
    test_count: int
    weight: float
    score: float


def class_rows(
    class_names: Sequence[str],
    train_counts: Sequence[int],
    test_counts: Sequence[int],
    weights: Sequence[float],
    scores: Sequence[float],
) -> list[Row]:
    """Return one row per class.

    Raises:
        ValueError: the arguments differ in length.
    """
    columns = (range(len(class_names)), class_names, train_counts, test_counts, weights, scores)
    return [Row(*values) for values in zip(*columns, strict=True)]


def write_metrics(directory: Path, metrics: Mapping[str, Any]) -> None:
    """Write `metrics.json`, in which NaN is null. It marks the run as complete, so write it last."""
    with atomic_write(directory / METRICS) as file:
        file.write(json.dumps(_nan_to_none(metrics), indent=2, allow_nan=False) + "\n")


def read_metrics(directory: Path) -> dict[str, Any] | None:
    """Return the content of `metrics.json`; None if the run has not finished: there is none, or no whole one."""
    try:
        metrics = json.loads((directory / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return metrics if isinstance(metrics, dict) and isinstance(metrics.get("test"), dict) else None


def write_per_class(directory: Path, rows: Sequence[Row], task: Task = CLASSIFICATION) -> None:
    """Write the rows as `per_class.csv`; a score that is NaN is left empty."""
    with atomic_write(directory / PER_CLASS) as file:
        writer = csv.writer(file)
        writer.writerow(task.columns)
        writer.writerows((*row[:-1], "" if math.isnan(row[-1]) else row[-1]) for row in rows)


def read_per_class(directory: Path) -> list[Row]:
    """Read `per_class.csv`, whatever its metric is called.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not what `write_per_class` writes.
    """
    with (directory / PER_CLASS).open(newline="", encoding="utf-8") as file:
        try:
            header, *lines = csv.reader(file)
        except csv.Error as error:
            raise ValueError(f"{PER_CLASS}: {error}") from None
    if tuple(header[:-1]) != CLASSIFICATION.columns[:-1]:
        raise ValueError(f"{PER_CLASS}: must have the columns {', '.join(CLASSIFICATION.columns)}")
    return [
        Row(int(index), name, int(train), int(test), float(weight), float(score or "nan"))
        for index, name, train, test, weight, score in lines
    ]


def write_confusion(directory: Path, confusion: Sequence[Sequence[int]]) -> None:
    """Write a confusion matrix (C, C) of test images: a line per true class, a column per predicted class."""
    with atomic_write(directory / CONFUSION) as file:
        csv.writer(file).writerows(confusion)


def read_confusion(directory: Path) -> list[list[int]]:
    """Read the confusion matrix (C, C), [true, predicted].

    Raises:
        OSError: it cannot be read.
        ValueError: it is no square of whole numbers.
    """
    lines = (directory / CONFUSION).read_text("utf-8").split()
    cells = [list(map(int, line.split(","))) for line in lines]
    if not cells or any(len(line) != len(cells) for line in cells):
        raise ValueError(f"{CONFUSION}: must have as many columns as lines")
    return cells


def read_failure(directory: Path) -> str | None:
    """Return why a run failed, as one line; None if it does not say."""
    try:
        text = (directory / FAILURE).read_text("utf-8", errors="replace")
    except OSError:
        return None
    return " ".join(text.split()) or f"an empty {FAILURE}"


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[TextIO]:
    """Open a text file for writing that replaces `path` when the block ends, and not if it raises."""
    part = path.with_name(f"{path.name}.part")
    with part.open("w", newline="", encoding="utf-8") as file:
        yield file
    part.replace(path)


def _nan_to_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _nan_to_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nan_to_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def clear(directory: Path) -> None:
    """Remove the results of an earlier run in a directory, the one by which it counts as finished first."""
    for pattern in RESULTS:
        for path in directory.glob(pattern):
            path.unlink()
