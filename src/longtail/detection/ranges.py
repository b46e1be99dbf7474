"""Ranges of settings: whole numbers, and lists of numbers."""

import math


def check_whole(name: str, value: object, least: int = 1) -> None:
    """Check that a setting is a whole number.

    Raises:
        ValueError: it is not, or below the least.
    """
    if type(value) is not int or value < least:
        raise ValueError(f"{name}={shown(value)}: must be a whole number >= {least}")


def check_numbers(name: str, values: object, whole: bool = False) -> None:
    """Check that a setting is a list of one or more finite numbers > 0, or of whole ones.

    Raises:
        ValueError: it is not.
    """
    kinds = (int,) if whole else (int, float)
    listed = isinstance(values, list | tuple) and len(values)
    if not listed or not all(type(value) in kinds and 0 < value < math.inf for value in values):  # type: ignore[attr-defined]
        raise ValueError(f"{name}={shown(values)}: must be a list of {'whole' if whole else 'finite'} numbers > 0")


def shown(value: object) -> object:
    """Return a setting's value as a config file has it."""
    return "null" if value is None else value
