"""The YAML that Hydra leaves in a run directory, read as fast as thousands of runs ask for.

The configs of a sweep's jobs are the same but for a few lines. So each is cut into its top-level entries, and an
entry that another run had too is neither parsed nor kept a second time.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where PyYAML was built with it
ENTRY = re.compile(r"^(?=[A-Za-z_])", re.MULTILINE)
CHOICES = re.compile(r"^    choices:\n((?:      .*\n?)+)", re.MULTILINE)  # hydra.runtime.choices as Hydra writes it
HYDRA_ONLY = ("_partial_", "_convert_", "_recursive_")


def read_config(directory: Path) -> dict[str, Any]:
    """Return the config of a run as composed; empty if it is missing, cut off or no YAML. Not to be changed."""
    return {key: value for entry in _entries(directory / ".hydra" / "config.yaml") for key, value in entry.items()}


def read_choices(directory: Path) -> dict[str, str]:
    """Return the option of each config group that has one, by name; empty if they are missing or cut off."""
    try:
        text = (directory / ".hydra" / "hydra.yaml").read_text("utf-8")
        found = CHOICES.search(text)
        choices: Any = _parsed(found[1]) if found else _parsed(text)["hydra"]["runtime"]["choices"]
        return {str(key): str(value) for key, value in choices.items() if value is not None}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return {}


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what is nested under dotted names, without Hydra's own `_partial_` and the like, but `_target_`."""
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flatten(value, f"{name}.")
        elif key not in HYDRA_ONLY:
            yield name, value


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text("utf-8")
        entries = [_parsed(part) or {} for part in ENTRY.split(text)]
    except (OSError, ValueError, yaml.YAMLError):
        return []
    return entries if all(isinstance(entry, dict) for entry in entries) else []


@lru_cache(maxsize=10_000)
def _parsed(text: str) -> Any:
    return yaml.load(text, LOADER)
