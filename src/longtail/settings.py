"""The top-level settings of a command: names, types and ranges. Their values stand in `conf/`, a file per command.

A fork declares a setting or a config group of its own here, in one line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from longtail.errors import InputError, no_such_setting

MISSING: Any = "???"  # OmegaConf's mark of a value that is given elsewhere


@dataclass
class CheckpointSettings:
    """When the state of a run is saved, beside each epoch's end."""

    minutes: int | float = MISSING


@dataclass
class RunSettings:
    """What every run has; a key that its schema does not have is refused."""

    name: str = MISSING
    seed: int = MISSING
    epochs: int = MISSING
    batch_size: int = MISSING
    eval_batch_size: int = MISSING
    selection: str = MISSING
    compile: str | None = MISSING
    data_dir: str = MISSING
    run_dir: str | None = MISSING
    overwrite: bool = MISSING
    trust: list[str] = MISSING
    checkpoint: CheckpointSettings = field(default_factory=CheckpointSettings)
    # Config groups, whose settings their parts check.
    imbalance: Any = MISSING
    reweight: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    callbacks: Any = MISSING
    trainer: Any = MISSING
    logger: Any = field(default_factory=dict)


@dataclass
class Settings(RunSettings):
    """The schema of `conf/train.yaml`."""

    reduction: str = MISSING
    validation_per_class: int = MISSING
    subset_seed: int = MISSING
    dataset: Any = MISSING
    sampler: Any = MISSING
    loss: Any = MISSING
    method: Any = MISSING
    model: Any = MISSING


@dataclass
class DetectionSettings(RunSettings):
    """The schema of `conf/detect.yaml`."""

    box_weight: float = MISSING
    detection_data: Any = MISSING
    detection_loss: Any = MISSING
    detector: Any = MISSING


@dataclass
class PredictionSettings:
    """The schema of `conf/predict.yaml`."""

    run_dir: str | None = MISSING
    images: str | None = MISSING
    accelerator: str = MISSING
    out: str | None = MISSING
    top_k: int = MISSING
    least_certain: int = MISSING
    score: int | float = MISSING
    drawn: int = MISSING
    overwrite: bool = MISSING
    trust: list[str] = MISSING


@dataclass
class ExportSettings:
    """The schema of `conf/export.yaml`."""

    run_dir: str | None = MISSING
    format: str | None = MISSING
    out: str | None = MISSING
    overwrite: bool = MISSING
    trust: list[str] = MISSING


SCHEMAS = {  # by the names that the defaults lists of conf/ have for them
    "settings": Settings,
    "detection_settings": DetectionSettings,
    "prediction_settings": PredictionSettings,
    "export_settings": ExportSettings,
}
NAMES, DETECTION_NAMES = (tuple(key.name for key in fields(schema)) for schema in (Settings, DetectionSettings))
PREDICTION_NAMES, EXPORT_NAMES = (
    tuple(key.name for key in fields(schema)) for schema in (PredictionSettings, ExportSettings)
)
LEAST = {"seed": 0, "epochs": 1, "batch_size": 1, "eval_batch_size": 1, "validation_per_class": 0, "subset_seed": 0}
LEAST |= {"drawn": 0, "top_k": 1, "least_certain": 0}
ADJUSTMENTS = ("logit_adjustment", "tau_norm", "nearest_mean", "temperature", "prior_shift")  # of conf/evaluate.yaml
FURTHER = {
    "box_weight": "must be a finite number >= 0",
    "minutes": "must be a finite number >= 0",
    "run_dir": "must be the directory of a run",
    "images": "must be a folder of images",
    "score": "must be in [0, 1]",
    "overwrite": "must be true or false",
    "trust": "must be a list of packages, such as [mylab]",
}
CHOICES: Mapping[str, tuple[str | None, ...]] = {
    "reduction": ("batch_mean", "weighted_mean"),
    "selection": ("last", "best_validation"),
    "compile": (None, "default", "reduce-overhead", "max-autotune"),
    "format": (None, "torch", "onnx"),
}


def names_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names that settings may have: those of classification, or of detection if they have a detector."""
    return DETECTION_NAMES if "detector" in settings else NAMES


def remark(name: str, known: Sequence[str] = (*NAMES, *DETECTION_NAMES, *PREDICTION_NAMES, *EXPORT_NAMES)) -> str:
    """Return what to say of a setting that has a wrong value, or that does not exist."""
    if name not in known:
        return FURTHER.get(name) or no_such_setting(name, known)
    if name in LEAST:
        return f"must be a whole number >= {LEAST[name]}"
    if name in CHOICES:
        return f"must be one of {', '.join(option or 'null' for option in CHOICES[name])}"
    return FURTHER.get(name, "must be a string")


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check the names and values of the top-level settings; their types are checked as they are composed.

    Raises:
        InputError: with the first one that is wrong.
    """
    known = names_of(settings)
    for name, value in settings.items():
        in_range = name not in LEAST or LEAST[name] <= value < 2**32  # the seeds of random generators go as far
        in_range &= name != "box_weight" or 0 <= value < float("inf")
        if name == "checkpoint" and not 0 <= value["minutes"] < float("inf"):
            raise InputError(f"checkpoint.minutes={value['minutes']}: {remark('minutes')}")
        if name not in known or not in_range or value not in CHOICES.get(name, [value]):
            raise InputError(f"{name}={value}: {remark(name, known)}")
    if lacking := [name for name in (*LEAST, "selection") if name in known and name not in settings]:
        raise InputError(f"{lacking[0]}: must not be deleted")
    if settings["selection"] == "best_validation" and not has_held_out(settings):
        raise InputError("selection=best_validation: must have held-out images, set validation_per_class")


def has_held_out(settings: Mapping[str, Any]) -> bool:
    """Tell whether there are held-out images, as a detector's data always has."""
    return bool(settings.get("validation_per_class", 1) or (settings.get("dataset") or {}).get("validation"))
