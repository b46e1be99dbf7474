"""Checks of settings that several parts have."""

import math
from collections.abc import Sequence
from typing import Any

from longtail.runs import text_of


def check_whole(name: str, value: Any, least: int) -> None:
    """Reject what is not a whole number of at least `least`.

    Raises:
        ValueError: with the setting's name and value.
    """
    if type(value) is not int or value < least:
        raise ValueError(f"{name}={text_of(value)}: must be a whole number >= {least}")


def check_number(name: str, value: Any, below: float = math.inf) -> None:
    """Reject what is not a number in [0, below).

    Raises:
        ValueError: with the setting's name and value.
    """
    if type(value) not in (int, float) or not 0 <= value < below:
        allowed = "a finite number >= 0" if below == math.inf else f"in [0, {below:g})"
        raise ValueError(f"{name}={text_of(value)}: must be {allowed}")


def check_flag(name: str, value: Any) -> None:
    """Reject what is neither true nor false.

    Raises:
        ValueError: with the setting's name and value.
    """
    if type(value) is not bool:
        raise ValueError(f"{name}={text_of(value)}: must be true or false")


def pair(value: Any) -> tuple[int, int] | None:
    """Return two whole numbers; None for anything else."""
    fits = isinstance(value, Sequence) and len(value) == 2 and all(type(number) is int for number in value)
    return (value[0], value[1]) if fits else None
