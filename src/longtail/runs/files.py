"""The files of a run directory, each written whole or not at all, and read back."""

import contextlib
import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from longtail.errors import InputError
from longtail.runs.names import as_cells, from_cell
from longtail.runs.task import CLASSIFICATION, Task

METRICS, PER_CLASS, CONFUSION, FAILURE = "metrics.json", "per_class.csv", "confusion.csv", "failure.txt"
PRECISION_RECALL, LOSS_SHARES = "precision_recall.csv", "loss_shares.csv"
RESULTS = (
    METRICS,
    PER_CLASS,
    CONFUSION,
    PRECISION_RECALL,
    LOSS_SHARES,
    "*.part",
    FAILURE,
    "figures/*.png",
    "evaluation/*.*",
    "checkpoints/*.part",
)
CHECKPOINTS, LAST = "checkpoints/*.ckpt", "checkpoints/last.ckpt"


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
    if not (directory / METRICS).is_file():  # a pipe may be waited for without end
        return None
    try:
        metrics = json.loads((directory / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return metrics if isinstance(metrics, dict) and isinstance(metrics.get("test"), dict) else None


def write_per_class(directory: Path, rows: Sequence[Row], task: Task = CLASSIFICATION) -> None:
    """Write the rows as `per_class.csv`; a score that is NaN is left empty."""
    with atomic_write(directory / PER_CLASS) as file:
        writer = csv.writer(file)
        writer.writerow(as_cells(task.columns))
        writer.writerows(as_cells((*row[:-1], "" if math.isnan(row[-1]) else row[-1])) for row in rows)


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
        Row(int(index), from_cell(name), int(train), int(test), float(weight), float(score or "nan"))
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


def write_precision_recall(
    directory: Path, recall: Sequence[float], precision: Mapping[str, Sequence[float]]
) -> None:
    """Write the precision of each class by name at R recalls, (R,), as `precision_recall.csv`; NaN is left empty."""
    _write_columns(directory / PRECISION_RECALL, ["recall", *precision], [recall, *precision.values()])


def read_precision_recall(directory: Path) -> tuple[list[float], dict[str, list[float]]]:
    """Read recall (R,) and the precision (R,) of each class by name.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not what `write_precision_recall` writes.
    """
    names, (recall, *precision) = _read_columns(directory / PRECISION_RECALL)
    return recall, dict(zip(names[1:], precision, strict=True))


def write_loss_shares(directory: Path, shares: Mapping[str, Sequence[float]]) -> None:
    """Write what the loss of training steps was made of, `step` and further columns, as `loss_shares.csv`."""
    _write_columns(directory / LOSS_SHARES, list(shares), list(shares.values()))


def read_loss_shares(directory: Path) -> dict[str, list[float]]:
    """Read the columns of `loss_shares.csv` by name, `step` among them.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not what `write_loss_shares` writes.
    """
    names, columns = _read_columns(directory / LOSS_SHARES)
    if "step" not in names:
        raise ValueError(f"{LOSS_SHARES}: must have a column step")
    return dict(zip(names, columns, strict=True))


def read_failure(directory: Path) -> str | None:
    """Return why a run failed, as one line; None if it does not say."""
    if (directory / FAILURE).is_symlink():  # to anything, which a report would then show
        return f"its {FAILURE} is a link"
    try:
        text = (directory / FAILURE).read_text("utf-8", errors="replace")
    except OSError:
        return None
    return " ".join(text.split()) or f"an empty {FAILURE}, as a full disk leaves it"


def write_failure(directory: Path, line: str) -> None:
    """Note why a run has failed, as well as the disk allows."""
    with contextlib.suppress(OSError), atomic_write(directory / FAILURE) as file:
        file.write(line + "\n")


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[TextIO]:
    """Open a text file for writing that replaces `path` when the block ends, and not if it raises."""
    with replacing(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        yield file


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a file beside `path` that replaces it when the block ends, and is removed if it raises."""
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def check_links(directory: Path) -> None:
    """Check that a directory is no link and has none, by which writing would reach files elsewhere; W&B has its own.

    Nor may it have a pipe, at which writing would wait without end.

    Raises:
        InputError: naming the first one.
    """
    for path in (directory, *sorted(directory.rglob("*"))):
        if "wandb" in path.relative_to(directory).parts:
            continue
        if path.is_symlink():
            raise InputError(f"{path}: must not be a link, for what is written there would change {path.resolve()}")
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise InputError(f"{path}: must be a file or a directory")


def _write_columns(path: Path, names: Sequence[str], columns: Sequence[Sequence[float]]) -> None:
    with atomic_write(path) as file:
        writer = csv.writer(file)
        writer.writerow(as_cells(names))
        for row in zip(*columns, strict=True):
            writer.writerow("" if math.isnan(value) else value for value in row)


def _read_columns(path: Path) -> tuple[list[str], list[list[float]]]:
    with path.open(newline="", encoding="utf-8") as file:
        try:
            names, *rows = csv.reader(file)
        except csv.Error as error:
            raise ValueError(f"{path.name}: {error}") from None
    if not names or any(len(row) != len(names) for row in rows):
        raise ValueError(f"{path.name}: must have a number in each column, or nothing")
    return list(map(from_cell, names)), [[float(row[i] or "nan") for row in rows] for i in range(len(names))]


def _nan_to_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _nan_to_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nan_to_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def clear(directory: Path, keep_checkpoints: bool = False) -> None:
    """Remove the results of an earlier run in a directory, the one by which it counts as finished first."""
    for pattern in RESULTS if keep_checkpoints else (*RESULTS, CHECKPOINTS):
        for path in directory.glob(pattern):
            path.unlink()
