import csv
import io
import re

import pytest
from rich.console import Console

from longtail.reports import formats
from longtail.reports.formats import Column, Number, Table, comma_separated, latex, markdown, text

NAN = float("nan")
NASTY = [
    "a|b",
    "50 %",
    "class_balanced_sqrt",
    "_x_",
    "<script>alert(1)</script>",
    "\\alpha",
    "a&b",
    "*",
    "[x]",
    "{",
    "~^$#",
    "a\nb",
]


def table(*rows: tuple[formats.Entry, ...], titles: tuple[str, ...] = ("option", "accuracy")) -> Table:
    return Table("A title", [Column(title.replace(" ", "_"), title) for title in titles], rows)


def cells(line: str) -> list[str]:
    """The cells of a line of Markdown; `\\|` is no border."""
    return [cell.strip() for cell in re.split(r"(?<!\\)(?:\\\\)*\|", line)[1:-1]]


def shown(source: Table, width: int) -> list[str]:
    output = io.StringIO()
    Console(file=output, width=width).print(formats.terminal(source, width), crop=False)
    return [line.rstrip() for line in output.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (None, ""),
        (NAN, ""),
        (3, "3"),
        (0.12345, "0.123"),
        ("none", "none"),
        (Number(0.7691), "0.769"),
        (Number(0.7691, 0.0042), "0.769 ± 0.004"),
        (Number(0.0124, low=0.0031, high=0.0209, signed=True), "+0.012 [+0.003, +0.021]"),
        (Number(-0.5, signed=True), "-0.500"),
        (Number(0.5, 0.1, n=2, mixed=True, best=True), "0.500 ± 0.100 (n = 2) †"),
    ],
)
def test_an_entry_in_plain_text(entry: formats.Entry, expected: str) -> None:
    assert text(entry) == expected


def test_markdown() -> None:
    lines = markdown(table(("none", Number(0.5, 0.1)), ("cb", Number(0.6, 0.1, n=2, best=True)))).splitlines()
    assert lines == [
        "| option | accuracy |",
        "| --- | ---: |",
        "| none | 0.500 ± 0.100 |",
        "| cb | **0.600 ± 0.100** (n = 2) |",
    ]


def test_every_line_of_markdown_has_as_many_cells() -> None:
    source = table(*((value, Number(0.5)) for value in NASTY), ("", None), titles=("a|b", "c\nd"))
    lines = markdown(source).splitlines()
    assert len(lines) == len(NASTY) + 3
    assert {len(cells(line)) for line in lines} == {2}


def test_markdown_says_no_html_and_no_emphasis() -> None:
    assert formats.markdown_escape("<b> & *x* _y_ a_b `c` [d]") == r"\<b\> \& \*x\* \_y\_ a_b \`c\` \[d\]"


def test_csv_has_every_digit() -> None:
    values = [1 / 3, 0.1 + 0.2, 1e-17]
    source = table(
        ("a,b", Number(values[0], values[1])),
        ('"', Number(values[2])),
        ("†", None),
        ("<", Number(0.5, n=2)),
        titles=("option", "the accuracy"),
    )
    rows = list(csv.DictReader(io.StringIO(comma_separated(source))))
    assert list(rows[0]) == ["option", "the_accuracy", "the_accuracy_seed_std", "the_accuracy_n"]
    assert [row["option"] for row in rows] == ["a,b", '"', "†", "<"]
    assert [float(row["the_accuracy"] or "nan") for row in rows] == pytest.approx(
        [values[0], values[2], NAN, 0.5], rel=0, abs=0, nan_ok=True
    )
    assert [row["the_accuracy_seed_std"] for row in rows] == [repr(values[1]), "", "", ""]
    assert [row["the_accuracy_n"] for row in rows] == ["", "", "", "2"]


