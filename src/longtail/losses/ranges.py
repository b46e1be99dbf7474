"""Ranges of the losses' settings."""

import math

from longtail.errors import text_of


def check_finite(name: str, value: object, above: bool = False) -> None:
    """Check that a setting is a finite number >= 0, or > 0 if it must be above.

    Raises:
        ValueError: it is not.
    """
    if type(value) not in (int, float) or not 0 <= value < math.inf or (above and value == 0):  # type: ignore[operator]
        raise ValueError(f"{name}={text_of(value)}: must be a finite number {'>' if above else '>='} 0")


def check_fraction(name: str, value: object) -> None:
    """Check that a setting is a number in [0, 1].

    Raises:
        ValueError: it is not.
    """
    if type(value) not in (int, float) or not 0 <= value <= 1:  # type: ignore[operator]
        raise ValueError(f"{name}={text_of(value)}: must be a number in [0, 1]")
