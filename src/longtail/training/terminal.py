"""What a run says in the terminal."""

import math
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from longtail.runs import Row, Task

MAX_CLASSES, EXTREMES, BAR = 20, 10, 20


def per_class(rows: Sequence[Row], task: Task, worst: int = 3) -> Table:
    """One line per class: name, training images or boxes, weight, its score as number and bar; the worst are marked.

    For more than 20 classes the ten best and the ten worst, best first.
    """
    measured = sorted((row for row in rows if not math.isnan(row[-1])), key=lambda row: row[-1])
    marked = set()
    if measured:
        # Up to half of the classes, with all that are as bad, but never the best.
        bound = measured[max(min(worst, len(measured) // 2), 1) - 1][-1]
        marked = {row[0] for row in measured if row[-1] <= bound and row[-1] < measured[-1][-1]}
    shown = rows
    if len(rows) > MAX_CLASSES:
        best_first = measured[::-1]
        shown = [*best_first[:EXTREMES], *best_first[EXTREMES:][-EXTREMES:]]
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("class")  # which alone is cut where it is narrow
    for title in (task.counted, "weight", task.per_class):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for position, (index, name, train_count, _, weight, accuracy) in enumerate(shown):
        if len(rows) > MAX_CLASSES and position == EXTREMES:
            table.add_row(f"... {len(rows) - len(shown)} more", "", "", "", "")
        number = f"no test {task.counted}" if math.isnan(accuracy) else f"{accuracy:.3f}"
        filled = 0 if math.isnan(accuracy) else round(accuracy * BAR)
        bar = "█" * filled + "·" * (BAR - filled) + ("  ◄ worst" if index in marked else "")
        style = "red" if index in marked else None
        table.add_row(escape(name), f"{train_count:,}", f"{weight:.3f}", number, bar, style=style)
    return table
