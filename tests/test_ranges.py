import math
import re
from collections.abc import Callable
from typing import Any

import pytest

from longtail.ranges import (
    check_finite,
    check_flag,
    check_fraction,
    check_numbers,
    check_start,
    check_whole,
    pair,
)

NEVER = (True, "1", None, math.nan, [1])  # true is no number here


@pytest.mark.parametrize(
    ("check", "right", "wrong", "allowed"),
    [
        (check_finite, (0, 1.5, 1e9), (-1e-9, math.inf, *NEVER), "a finite number >= 0"),
        (lambda n, v: check_finite(n, v, above=True), (1e-9, 3), (0, 0.0, *NEVER), "a finite number > 0"),
        (lambda n, v: check_finite(n, v, least=0.01), (0.01, 3), (0.009, *NEVER), "a finite number >= 0.01"),
        (lambda n, v: check_finite(n, v, below=1), (0, 0.99), (1, -0.1, *NEVER), "in [0, 1)"),
        (check_fraction, (0, 0.5, 1), (-0.1, 1.1, *NEVER), "a number in [0, 1]"),
        (check_start, (0, 0.99), (1, -0.1, *NEVER), "a fraction of the run in [0, 1)"),
        (check_whole, (1, 10**6), (0, 1.0, *NEVER), "a whole number >= 1"),
        (lambda n, v: check_whole(n, v, 0, 2000), (0, 2000), (-1, 2001, *NEVER), "a whole number in [0, 2,000]"),
        (check_numbers, ([1, 0.5], (3,)), ([], [0], [1, math.inf], [True], 1), "a list of finite numbers > 0"),
        (lambda n, v: check_numbers(n, v, whole=True), ([1, 2],), ([1.0], [0]), "a list of whole numbers > 0"),
        (check_flag, (True, False), (0, 1, "true", None), "true or false"),
    ],
)
def test_a_value_out_of_range_is_told_with_what_is_allowed(
    check: Callable[[str, object], None], right: tuple[Any, ...], wrong: tuple[Any, ...], allowed: str
) -> None:
    for value in right:
        check("setting", value)
    for value in wrong:
        with pytest.raises(ValueError, match=rf"^setting=.*: must be {re.escape(allowed)}$"):
            check("setting", value)


def test_a_pair_is_two_whole_numbers() -> None:
    assert pair([3, 4]) == pair((3, 4)) == (3, 4)
    assert [pair(value) for value in ([3], [3, 4, 5], [3, 4.0], [True, 4], 3, None)] == [None] * 6
