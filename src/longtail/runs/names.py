"""Names as others can take them: of classes for W&B, files and spreadsheets, of paths for people."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")
FORMULA = r"[=+\-@\t\r\n＝＋－＠]"  # what begins one in a spreadsheet


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


def as_cells(values: Iterable[Value]) -> list[Value | str]:
    """Return the values of a row of CSV, with an apostrophe before text that a spreadsheet would compute.

    Numbers, also those in text, stay as they are; `from_cell` gives the text back.
    """
    return [f"'{value}" if isinstance(value, str) and _is_computed(value) else value for value in values]


def from_cell(text: str) -> str:
    """Return the text that `as_cells` was given."""
    return text[1:] if text.startswith("'") and _is_computed(text[1:]) else text


def _is_computed(text: str) -> bool:
    if not re.match(f"'*{FORMULA}", text):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False
