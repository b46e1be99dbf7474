"""A table as Markdown, CSV, LaTeX, and in the terminal."""

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.markup import escape
from rich.table import Table as TerminalTable


@dataclass(frozen=True)
class Number:
    """A mean over seeds, with the spread over seeds, or a difference with its interval.

    Attributes:
        mean: the value.
        spread: sample standard deviation over seeds.
        low, high: 95 % interval.
        best: whether it is set in bold.
        signed: whether a plus is written.
    """

    mean: float
    spread: float | None = None
    low: float | None = None
    high: float | None = None
    best: bool = False
    signed: bool = False

    def text(self, plus_minus: str = "±") -> str:
        """`0.769 ± 0.004` or `+0.012 [+0.003, +0.021]`, three digits."""
        form = "+.3f" if self.signed else ".3f"
        parts = [f"{self.mean:{form}}"]
        if self.spread is not None:
            parts.append(f"{plus_minus} {self.spread:.3f}")
        if self.low is not None and self.high is not None:
            parts.append(f"[{self.low:{form}}, {self.high:{form}}]")
        return " ".join(parts)


Entry = str | int | float | Number | None


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

    def is_text(self, column: int) -> bool:
        """Whether a column holds words, which stand to the left."""
        return any(isinstance(row[column], str) for row in self.rows)


def text(entry: Entry) -> str:
    """An entry in plain text; nothing for None and NaN."""
    if entry is None or (isinstance(entry, float) and math.isnan(entry)):
        return ""
    if isinstance(entry, Number):
        return entry.text()
    return f"{entry:.3f}" if isinstance(entry, float) else str(entry)


def markdown(table: Table) -> str:
    """A GitHub table; the best in bold."""

    def cell(entry: Entry) -> str:
        plain = text(entry).replace("|", "\\|").replace("\n", " ")
        return f"**{plain}**" if isinstance(entry, Number) and entry.best else plain

    marks = ["---" if table.is_text(i) else "---:" for i in range(len(table.columns))]
    lines = [[column.title for column in table.columns], marks, *([cell(e) for e in row] for row in table.rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def comma_separated(table: Table) -> str:
    """CSV with every digit; a mean has its spread or its interval in columns of their own."""
    parts: list[list[str]] = []
    for i in range(len(table.columns)):
        numbers = [row[i] for row in table.rows if isinstance(row[i], Number)]
        present = {name for n in numbers for name in ("spread", "low", "high") if getattr(n, name) is not None}
        parts.append([name for name in ("spread", "low", "high") if name in present])
    header = []
    for column, further in zip(table.columns, parts, strict=True):
        names = {"spread": "seed_std", "low": "low", "high": "high"}
        header += [column.key, *(f"{column.key}_{names[name]}" for name in further)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for row in table.rows:
        line: list[object] = []
        for entry, further in zip(row, parts, strict=True):
            if isinstance(entry, Number):
                line += [entry.mean, *(getattr(entry, name) for name in further)]
            else:
                blank = entry is None or (isinstance(entry, float) and math.isnan(entry))
                line += ["" if blank else entry, *[""] * len(further)]
        writer.writerow(line)
    return buffer.getvalue()


def latex(table: Table) -> str:
    r"""A `tabular` with the rules of booktabs (`\usepackage{booktabs}`); the best in bold."""

    def cell(entry: Entry) -> str:
        if not isinstance(entry, Number):
            return latex_escape(text(entry))
        plain = entry.text(plus_minus=r"\pm")
        # In mathematics, so that a minus is one.
        return rf"$\mathbf{{{plain}}}$" if entry.best else f"${plain}$"

    form = "".join("l" if table.is_text(i) else "r" for i in range(len(table.columns)))
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
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
    special |= {c: f"\\{c}" for c in "&%$#_{}"} | {"†": r"\dag{}"} | {"<": r"\textless{}", ">": r"\textgreater{}"}
    return re.sub("|".join(map(re.escape, special)), lambda match: special[match[0]], plain)


def terminal(table: Table) -> TerminalTable:
    """For the terminal; the best in bold."""
    shown = TerminalTable(box=box.SIMPLE_HEAD, title=escape(table.title), title_justify="left", pad_edge=False)
    for i, column in enumerate(table.columns):
        shown.add_column(escape(column.title), justify="left" if table.is_text(i) else "right")
    for row in table.rows:
        cells = [escape(text(entry)) for entry in row]
        bold = [isinstance(entry, Number) and entry.best for entry in row]
        shown.add_row(*(f"[bold]{c}[/bold]" if b else c for c, b in zip(cells, bold, strict=True)))
    return shown
