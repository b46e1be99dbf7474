"""What a model said of the images that it was evaluated on, kept to ask it once, and the tables made of that."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longtail.runs.files import atomic_write, replacing
from longtail.runs.names import as_cells, from_cell

if TYPE_CHECKING:  # reading runs is cheap
    from numpy.typing import NDArray

PREDICTIONS, POSTHOC, PRIOR_SHIFT = "predictions.npz", "posthoc.csv", "prior_shift.csv"
KEYS = {POSTHOC: ("adjustment", "chosen_on"), PRIOR_SHIFT: ("test_prior", "ratio")}  # what tells lines apart
WORDS = ("adjustment", "chosen_on", "test_prior")  # the columns that are no numbers

Line = dict[str, str | float]  # of a table: values by column


def write_predictions(directory: Path, digest: str, arrays: Mapping[str, "NDArray[Any]"]) -> None:
    """Write arrays by name as `predictions.npz`, with a digest of what they follow from."""
    import numpy as np

    with replacing(directory / PREDICTIONS) as part, part.open("wb") as file:
        np.savez(file, **{**arrays, "digest": np.array(digest)})  # type: ignore[arg-type]


def read_predictions(directory: Path, digest: str) -> "dict[str, NDArray[Any]] | None":
    """Return the arrays of `predictions.npz`; None if there are none, no whole ones, or those of something else."""
    import numpy as np

    path = directory / PREDICTIONS
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files} if str(found["digest"]) == digest else None
    except Exception:  # of a zip file, its compression, a header, of memory, ...
        return None


def write_lines(path: Path, lines: Sequence[Line]) -> None:
    """Write the lines of a table, all with the same columns; NaN is left empty."""
    with atomic_write(path) as file:
        writer = csv.writer(file)
        writer.writerow(as_cells(list(lines[0]) if lines else []))
        for line in lines:
            writer.writerow(as_cells("" if value != value else value for value in line.values()))


def read_lines(path: Path) -> list[Line]:
    """Read the lines of a table; an empty number is NaN.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not what `write_lines` writes.
    """
    with path.open(newline="", encoding="utf-8") as file:
        try:
            lines = list(csv.DictReader(file, strict=True))
        except csv.Error as error:
            raise ValueError(f"{path.name}: {error}") from None
    if any(None in line or None in line.values() or not {*KEYS[path.name]} <= line.keys() for line in lines):
        raise ValueError(
            f"{path.name}: must have {', '.join(KEYS[path.name])}, and a value in each column or nothing"
        )
    return [
        {name: from_cell(text) if name in WORDS else float(text or math.nan) for name, text in line.items()}
        for line in lines
    ]
