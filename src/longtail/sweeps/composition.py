"""What is wrong with composed settings, or kept them from being composed, in one line."""

import re
from typing import Any

import yaml
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

from longtail.errors import InputError, no_such_setting, suggestion, text_of
from longtail.runs import GROUPS
from longtail.settings import DETECTION_NAMES, NAMES, SCHEMAS, CheckpointSettings, check_settings, names_of, remark
from longtail.sweeps import arguments

FOREIGN = re.compile(r"Could not override '(\w+)'\. No match in the defaults list")
TWINS = {"loss": "detection_loss", "dataset": "detection_data", "model": "detector"}  # of the two commands
OF_TRAINER = ("accelerator", "devices", "strategy", "precision", "max_epochs", "gradient_clip_val")  # read by a run
OVERRIDE = re.compile(r"Could not override .* use \+(.*)|Error merging override (.*)")
IN_FILE = re.compile(
    r"In '(.*)': \w+ raised while composing config: (?:Value '(.*)' of type )?.*full_key: (\w+)"
    r" object_type=(?:Detection)?Settings"
)


def check(cfg: DictConfig) -> None:
    """Check the top-level settings of a run or of a job.

    Raises:
        InputError: one is unknown, has no value, or has one that is not allowed.
    """
    try:
        check_settings({str(name): cfg[name] for name in cfg if name != "hydra"})
    except OmegaConfBaseException as error:
        raise InputError(describe(error)) from error


def check_parts(cfg: DictConfig) -> None:
    """Check the settings of all parts of a run against the parameters they are for.

    Raises:
        InputError: with the first one that is wrong.
    """
    for group, node in parts(cfg).items():
        arguments.check(group, node)
    for key in ("mode", "project", "entity"):
        if not isinstance(value := cfg.logger.get(key), str | None):
            raise InputError(f"logger.{key}={text_of(value)}: must be a text or null")


def parts(cfg: DictConfig) -> dict[str, Any]:
    """Return the resolved settings of each config group, the Trainer's first, which others refer to.

    Raises:
        InputError: a group that makes up a run has no `_target_`, or a setting cannot be resolved.
    """
    found: dict[str, Any] = {}
    for group in sorted((str(name) for name in cfg if name != "hydra"), key=lambda name: name != "trainer"):
        try:
            node: Any = cfg[group]
            if isinstance(node, DictConfig):
                found[group] = OmegaConf.to_container(node, resolve=True)
        except OmegaConfBaseException as error:
            raise InputError(describe(error)) from error
        if group in (*GROUPS, "optimizer", "scheduler", "trainer") and "_target_" not in found.get(group, {}):
            raise InputError(f"{group}: must have a _target_")
    if lacking := [name for name in OF_TRAINER if name not in found["trainer"]]:
        raise InputError(f"trainer.{lacking[0]}: must not be deleted")
    return found


def describe(error: Exception) -> str:
    """Return a line for what Hydra or OmegaConf has refused, with the nearest name there is."""
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return f"{group}={option}: must be one of {', '.join(error.options)}{suggestion(option, error.options)}"
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark):
        return f"{mark.name}: must be YAML: {error.problem} (line {mark.line + 1})"
    text = " ".join(str(error).partition("\nConfig search path")[0].split())
    if (foreign := FOREIGN.match(text)) and foreign[1] in {*NAMES} ^ {*DETECTION_NAMES}:
        return _of_other_command(foreign[1])
    if isinstance(error, OverrideParseException):
        return f"{error.override}: {text}"
    if isinstance(cause := error.__cause__, OmegaConfBaseException):
        override = OVERRIDE.match(text)
        return f"{override[1] or override[2]}: {_reason(cause)}" if override else describe(cause)
    if in_file := IN_FILE.match(text):
        file, value, key = in_file.groups()
        return f"{file}.yaml: {key}{'' if value is None else f'={value}'}: {remark(key)}"
    if isinstance(error, OmegaConfBaseException):
        return f"{error.full_key}: {_reason(error)}"
    return text


def _of_other_command(group: str) -> str:
    """Return what to say of a group that only one of the two commands has."""
    own, other = ("longtail", "longtail-detect") if group in NAMES else ("longtail-detect", "longtail")
    twin = (TWINS | {theirs: ours for ours, theirs in TWINS.items()}).get(group)
    return f"{group}: a group of {own} alone" + (f"; {other} has {twin}" if twin else "")


def _reason(error: OmegaConfBaseException) -> str:
    if isinstance(error, ConfigAttributeError | ConfigKeyError):
        if error.full_key == str(error.key) and str(error.key) in names_of(error.parent_node or {}):
            return "must not be deleted by ~ and set too"
        return no_such_setting(str(error.key), [str(key) for key in error.parent_node or () if key != "hydra"])
    if isinstance(error, ValidationError) and error.object_type in (*SCHEMAS.values(), CheckpointSettings):
        return remark(str(error.key))
    if "Unexpected type annotation" in str(error):  # an interval among other values
        return "must have intervals in quotes, such as {optimizer.lr: 'interval(0.01,0.3)'}"
    return str(error).partition("\n")[0]
