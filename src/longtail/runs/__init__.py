"""The run directory: the one owner of its files, which writes them, finds runs and reads them back.

Importing it is cheap: no PyTorch, no NumPy, no pandas.
"""

from longtail.runs.composed import flatten
from longtail.runs.facts import Facts, read_facts
from longtail.runs.files import (
    FAILURE,
    LAST,
    PER_CLASS,
    Row,
    atomic_write,
    check_links,
    class_rows,
    clear,
    read_failure,
    read_loss_shares,
    read_metrics,
    read_per_class,
    read_precision_recall,
    replacing,
    write_confusion,
    write_failure,
    write_loss_shares,
    write_metrics,
    write_per_class,
    write_precision_recall,
)
from longtail.runs.frames import frame
from longtail.runs.names import as_cells, relative_path, safe_names
from longtail.runs.predictions import (
    POSTHOC,
    PREDICTIONS,
    PRIOR_SHIFT,
    Line,
    read_lines,
    read_predictions,
    write_lines,
    write_predictions,
)
from longtail.runs.provenance import digest, fingerprint, git_revision
from longtail.runs.reading import GROUPS, Run, column_of, directories, find, is_experiment, read
from longtail.runs.task import CLASSIFICATION, Task

__all__ = [
    "CLASSIFICATION",
    "FAILURE",
    "GROUPS",
    "LAST",
    "PER_CLASS",
    "POSTHOC",
    "PREDICTIONS",
    "PRIOR_SHIFT",
    "Facts",
    "Line",
    "Row",
    "Run",
    "Task",
    "as_cells",
    "atomic_write",
    "check_links",
    "class_rows",
    "clear",
    "column_of",
    "digest",
    "directories",
    "find",
    "fingerprint",
    "flatten",
    "frame",
    "git_revision",
    "is_experiment",
    "read",
    "read_facts",
    "read_failure",
    "read_lines",
    "read_loss_shares",
    "read_metrics",
    "read_per_class",
    "read_precision_recall",
    "read_predictions",
    "relative_path",
    "replacing",
    "safe_names",
    "write_confusion",
    "write_failure",
    "write_lines",
    "write_loss_shares",
    "write_metrics",
    "write_per_class",
    "write_precision_recall",
    "write_predictions",
]
