"""What is wrong with composed settings, or kept them from being composed, in one line."""

import re

import yaml
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

from longtail.errors import InputError, no_such_setting, suggestion
from longtail.settings import DETECTION_NAMES, NAMES, SCHEMAS, CheckpointSettings, check_settings, names_of, remark

FOREIGN = re.compile(r"Could not override '(\w+)'\. No match in the defaults list")
TWINS = {"loss": "detection_loss", "dataset": "detection_data", "model": "detector"}  # of the two commands
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
    return str(error).partition("\n")[0]
