"""Names as others can take them: of classes for W&B and files, of paths for people."""

import re
from collections.abc import Sequence
from pathlib import Path


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
