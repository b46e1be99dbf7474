"""The jobs of a sweep: their settings, and the directories that follow from these."""

import contextlib
import hashlib
import itertools
import json
import os
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from longtail.errors import InputError, refuse, refuse_unwritable, text_of, wants_traceback
from longtail.runs import check_links, read_metrics
from longtail.runs.task import Task
from longtail.signals import hold
from longtail.sweeps.composition import check

NOT_OF_THE_RESULT = (  # jobs that differ in these are the same
    *("hydra", "logger", "name", "published", "data_dir"),
    *("run_dir", "overwrite", "checkpoint", "trust"),
)
DIGITS = 8  # of the identity, in the name of a job's directory
LONGEST = 100  # characters of the overrides in it
OWN = ("hydra_plugins.longtail_sweeps.Grid", "hydra_plugins.longtail_sweeps.Search")  # sweepers


@dataclass(frozen=True)
class Job:
    """A job of a sweep.

    Attributes:
        overrides: those that it is composed with, without Hydra's own.
        identity: SHA-256 of its settings.
        directory: where its results go.
    """

    overrides: tuple[str, ...]
    identity: str
    directory: Path

    @classmethod
    def of(cls, config: DictConfig) -> "Job":
        """Return the job with these settings.

        Raises:
            HydraException: its directory does not follow from them.
        """
        try:
            directory = Path(config.hydra.sweep.dir, str(config.hydra.sweep.subdir))
        except OmegaConfBaseException as error:
            raise HydraException(f"hydra.sweep.subdir: must follow from the settings of a job ({error})") from None
        return cls(tuple(config.hydra.overrides.task), identity(config), directory)

    def result(self) -> Mapping[str, Any] | None:
        """Return its `metrics.json` if it has finished."""
        metrics = read_metrics(self.directory)
        return metrics if metrics and metrics.get("config_sha256") == self.identity else None


