"""Longtail: dataset x imbalance x sampler x loss x reweight x model, composed on the command line."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from longtail.cli.saved import load as load

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import `load` when it is asked for, so that the commands answer at once."""
    if name == "load":
        from longtail.cli.saved import load

        return load
    raise AttributeError(f"module 'longtail' has no attribute {name!r}")
