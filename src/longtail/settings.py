"""The top-level settings of a run: their names, types and ranges. Their values stand in `conf/train.yaml`.

A fork declares a setting or a config group of its own here, in one line.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from longtail.errors import InputError, no_such_setting

MISSING: Any = "???"  # OmegaConf's mark of a value that is given elsewhere


@dataclass
class Settings:
    """The schema of `conf/train.yaml`; a key that is not here is refused."""

    name: str = MISSING
    seed: int = MISSING
    epochs: int = MISSING
    batch_size: int = MISSING
    eval_batch_size: int = MISSING
    reduction: str = MISSING
    selection: str = MISSING
    validation_per_class: int = MISSING
    subset_seed: int = MISSING
    compile: str | None = MISSING
    data_dir: str = MISSING
    # Config groups, whose settings their parts check.
    dataset: Any = MISSING
    imbalance: Any = MISSING
    sampler: Any = MISSING
    loss: Any = MISSING
    reweight: Any = MISSING
    method: Any = MISSING
    model: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    callbacks: Any = MISSING
    trainer: Any = MISSING
    logger: Any = MISSING


NAMES = tuple(declared.name for declared in fields(Settings))
LEAST = {"seed": 0, "epochs": 1, "batch_size": 1, "eval_batch_size": 1, "validation_per_class": 0, "subset_seed": 0}
CHOICES: Mapping[str, tuple[str | None, ...]] = {
    "reduction": ("batch_mean", "weighted_mean"),
    "selection": ("last", "best_validation"),
    "compile": (None, "default", "reduce-overhead", "max-autotune"),
}


def remark(name: str) -> str:
    """Return what to say of a setting that has a wrong value, or that does not exist."""
    if name not in NAMES:
        return no_such_setting(name, NAMES)
    if name in LEAST:
        return f"must be a whole number >= {LEAST[name]}"
    if name in CHOICES:
        return f"must be one of {', '.join(option or 'null' for option in CHOICES[name])}"
    return "must be a string"


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check the names and values of the top-level settings; their types are checked as they are composed.

    Raises:
        InputError: with the first one that is wrong.
    """
    for name, value in settings.items():
        in_range = name not in LEAST or LEAST[name] <= value < 2**32  # the seeds of random generators go as far
        if name not in NAMES or not in_range or value not in CHOICES.get(name, [value]):
            raise InputError(f"{name}={value}: {remark(name)}")
    if settings["selection"] == "best_validation" and not settings["validation_per_class"]:
        raise InputError("selection=best_validation: must have held-out images, set validation_per_class")
