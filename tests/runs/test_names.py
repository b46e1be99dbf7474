import re

import pytest

from longtail import runs
from longtail.runs.names import as_cells, from_cell


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat", "Dog_2", "_x"], ["cat", "Dog_2", "_x"]),
        (["0", "9 lives"], ["_0", "_9_lives"]),
        (["a b", "a/b", "a_b"], ["a_b", "a_b_1", "a_b_2"]),
        (["", "é", "日本"], ["_", "__1", "__"]),
        (["a\n"], ["a_"]),
        ([], []),
    ],
)
def test_safe_names_keep_what_is_safe(names: list[str], expected: list[str]) -> None:
    assert runs.safe_names(names) == expected


@pytest.mark.parametrize(
    "names",
    [
        ["cat"] * 4,
        ["a b", "a_b", "a_b_1"],
        ["a_b_2", "a b", "a_b"],
        ["x_1", "x", "x", "x_1", "x_2", "x"],
        ["x_2_4", "x_2", "x", "x", "x_2", "x 2"],
        ["1", "_1", "-1", "+1", "é"],
        [str(i) for i in range(50)],
    ],
)
def test_safe_names_are_distinct_and_safe(names: list[str]) -> None:
    safe = runs.safe_names(names)
    assert len(safe) == len(names)
    assert len(set(safe)) == len(names)
    assert all(re.fullmatch(r"[_a-zA-Z][_a-zA-Z0-9]*", name) for name in safe)


FORMULAS = ['=cmd|"/c calc"!A1', "+1+1", "-x", "@SUM(A1)", "\t=1", "\r=1", "＝1", "=HYPERLINK(1)"]


@pytest.mark.parametrize("name", [*FORMULAS, *(f"'{text}" for text in FORMULAS), "''=1", "'-1"])
def test_a_spreadsheet_shows_a_formula_as_text(name: str) -> None:
    (cell,) = as_cells([name])
    assert cell == f"'{name}"
    assert from_cell(cell) == name


@pytest.mark.parametrize("value", ["cat", "'tis", "", "a=b", "-1", "+1.5e-3", -1, -0.5, None])
def test_other_text_and_numbers_stay_as_they_are_in_a_spreadsheet(value: str | float | None) -> None:
    assert as_cells([value]) == [value]
    assert from_cell(str(value)) == str(value)
