"""The table of classes: what is shown of many, and which are marked."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from longtail.runs import CLASSIFICATION, Row, Task
from longtail.training.terminal import per_class

NAN = float("nan")


def rows(*accuracy: float) -> list[Row]:
    return [Row(i, f"c{i}", 1000 * (i + 1), 10, 0.5 + i, value) for i, value in enumerate(accuracy)]


def table_of(rows: list[Row], worst: int = 3) -> Table:
    return per_class(rows, CLASSIFICATION, worst)


def column(table: Table, title: str) -> list[str]:
    [found] = [c for c in table.columns if c.header == title]
    return [str(cell) for cell in found.cells]


def marked(table: Table) -> list[str]:
    return [name for name, row in zip(column(table, "class"), table.rows, strict=True) if row.style == "red"]


def text(table: Table) -> str:
    output = io.StringIO()
    Console(file=output, width=200).print(table)
    return output.getvalue()


def test_a_small_set_is_shown_class_by_class() -> None:
    table = table_of(rows(0.9, 0.25, 1.0, 0.0))
    assert column(table, "class") == ["c0", "c1", "c2", "c3"]
    assert column(table, "images") == ["1,000", "2,000", "3,000", "4,000"]
    assert column(table, "weight") == ["0.500", "1.500", "2.500", "3.500"]
    assert column(table, "accuracy") == ["0.900", "0.250", "1.000", "0.000"]
    assert [bar.count("█") for bar in column(table, "")] == [18, 5, 20, 0]
    assert [bar.count("█") + bar.count("·") for bar in column(table, "")] == [20] * 4


def test_boxes_are_called_so() -> None:
    table = per_class(rows(0.9, NAN), Task("mAP", "AP", counted="boxes"))
    assert column(table, "boxes") == ["1,000", "2,000"]
    assert column(table, "AP") == ["0.900", "no test boxes"]


def test_the_worst_classes_are_marked() -> None:
    table = table_of(rows(0.9, 0.2, 0.8, 0.1, 0.7), worst=2)
    assert marked(table) == ["c1", "c3"]
    assert [bar.endswith("worst") for bar in column(table, "")] == [False, True, False, True, False]


def test_a_class_without_test_images_says_so_and_is_not_the_worst() -> None:
    table = table_of(rows(0.9, NAN, 0.8), worst=1)
    assert column(table, "accuracy") == ["0.900", "no test images", "0.800"]
    assert marked(table) == ["c2"]


def test_twenty_classes_are_all_shown() -> None:
    assert column(table_of(rows(*[i / 20 for i in range(20)])), "class") == [f"c{i}" for i in range(20)]


@pytest.mark.parametrize("num_classes", [21, 100])
def test_a_large_set_shows_the_ten_best_and_the_ten_worst(num_classes: int) -> None:
    table = table_of(rows(*[i / num_classes for i in range(num_classes)]))
    best = [f"c{i}" for i in range(num_classes - 1, num_classes - 11, -1)]
    worst = [f"c{i}" for i in range(9, -1, -1)]
    assert column(table, "class") == [*best, f"... {num_classes - 20} more", *worst]
    assert marked(table) == ["c2", "c1", "c0"]


def test_a_large_set_leaves_out_what_has_no_test_image() -> None:
    table = table_of(rows(*[NAN] * 5, *[i / 25 for i in range(25)]))
    names = column(table, "class")
    assert names[:10] == [f"c{i}" for i in range(29, 19, -1)]
    assert names[10] == "... 10 more"
    assert names[11:] == [f"c{i}" for i in range(14, 4, -1)]


@pytest.mark.parametrize("measured", [0, 1, 5, 10, 15, 19, 20])
def test_no_class_of_a_large_set_is_shown_twice(measured: int) -> None:
    table = table_of(rows(*[i / 25 for i in range(measured)], *[NAN] * (25 - measured)))
    names = [name for name in column(table, "class") if name.startswith("c")]
    assert len(names) == len(set(names))
    assert {f"c{i}" for i in range(measured)} <= set(names)


def test_names_are_not_read_as_markup() -> None:
    assert "[red]x[/red]" in text(table_of([Row(0, "[red]x[/red]", 1, 1, 1.0, 0.5)]))


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([1.0, 0.5, 0.2], ["c2"]),
        ([1.0, 0.0, 0.0, 1.0], ["c1", "c2"]),
        ([1.0, NAN, 0.5], ["c2"]),
        ([0.7, 0.7], []),
        ([0.9] + [0.0] * 6, [f"c{i}" for i in range(1, 7)]),
    ],
)
def test_all_that_are_as_bad_are_marked_but_never_the_best(accuracies: list[float], expected: list[str]) -> None:
    assert marked(table_of(rows(*accuracies))) == expected


def test_a_class_has_one_line_however_long_its_name() -> None:
    console = Console(width=80, file=io.StringIO())
    console.print(table_of([Row(i, "x" * 60, 1000, 10, 1.0, i / 4) for i in range(4)]))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 5
    assert all("…   1,000   1.000     0." in line for line in lines[1:])