class Composer:
    """Compose jobs as Hydra does, but the groups, which take long, only once per combination.

    Args:
        sweep: the settings of the sweep.
        loader: Hydra's.
    """

    def __init__(self, sweep: DictConfig, loader: ConfigLoader) -> None:
        self.sweep, self.loader = sweep, loader
        self.composed: dict[Sequence[str], bytes] = {}
        parser = OverridesParser.create(config_loader=loader)
        self.parse = cache(lambda text: parser.parse_overrides([text])[0])
        self.is_group = cache(lambda key: bool(loader.get_group_options(key)))

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Return the settings of a job, all but `hydra.job`.

        Raises:
            HydraException: they cannot be composed.
        """
        parsed = [self.parse(text) for text in overrides]
        values = {override.key_or_group: override.value() for override in parsed if self.is_value(override)}
        if nested([override.key_or_group for override in parsed if not self.is_choice(override)]):
            values = {}  # their order matters
        same = tuple(o.key_or_group if o.key_or_group in values else str(o.input_line) for o in parsed)
        if same in self.composed:
            config: DictConfig = pickle.loads(self.composed[same])
            with contextlib.suppress(OmegaConfBaseException):  # let Hydra say what is wrong
                for key, value in values.items():
                    OmegaConf.update(config, key, value)
                config.hydra.overrides.task = [o.input_line for o in parsed if not o.is_hydra_override()]
                return config
        config = self.loader.load_sweep_config(self.sweep, list(overrides))
        self.composed[same] = pickle.dumps(config)
        return config

    def is_choice(self, override: Override) -> bool:
        """Tell whether an override chooses the option of a group."""
        return self.is_group(override.key_or_group) and not isinstance(override.value(), dict)

    def is_value(self, override: Override) -> bool:
        """Tell whether an override replaces nothing but a number or a text."""
        changed = not (override.is_add() or override.is_force_add() or override.is_delete())
        own = not override.is_hydra_override() and not self.is_choice(override)
        return own and changed and isinstance(override.value(), str | int | float)


def nested(keys: Sequence[str]) -> bool:
    """Tell whether one of the keys is or contains another."""
    ordered = sorted(f"{key}." for key in keys)
    return any(key.startswith(before) for before, key in itertools.pairwise(ordered))


def identity(config: DictConfig) -> str:
    """Return the SHA-256 of the settings that make a job what it is, as composed."""
    settings: Any = OmegaConf.to_container(config)
    own = {key: value for key, value in settings.items() if key not in NOT_OF_THE_RESULT}
    return hashlib.sha256(json.dumps(own, sort_keys=True, default=str).encode()).hexdigest()


def job_name(*, _root_: DictConfig) -> str:
    """Return the name of a job's directory, `reweight-none+seed-0+3fa9c1d2`: overrides, digits of the identity.

    A directory that has the digits already is the job's, whatever overrides had led to the same settings. Only
    characters that need no quotes in a shell or in an override of Hydra occur, and at most 109 of them.
    """
    digits = f"+{identity(_root_)[:DIGITS]}"
    with contextlib.suppress(OSError):
        if found := [name for name in os.listdir(_root_.hydra.sweep.dir) if name.endswith(digits)]:
            return str(found[0])
    options = []
    for override in _root_.hydra.overrides.task:
        key, _, value = override.lstrip("+~").partition("=")
        if key_of(override) not in NOT_OF_THE_RESULT:
            options.append(
                re.sub(r"[^\w.-]+", "_", f"{re.split('[./]', key)[-1]}-{value}", flags=re.ASCII).lstrip("-.")
            )
    return ("+".join(sorted(options)) or "job")[:LONGEST] + digits


def key_of(override: str) -> str:
    """Return the top-level key that an override changes."""
    return re.split(r"[.=/@]", override.lstrip("+~"), maxsplit=1)[0]


OmegaConf.register_new_resolver("job_name", job_name, replace=True)


def validation_score(metrics: Mapping[str, Any]) -> float | None:
    """Return what a run has given the sweeper, from its `metrics.json`: the primary metric on held-out images."""
    return (metrics.get("val") or {}).get(Task.of(metrics).primary)


def refuse_wrong(config: DictConfig) -> None:
    """Exit with one line if a top-level setting is wrong."""
    if not wants_traceback():  # else the run comes upon the same, and raises it
        try:
            check(config)
        except InputError as error:
            refuse(str(error))


def refuse_beside_run_dir(config: DictConfig) -> None:
    """Exit with one line if there is no run to go on with, or if it is to go on with other settings."""
    given = f"run_dir={text_of(config.run_dir)}"
    if not Path(config.run_dir, ".hydra", "config.yaml").is_file():
        refuse(f"{given}: must be the directory of a run")
    try:
        check_links(Path(config.run_dir).resolve())
    except InputError as error:
        refuse(str(error))
    if others := [text for text in config.hydra.overrides.task if key_of(text) not in NOT_OF_THE_RESULT]:
        refuse(f"{given}: the run goes on with its own settings, must be given without {others[0]}")


class CommandLine(Callback):
    """Check the output directory before a run or sweep; end a sweep whose jobs the sweeper makes up as it goes."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse wrong settings, and a run directory that cannot be written."""
        refuse_wrong(config)
        if config.run_dir is not None:
            refuse_beside_run_dir(config)
        hold()  # until the run can note that it was stopped
        refuse_unwritable("hydra.run.dir", config.hydra.run.dir)
        with read_write(config.hydra):
            config.hydra.output_subdir = None  # the run writes its settings down once they are all checked

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse a sweep directory that cannot be written."""
        if config.hydra.sweeper._target_ not in OWN:
            refuse_unwritable("hydra.sweep.dir", config.hydra.sweep.dir)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the table of the jobs that are found on disk; exit with 1 if one failed."""
        from longtail.sweeps import terminal

        if config.hydra.sweeper._target_ not in OWN:
            sweep_dir = Path(config.hydra.sweep.dir)
            overrides = {path.parents[1]: path for path in sorted(sweep_dir.glob("*/.hydra/overrides.yaml"))}
            jobs = [terminal.read_job(job, list(OmegaConf.load(path))) for job, path in overrides.items()]
            terminal.finish(sweep_dir, jobs)
