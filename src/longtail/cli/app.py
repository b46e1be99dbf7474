"""What the commands made with Hydra have in common: where the config is, and how errors are told."""

import contextlib
import itertools
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from longtail.cli import groups, home, installed
from longtail.cli.parts import as_list
from longtail.cli.processes import ProcessLostError
from longtail.errors import InputError, refuse, text_of, wants_traceback
from longtail.runs import FAILURE, LAST, write_failure
from longtail.settings import SCHEMAS
from longtail.signals import Stopped, ending, lasting, release
from longtail.sweeps.composition import describe

PACKAGE = Path(__file__).resolve().parents[1]
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parents[1] / "conf"  # in the wheel, in a checkout
MULTIRUN = ("-m", "--multirun")
WITH_VALUE = ("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--cfg", "-c", "--package", "-p")
for name, schema in SCHEMAS.items():
    ConfigStore.instance().store(name, schema)


def folders() -> tuple[Path, ...]:
    """Return where the options of the config groups are: in `conf/`, and in installed packages."""
    return (CONF, *installed.folders())


OmegaConf.register_new_resolver("groups_of", lambda name: groups.listed(folders(), name), replace=True)


def main(config_name: str, job: Callable[[Any], Any]) -> None:
    """Run a command: compose its config from the command line, and call the job with it, or with each of a sweep.

    What cannot be composed is one line and exit code 1; HYDRA_FULL_ERROR=1 shows the traceback instead.

    Args:
        config_name: of the primary config in conf/.
        job: a function of a module, which a job of SLURM or joblib finds by its name.
    """
    sys.argv[1:] = flags_first(sys.argv[1:])
    with ending(), _raising_errors():
        home.provide()
        if foreign := groups.foreign_experiment(folders(), config_name, sys.argv[1:]):
            refuse(foreign)
        try:
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(job)()
        except Exception as error:
            wrong = wrong_choice(sys.argv[1:], getattr(error, "missing_cfg_file", None))
            expected = wrong or isinstance(
                error, HydraException | OmegaConfBaseException | yaml.YAMLError | ValueError
            )
            if wants_traceback() or not expected:
                raise
            refuse(wrong or describe(error))


def flags_first(arguments: Sequence[str]) -> list[str]:
    """Move Hydra's flags before the overrides, which it takes in one stretch alone."""
    flags, others, rest = [], [], iter(arguments)
    for argument in rest:
        if argument in WITH_VALUE:
            flags += [argument, *itertools.islice(rest, 1)]
        elif argument in MULTIRUN or argument.startswith(tuple(f"{flag}=" for flag in WITH_VALUE)):
            flags.append(argument)
        else:
            others.append(argument)
    return flags + others


def wrong_choice(arguments: Sequence[str], missing: str | None) -> str | None:
    """Return what to say of a config group that is given a number, true, false or null, or one in a list.

    Or, in a list, the option that is missing, `group/option`.
    """
    parser = OverridesParser.create()
    for argument in arguments:
        with contextlib.suppress(HydraException):
            override = parser.parse_override(argument)
            group = override.key_or_group
            options = groups.files(group, folders())
            values = list(override.sweep_iterator()) if override.is_discrete_sweep() else [override.value()]
            for value in values if options and not override.is_hydra_override() else []:
                several = as_list(value)
                lacking = isinstance(value, list) and missing in [f"{group}/{one}" for one in several]
                if value is None or lacking or any(isinstance(one, bool | int | float) for one in several):
                    return f"{group}={text_of(value)}: must be one of {', '.join(options)}"
    return None


@contextlib.contextmanager
def _raising_errors() -> Iterator[None]:
    """Have Hydra raise its errors instead of printing them, here and in processes that are started from here."""
    before = {name: os.environ.get(name) for name in ("HYDRA_FULL_ERROR", "LONGTAIL_FULL_ERROR")}
    os.environ |= {"LONGTAIL_FULL_ERROR": str(int(wants_traceback())), "HYDRA_FULL_ERROR": "1"}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ |= {} if value is None else {name: value}


@contextlib.contextmanager
def report_errors(run_dir: Path | None = None) -> Iterator[None]:
    """Report an error of a job: one line for what the user can mend, the traceback of a bug; exit code 1.

    A run that fails notes why in failure.txt. One that the user's settings kept from starting leaves no directory,
    unless it is a job of a sweep: that lets the next job start, and the sweep says in the end that one has failed.

    Args:
        run_dir: the run's directory; None for a command that has none of its own.
    """
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN

    with ending():
        try:
            release()
            with lasting():
                yield
        except SystemExit as stop:
            stopped = stop if isinstance(stop, Stopped) else Stopped(stop.code)
            by_signal = isinstance(stop.code, int) and stop.code > 128
            if run_dir:
                write_failure(run_dir, f"stopped{' by a signal' if by_signal else ''} (exit code {stop.code})")
            begun = run_dir and (run_dir / LAST).exists()
            stopped.say(f"run_dir={run_dir} goes on from its checkpoint" if begun else "")
            raise stopped from None
        except Exception as error:
            is_bug = not isinstance(error, InputError | FloatingPointError | OSError | ProcessLostError)
            line = " ".join(f"{type(error).__name__}: {error}".split()) if is_bug else str(error)
            if run_dir and isinstance(error, InputError) and not sweeping:
                discard(run_dir)
            elif run_dir:
                write_failure(run_dir, line)
            if wants_traceback():
                raise
            if is_bug:
                traceback.print_exception(error)
            print(f"error: {line}", file=sys.stderr)
            if not (run_dir and sweeping):
                raise SystemExit(1) from None


def discard(run_dir: Path) -> None:
    """Remove the directory of a run that never started; one that holds anything else stays."""
    if {path.name for path in run_dir.iterdir()} <= {".hydra", FAILURE}:
        shutil.rmtree(run_dir, ignore_errors=True)
