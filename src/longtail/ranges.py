"""Ranges of settings: each check raises a ValueError that names the setting, its value and what is allowed."""

import math

from longtail.errors import text_of


def check_finite(name: str, value: object, least: float = 0, above: bool = False, below: float = math.inf) -> None:
    """Check that a setting is a finite number >= least, or > least if it must be above, and below another one.

    Raises:
        ValueError: it is not.
    """
    is_number = type(value) in (int, float) and least <= value < below  # type: ignore[operator]
    if not is_number or (above and value == least):
        allowed = (
            f"a finite number {'>' if above else '>='} {least:g}"
            if below == math.inf
            else f"in [{least:g}, {below:g})"
        )
        raise ValueError(f"{name}={text_of(value)}: must be {allowed}")


def check_fraction(name: str, value: object) -> None:
    """Check that a setting is a number in [0, 1].

    Raises:
        ValueError: it is not.
    """
    if type(value) not in (int, float) or not 0 <= value <= 1:  # type: ignore[operator]
        raise ValueError(f"{name}={text_of(value)}: must be a number in [0, 1]")


def check_start(name: str, value: object) -> None:
    """Check that a setting is a point of a run that comes before its end, in [0, 1).

    Raises:
        ValueError: it is not.
    """
    if type(value) not in (int, float) or not 0 <= value < 1:  # type: ignore[operator]
        raise ValueError(f"{name}={text_of(value)}: must be a fraction of the run in [0, 1)")


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
