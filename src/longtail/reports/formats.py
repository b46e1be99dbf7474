"""A table as Markdown, CSV, LaTeX, and in the terminal."""

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from rich.markup import escape
from rich.table import Table as TerminalTable

from longtail.errors import fitting, two_lines
from longtail.runs import as_cells, relative_path

DIGITS = 3  # behind the point
MIXED = "†"  # marks what comes from runs of different protocols


@dataclass(frozen=True)
class Number:
    """A mean over seeds, with the spread over seeds, or a difference with its interval.

    Attributes:
        mean: the value.
        spread: sample standard deviation over seeds.
        low, high: 95 % interval.
        n: seeds, where they are fewer than the row says, or too few for an interval to say much.
        unpaired: whether it is a difference between runs of other seeds.
        constant: whether it is a difference that all seeds agree in, which has no interval.
        best: whether it is set in bold.
        signed: whether a plus is written.
        mixed: whether it is marked.
        digits: behind the point.
    """

    mean: float
    spread: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    unpaired: bool = False
    constant: bool = False
    best: bool = False
    signed: bool = False
    mixed: bool = False
    digits: int = DIGITS

    def text(self, plus_minus: str = "±") -> str:
        """`0.769 ± 0.004` or `+0.012 [+0.003, +0.021]`, in three digits if not told otherwise."""
        form = f"{'+' if self.signed else ''}.{self.digits}f"
        parts = [f"{self.mean:{form}}"]
        if self.spread is not None:
            parts.append(f"{plus_minus} {self.spread:.{self.digits}f}")
        if self.low is not None and self.high is not None:
            parts.append(f"[{self.low:{form}}, {self.high:{form}}]")
        return " ".join(parts)

    @property
    def remark(self) -> str:
        """What stands behind the number: ` (unpaired, n = 2) †`."""
        n = f"n = {self.n}{', all equal' if self.constant else ''}" if self.n is not None else ""
        said = [*(["unpaired"] if self.unpaired else []), *([n] if n else [])]
        return (f" ({', '.join(said)})" if said else "") + (f" {MIXED}" if self.mixed else "")


Entry = str | int | float | Number | Path | None  # a path is that of a run
Value = str | int | float | None  # of an entry in a file


@dataclass(frozen=True)
class Column:
    """A column: its name in a file, and its heading."""

    key: str
    title: str


@dataclass(frozen=True)
class Table:
    """Rows of entries under columns; what is measured stands to the right.

    Attributes:
        title: what it shows.
        columns: name and heading of each.
        rows: each as long as `columns`; None where there is no value.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Entry]]

    def without_empty_columns(self) -> "Table":
        """The table without the columns in which no row has a value."""
        keep = [i for i in range(len(self.columns)) if any(row[i] not in (None, "") for row in self.rows)]
        return Table(self.title, [self.columns[i] for i in keep], [[row[i] for i in keep] for row in self.rows])

    @cached_property
    def is_text(self) -> Sequence[bool]:
        """Whether each column holds words, which stand to the left."""
        return [any(isinstance(row[i], str | Path) for row in self.rows) for i in range(len(self.columns))]


def text(entry: Entry) -> str:
    """An entry in plain text; nothing for None and NaN."""
    if _is_blank(entry):
        return ""
    if isinstance(entry, Number):
        return entry.text() + entry.remark
    if isinstance(entry, Path):
        return relative_path(entry)
    return f"{entry:.{DIGITS}f}" if isinstance(entry, float) else str(entry)


def markdown(table: Table) -> str:
    """A GitHub table; the best in bold."""

    def cell(entry: Entry) -> str:
        if isinstance(entry, Number):
            return f"**{entry.text()}**{entry.remark}" if entry.best else text(entry)
        return markdown_escape(text(entry))

    marks = ["---" if table.is_text[i] else "---:" for i in range(len(table.columns))]
    titles = [markdown_escape(column.title) for column in table.columns]
    lines = [titles, marks, *([cell(entry) for entry in row] for row in table.rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def markdown_escape(plain: str) -> str:
    """Plain text for one line of Markdown; a `_` within a word needs nothing."""
    one_line = " ".join(plain.split())
    return re.sub(r"[\\|*`<>&~\[\]]|(?<!\w)_|_(?!\w)", lambda match: f"\\{match[0]}", one_line)


def flat(table: Table) -> tuple[list[str], list[tuple[Value, ...]]]:
    """Names and rows of plain values; what else a number has, its spread, interval or n, in columns of their own."""
    header: list[str] = []
    columns: list[list[Value]] = []
    for i, column in enumerate(table.columns):
        entries = [row[i] for row in table.rows]
        header.append(column.key)
        columns.append(list(map(_plain, entries)))
        for name, suffix in (("spread", "seed_std"), ("low", "low"), ("high", "high"), ("n", "n")):
            further = [getattr(entry, name, None) for entry in entries]
            if any(value is not None for value in further):
                header.append(f"{column.key}_{suffix}")
                columns.append(further)
    return header, list(zip(*columns, strict=True))


def comma_separated(table: Table) -> str:
    """CSV with every digit, in which no text is a spreadsheet's formula."""
    header, rows = flat(table)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows(map(as_cells, (header, *rows)))
    return buffer.getvalue()


