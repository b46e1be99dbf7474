"""The jobs of a sweep: which they are, where they go, and what the sweep says at its end."""

import contextlib
import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from longtail import runs
from longtail.errors import InputError, console, refuse, refuse_unwritable, wants_traceback, warn
from longtail.runs import relative_path
from longtail.sweeps import places as sweeps
from longtail.sweeps.composition import check, describe

WORKERS = "hydra_plugins.longtail_workers.Workers"  # the launcher that gives jobs their directories itself
NOT_OF_THE_RESULT = ("hydra", "logger", "name", "published")  # with other ones of these a job is the same


class CommandLine(Callback):
    """Checks jobs and the output directory before a run or sweep, and ends a sweep with its table and exit code."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse wrong settings, and a run directory that cannot be written."""
        if not wants_traceback():  # else the run comes upon the same, and raises it
            try:
                check(config)
            except InputError as error:
                refuse(str(error))
        refuse_unwritable("hydra.run.dir", config.hydra.run.dir)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse jobs that cannot be composed, a sweep directory that cannot be written or is another sweep's."""
        self.sweep_dir = Path(config.hydra.sweep.dir)
        self.places: list[sweeps.Place] = []
        self.options: list[Sequence[str]] = []
        try:
            jobs = jobs_of(config)
            seen: set[str] = set()
            for overrides in jobs or []:
                if not seen.issuperset(overrides):
                    check(compose_job(config, overrides, 0))
                    seen.update(overrides)
        except (HydraException, InputError) as error:
            if wants_traceback():
                return  # Hydra comes upon the same, and raises it
            refuse(describe(error))
        refuse_unwritable("hydra.sweep.dir", config.hydra.sweep.dir)
        if config.hydra.launcher._target_ != WORKERS:
            if jobs is None:
                refuse_other_sweep(config)
            else:
                self.add(places_by_position(config, jobs), jobs)
                if done := sum(place.metrics is not None for place in self.places):
                    console.print(f"{done} of {len(jobs)} jobs are finished already; {len(jobs) - done} to go")

    def add(self, places: Sequence[sweeps.Place], options: Sequence[Sequence[str]]) -> None:
        """Take note of jobs of the sweep, with their overrides, before they are run."""
        self.places += places
        self.options += options
        sweeps.note(self.sweep_dir, {p.digest: o for p, o in zip(places, options, strict=True)})

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print a line per combination, mean and standard deviation over seeds; exit with 1 if a job failed."""
        from longtail.sweeps import tables

        sweep_dir = Path(config.hydra.sweep.dir)
        jobs = [tables.read_job(p.directory, o) for p, o in zip(self.places, self.options, strict=True)]
        if not self.places:  # the sweeper made them up as it went
            known = [path / ".hydra" / "overrides.yaml" for path in runs.directories(sweep_dir)]
            found = sorted((path for path in known if path.exists()), key=lambda p: (len(p.parts[-3]), p.parts[-3]))
            jobs = [tables.read_job(path.parents[1], list(OmegaConf.load(path))) for path in found]
        console.print(tables.sweep(jobs))
        if done := sum(place.metrics is not None for place in self.places):
            console.print(f"{done} of {len(jobs)} jobs had been finished before and were not run again")
        console.print(f"files in {relative_path(sweep_dir)}", soft_wrap=True)
        if any(True for job in jobs for _ in job.directory.glob("wandb/offline-run-*")):
            offline = f"{relative_path(sweep_dir)}/*/wandb/offline-run-*"
            console.print(f"W&B is offline; send the runs later with: wandb sync {offline}", soft_wrap=True)
        for line, times in tables.warnings_of(jobs).items():
            warn(f"{line} (in {times} of {len(jobs)} jobs)")
        if failed := [job for job in jobs if job.test is None]:
            for job in failed:
                print(f"error: job {job.directory.name} failed: {job.failure}", file=sys.stderr)
            raise SystemExit(1)


def identity(cfg: DictConfig) -> str:
    """SHA-256 of the settings that make a job what it is, as composed: not Hydra's own, the logger and the name."""
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in NOT_OF_THE_RESULT])
    return hashlib.sha256(OmegaConf.to_yaml(own, sort_keys=True).encode()).hexdigest()


def saved_identity(directory: Path) -> str | None:
    """The identity of the job in a directory, by its result or else by its settings; None if neither can be read."""
    metrics = runs.read_metrics(directory)
    if metrics and "config_sha256" in metrics:
        return str(metrics["config_sha256"])
    try:
        saved = OmegaConf.load(directory / ".hydra" / "config.yaml")
    except Exception:  # whatever a parser makes of a file that is not what it should be
        return None
    return identity(saved) if isinstance(saved, DictConfig) else None


def validation_accuracy(metrics: Mapping[str, Any]) -> float | None:
    """What a run has returned, from its `metrics.json`."""
    return (metrics.get("val") or {}).get("accuracy")


def jobs_of(config: DictConfig) -> list[list[str]] | None:
    """The overrides of each job of a sweep; None if its sweeper does not know them beforehand.

    Raises:
        HydraException: they are no overrides, or cannot be swept.
    """
    if not config.hydra.sweeper._target_.endswith(".BasicSweeper"):
        return None
    given = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    overrides = parser.parse_overrides([*given, *config.hydra.overrides.task])
    return BasicSweeper.split_arguments(overrides, None)[0]


def compose_job(config: DictConfig, overrides: Sequence[str], number: int) -> DictConfig:
    """The settings of a job of a sweep.

    Raises:
        HydraException: they cannot be composed.
    """
    job = GlobalHydra.instance().config_loader().load_sweep_config(config, list(overrides))
    with open_dict(job):
        job.hydra.job.id = job.hydra.job.num = number
    return job


def places_by_position(config: DictConfig, jobs: Sequence[Sequence[str]]) -> list[sweeps.Place]:
    """Where the jobs of a sweep go whose launcher numbers them by position; exits if one of the places is taken."""
    places = []
    for number, overrides in enumerate(jobs):
        job = compose_job(config, overrides, number)
        directory = Path(job.hydra.sweep.dir, str(job.hydra.sweep.subdir))
        digest, metrics = identity(job), None
        if not sweeps.is_free(directory):
            if saved_identity(directory) != digest:
                refuse_other_jobs(config, f"its {directory.name} has other settings than job {number}")
            metrics = runs.read_metrics(directory)
        places.append(sweeps.Place(number, digest, directory, metrics))
    return places


def refuse_other_sweep(config: DictConfig) -> None:
    """Exit with one line if the sweep's directory is that of a sweep with other overrides."""
    with contextlib.suppress(OSError):
        before = OmegaConf.load(Path(config.hydra.sweep.dir) / "multirun.yaml").hydra.overrides.task
        if before != config.hydra.overrides.task:
            refuse_other_jobs(config, f"it holds another sweep, {' '.join(before)}")


def refuse_other_jobs(config: DictConfig, reason: str) -> NoReturn:
    """Exit with one line that names the sweep's directory and the way out."""
    launcher = config.hydra.runtime.choices["hydra/launcher"]
    refuse(
        f"hydra.sweep.dir={config.hydra.sweep.dir}: must be empty or this sweep's with hydra/launcher={launcher},"
        f" which numbers the jobs by position; {reason}"
    )
