"""What Hydra cannot compose, in one line."""

import difflib
from collections.abc import Iterable

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException


def describe(error: Exception) -> str:
    """Return a line for what Hydra, OmegaConf or a launcher has refused, with the nearest name there is."""
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return f"{group}={option}: must be one of {', '.join(error.options)}{suggest(option, error.options)}"
    text = " ".join(str(error).partition("\nConfig search path")[0].split())
    if isinstance(error, OverrideParseException):
        return f"{error.override}: {text}"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return text
    what = " ".join(str(error).splitlines()[:2])  # the rest is the job's log
    return f"a job was lost: {what}; the same command completes the sweep when no job of it is in the queue any more"


def suggest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean NAME?` for the known name that is nearest to a wrong one, or nothing."""
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""
