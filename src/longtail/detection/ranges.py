"""Ranges of settings: numbers, lists of them, and flags."""

import math

from longtail.errors import text_of


def check_whole(name: str, value: object, least: int = 1, most: float = math.inf) -> None:
    """Check that a setting is a whole number in [least, most].

    Raises:
        ValueError: it is not.
    """
    if type(value) is not int or not least <= value <= most:
        allowed = f">= {least}" if most == math.inf else f"in [{least}, {most:,}]"
        raise ValueError(f"{name}={text_of(value)}: must be a whole number {allowed}")


def check_numbers(name: str, values: object, whole: bool = False) -> None:
    """Check that a setting is a list of one or more finite numbers > 0, or of whole ones.

    Raises:
        ValueError: it is not.
    """
    kinds = (int,) if whole else (int, float)
    listed = isinstance(values, list | tuple) and len(values)
    if not listed or not all(type(value) in kinds and 0 < value < math.inf for value in values):  # type: ignore[attr-defined]
        raise ValueError(f"{name}={text_of(values)}: must be a list of {'whole' if whole else 'finite'} numbers > 0")


def check_number(name: str, value: object, below: float = math.inf) -> None:
    """Check that a setting is a number in [0, below).

    Raises:
        ValueError: it is not.
    """
    if type(value) not in (int, float) or not 0 <= value < below:  # type: ignore[operator]
        allowed = "a finite number >= 0" if below == math.inf else f"in [0, {below:g})"
        raise ValueError(f"{name}={text_of(value)}: must be {allowed}")


def check_flag(name: str, value: object) -> None:
    """Check that a setting is true or false.

    Raises:
        ValueError: it is neither.
    """
    if type(value) is not bool:
        raise ValueError(f"{name}={text_of(value)}: must be true or false")


def pair(value: object) -> tuple[int, int] | None:
    """Return two whole numbers, None if a setting is anything else."""
    if not (isinstance(value, list | tuple) and [type(number) for number in value] == [int, int]):
        return None
    return value[0], value[1]