def latex(table: Table) -> str:
    r"""A `tabular` with the rules of booktabs (`\usepackage{booktabs}`); the best in bold."""

    def cell(entry: Entry) -> str:
        if not isinstance(entry, Number):
            return latex_escape(text(entry))
        plain = entry.text(plus_minus=r"\pm")
        # In mathematics, so that a minus is one.
        return (rf"$\mathbf{{{plain}}}$" if entry.best else f"${plain}$") + latex_escape(entry.remark)

    form = "".join("l" if table.is_text[i] else "r" for i in range(len(table.columns)))
    lines = [
        f"% {' '.join(table.title.split())}",
        rf"\begin{{tabular}}{{{form}}}",
        r"\toprule",
        " & ".join(latex_escape(column.title) for column in table.columns) + r" \\",
        r"\midrule",
        *(" & ".join(cell(entry) for entry in row) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def latex_escape(plain: str) -> str:
    """Plain text for LaTeX."""
    special = {
        "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
        "|": r"\textbar{}", "<": r"\textless{}", ">": r"\textgreater{}", MIXED: r"\dag{}",
        "[": "{[}", "*": "{*}",  # which would belong to the end of the row above
    }  # fmt: skip
    special |= {letter: f"\\{letter}" for letter in "&%$#_{}"}
    return re.sub("|".join(map(re.escape, special)), lambda match: special[match[0]], re.sub(r"\s", " ", plain))


def terminal(table: Table, width: int) -> TerminalTable:
    """For a terminal that is so many letters wide; the best in bold.

    A count that is the same in all rows stands in the title. What does not fit has headings of two lines, then no
    intervals, then no spreads; names are never broken, even if the lines are too long then.
    """
    same = [
        i for i in range(len(table.columns)) if len({row[i] for row in table.rows}) == 1 < len(table.rows)
        and isinstance(table.rows[0][i], int)
    ]  # fmt: skip
    title = "".join([table.title, *(f", {table.columns[i].title} {table.rows[0][i]}" for i in same)])
    kept = [i for i in range(len(table.columns)) if i not in same]

    def drawn(fold: bool, intervals: bool, spreads: bool) -> TerminalTable:
        shown = TerminalTable(
            box=None,
            title=escape(title),
            title_justify="left",
            header_style="bold",
            padding=(0, 2, 0, 0),
            pad_edge=False,
            min_width=len(title),
        )
        for i in kept:
            heading = table.columns[i].title
            side: Literal["left", "right"] = "left" if table.is_text[i] else "right"
            shown.add_column(escape(two_lines(heading) if fold else heading), justify=side, no_wrap=True)
        for row in table.rows:
            shown.add_row(*(_terminal_cell(row[i], intervals, spreads) for i in kept))
        return shown

    attempts = ((False, True, True), (True, True, True), (True, False, True), (True, False, False))
    return fitting((drawn(*attempt) for attempt in attempts), width)


def _terminal_cell(entry: Entry, intervals: bool, spreads: bool) -> str:
    if not isinstance(entry, Number):
        return escape(text(entry))
    low = entry.low if intervals else None
    plain = replace(entry, low=low, spread=entry.spread if spreads else None).text()
    return f"[bold]{escape(plain)}[/bold]{entry.remark}" if entry.best else escape(plain + entry.remark)


def _is_blank(entry: Entry) -> bool:
    return entry is None or (isinstance(entry, float) and math.isnan(entry))


def _plain(entry: Entry) -> Value:
    if isinstance(entry, Number):
        return entry.mean
    return None if _is_blank(entry) else relative_path(entry) if isinstance(entry, Path) else entry