def test_csv_has_no_formulas() -> None:
    source = Table("t", [Column("=x", "x"), Column("n", "n")], [["@a", -1], ["-2", -0.5], ["-b", Number(-0.25)]])
    assert comma_separated(source) == "'=x,n\n'@a,-1\n-2,-0.5\n'-b,-0.25\n"


def test_csv_has_intervals_in_their_columns() -> None:
    source = table(("a", Number(0.1, low=-0.123456789, high=0.3, signed=True)), ("b", NAN))
    assert comma_separated(source) == "option,accuracy,accuracy_low,accuracy_high\na,0.1,-0.123456789,0.3\nb,,,\n"


def test_latex() -> None:
    source = table(
        ("class_balanced", Number(0.5, 0.1, best=True)), ("50 %", Number(-0.1, low=-0.2, high=0.1, mixed=True))
    )
    assert latex(source) == "\n".join((
        "% A title",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"option & accuracy \\",
        r"\midrule",
        r"class\_balanced & $\mathbf{0.500 \pm 0.100}$ \\",
        r"50 \% & $-0.100 [-0.200, 0.100]$ \dag{} \\",
        r"\bottomrule",
        r"\end{tabular}",
        "",
    ))  # fmt: skip


def test_latex_is_escaped_and_balanced() -> None:
    source = latex(table(*((value, Number(0.5, best=True)) for value in NASTY), titles=("a & b", "c_d")))
    body = [line for line in source.splitlines() if line.endswith(r"\\")]
    assert len(body) == len(NASTY) + 1
    for line in body:
        assert len(re.findall(r"(?<!\\)&", line)) == 1
        assert len(re.findall(r"(?<!\\)\$", line)) % 2 == 0
        assert not re.search(r"(?<!\\)[%#_^~<>|]", re.sub(r"\$.*?\$", "", line))
        assert not line.startswith(("[", "*"))  # an argument of the line break above
        plain = re.sub(r"\\[{}]", "", line)
        depth = 0
        for letter in plain:
            depth += {"{": 1, "}": -1}.get(letter, 0)
            assert depth >= 0
        assert depth == 0


def test_a_backslash_stays_one_in_latex() -> None:
    assert formats.latex_escape(r"\{") == r"\textbackslash{}\{"


WIDE = table(
    ("uniform_minibatch", 3, Number(0.123, 0.001, low=0.1, high=0.2, best=True)),
    ("random", 3, Number(0.4)),
    titles=("sampler.name", "runs", "the accuracy"),
)


def test_the_terminal_shows_a_count_that_is_everywhere_the_same_in_the_title() -> None:
    assert shown(WIDE, 80) == [
        "A title, runs 3",
        "sampler.name                       the accuracy",
        "uniform_minibatch  0.123 ± 0.001 [0.100, 0.200]",
        "random                                    0.400",
    ]
    assert shown(table(("a", 3), ("b", 2), titles=("x", "runs")), 80) == ["A title", "x  runs", "a     3", "b     2"]


@pytest.mark.parametrize(
    ("width", "entry"), [(80, "0.123 ± 0.001 [0.100, 0.200]"), (40, "0.123 ± 0.001"), (30, "0.123"), (10, "0.123")]
)
def test_a_narrow_terminal_leaves_out_intervals_then_spreads_but_breaks_no_word(width: int, entry: str) -> None:
    lines = shown(WIDE, width)
    assert [line for line in lines if line.startswith("uniform_minibatch")] == [f"uniform_minibatch  {entry:>8}"]


def test_what_looks_like_markup_is_shown_as_it_is() -> None:
    lines = shown(table(("[bold]x[/bold]", Number(0.5)), ("[/]", Number(0.4)), titles=("[red]", "accuracy")), 80)
    assert any("[bold]x[/bold]" in line for line in lines)
    assert any("[red]" in line for line in lines)


def test_empty_columns_go() -> None:
    source = table(("a", None, ""), ("b", None, ""), titles=("x", "y", "z")).without_empty_columns()
    assert [column.title for column in source.columns] == ["x"]
    assert source.rows == [["a"], ["b"]]
