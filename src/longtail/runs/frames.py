"""Runs as a pandas DataFrame, for whatever a report does not show."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longtail.runs.reading import Run, column_of, find, read

if TYPE_CHECKING:
    import pandas as pd


def frame(directory: str | Path) -> "pd.DataFrame":
    """Return one row per run in or below a directory, complete or not.

    The columns are `directory`, `seed`, `status`, `options.<group>` with the option of each group by name,
    `settings.<name>` with every setting as composed, and the metrics as `test/<name>` and `val/<name>`, NaN where
    there is no value. `logger`, which changes no result, has no settings.

    Raises:
        ImportError: pandas is not installed.
        ValueError: there is no run.
        OSError: a directory cannot be read.
    """
    try:
        import pandas as pd
    except ImportError:
        raise ImportError("longtail.runs.frame needs pandas: pip install 'longtail[pandas]'") from None
    return pd.DataFrame([_record(read(path)) for path in find(Path(directory))])


def _record(run: Run) -> dict[str, Any]:
    record: dict[str, Any] = {"directory": str(run.directory), "seed": run.seed, "status": run.status}
    record |= {column_of(name): value for name, value in run.values.items() if name != "seed"}
    for part in ("test", "val"):
        metrics = run.metrics.get(part) or {}
        record |= {f"{part}/{name}": math.nan if value is None else value for name, value in metrics.items()}
    return record
