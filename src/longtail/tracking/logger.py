"""A W&B run: online if possible, else offline, and never the reason for a training run to end."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from longtail.errors import console, setting, warn
from longtail.runs import relative_path
from longtail.tracking.mode import check_mode, choose_mode, server_url

NO_PANEL = ("trainer/global_step", "epoch")  # Lightning's x-axes: beside the curves, no curves of their own
DATA_DIR = "WANDB_DATA_DIR"  # the variable that says where W&B stages tables
MAX_LISTED = 10_000  # W&B takes longer lists in a config, and tables of more rows, in tens of seconds


@dataclass(frozen=True)
class RunDescription:
    """What W&B is told when a run starts.

    Attributes:
        directory: Where W&B keeps its files, all that a later `wandb sync` needs.
        job_type: train, eval or report.
        name: The name that W&B shows.
        group: The sweep; None outside a sweep of ours, which leaves the W&B sweep, if there is one.
        options: The option of each config group by name; also the tags.
        settings: The resolved config.
        facts: What only the data says, such as class_counts and weights; lists of more than 10,000 are left out.
    """

    directory: Path
    job_type: str
    name: str
    group: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tags(self) -> list[str]:
        """The options as `group=option`, cut to W&B's 64 characters."""
        return [f"{group}={option}"[:64] for group, option in self.options.items()]

    @property
    def config(self) -> dict[str, Any]:
        """The run's config in W&B; in a W&B sweep with a copy of all settings under the key `settings`.

        A W&B sweep puts its parameters into the config and locks them: `reweight` is the word `none` there, no longer
        what that option sets.
        """
        config = {**self.settings, "settings": self.settings} if sweep_id() else dict(self.settings)
        facts = {k: v for k, v in self.facts.items() if not isinstance(v, list) or len(v) <= MAX_LISTED}
        return {**config, "options": dict(self.options), **facts}


def sweep_id() -> str | None:
    """Return the W&B sweep whose agent started this process, or None."""
    return os.environ.get("WANDB_SWEEP_ID") or None


def _guarded(method: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(method)
    def call(self: "GuardedWandbLogger", *args: Any, **kwargs: Any) -> None:
        if self.failed:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # whatever W&B does must not end a training run
            self.failed = True
            warn(f"W&B failed and is off for the rest of this run: {_first_line(error)}")

    return call


class GuardedWandbLogger(WandbLogger):
    """Lightning's W&B logger, except that a failure of W&B is one warning and the training goes on.

    Args:
        experiment: The run as W&B has started it.
        staging: Where W&B stages the run's tables.
    """

    def __init__(self, experiment: Any, staging: "Staging") -> None:
        super().__init__(experiment=experiment, save_dir=staging.directory)
        self.failed, self.staging = False, staging

    def begin(self, run: RunDescription) -> None:
        """Set the x-axis, which Lightning sets only for runs that it starts itself, and send the settings."""
        for name in NO_PANEL:
            self.experiment.define_metric(name, hidden=True)
        self.experiment.define_metric("*", step_metric=NO_PANEL[0], step_sync=True)
        if not sweep_id():  # whose parameters are locked: it would complain of each
            self.experiment.config.update(run.config, allow_val_change=True)

    def finish(self, exit_code: int) -> None:
        """End the run; W&B marks it as failed if the exit code is not 0."""
        try:
            self.experiment.finish(exit_code=exit_code)
        except Exception as error:
            warn(f"W&B did not finish: {_first_line(error)}")
        self.staging.end()

    log_metrics = _guarded(WandbLogger.log_metrics)
    log_image = _guarded(WandbLogger.log_image)
    log_table = _guarded(WandbLogger.log_table)

    @_guarded
    def log_summary(self, values: dict[str, float]) -> None:
        """Set values of the run's summary, without a curve."""
        self.experiment.summary.update(values)

    finalize = _guarded(WandbLogger.finalize)


class Staging:
    """The place where W&B stages tables while a run lasts, inside the run's `wandb/`, where `wandb sync` needs them.

    Args:
        directory: Of the run.
    """

    def __init__(self, directory: Path) -> None:
        self.directory, self.before = directory / "wandb", os.environ.get(DATA_DIR)
        os.environ[DATA_DIR] = str(self.directory.absolute())

    def end(self) -> None:
        """Let W&B stage where it did before, and leave no empty directory."""
        os.environ.pop(DATA_DIR, None)
        os.environ |= {} if self.before is None else {DATA_DIR: self.before}
        for name in ("artifacts/staging", "artifacts"):
            with contextlib.suppress(OSError):  # it is not empty, or was never made
                (self.directory / name).rmdir()


def start(logger: Mapping[str, Any], run: RunDescription, run_id: str | None = None) -> GuardedWandbLogger | None:
    """Start a W&B run, or go on with one; never ask for a key, wait for long, or raise for W&B's sake.

    Args:
        logger: The config group: mode (auto: online when logged in and reachable, else offline; online, offline,
            disabled, also where there is none; the variable WANDB_MODE decides where this is auto), project, entity.
        run: What the run is.
        run_id: Of the W&B run of a training that was interrupted.

    Returns:
        The logger, or None if W&B is disabled or cannot even start offline.

    Raises:
        InputError: The mode is unknown.
    """
    import wandb

    with setting("logger"):
        mode = check_mode(logger.get("mode", "disabled"))
    if mode == "disabled":
        return None
    if mode != "offline":
        mode = choose_mode(mode, server_url())
    init: dict[str, Any] = {
        "project": logger.get("project"),
        "entity": logger.get("entity"),
        "tags": run.tags,
        "config": run.config,
    }
    init |= {"dir": str(run.directory), "name": run.name, "job_type": run.job_type, "group": run.group or sweep_id()}
    init |= {"settings": {"silent": True, "init_timeout": 20, "finish_timeout": 60}}
    init |= {"id": run_id, "resume": "allow"} if run_id else {}
    for attempt in (mode, "offline"):
        staging = Staging(run.directory)
        try:
            started = GuardedWandbLogger(wandb.init(**init, mode=attempt), staging)  # type: ignore[arg-type]
            started.begin(run)
        except SystemExit:  # by a signal
            wandb.finish(exit_code=1)
            staging.end()
            raise
        except Exception as error:
            warn(f"W&B could not start {attempt}: {_first_line(error)}")
            staging.end()
            _restart()  # W&B's process may be the reason: the next attempt, and the next job, get a new one
            continue
        if attempt == "offline":
            directory = relative_path(Path(started.experiment.settings.sync_dir))
            where = f"W&B is offline; send this run later with: wandb sync {directory}"
        else:
            where = f"W&B: {started.experiment.url}"
        console.print(where, soft_wrap=True)
        return started
    return None


@contextlib.contextmanager
def finishing(logger: GuardedWandbLogger | None) -> Iterator[None]:
    """Finish the W&B run however the block ends, as failed if it ends by an exception.

    Raises:
        SystemExit: 143 if another process of the run was told to terminate; Lightning's own exit code would be 0.
    """
    exit_code = 1
    try:
        yield
        exit_code = 0
    except SIGTERMException:
        raise SystemExit(143) from None
    finally:
        if logger:
            logger.finish(exit_code)


def _restart() -> None:
    """End W&B's own process and forget the run in it, so that the next run starts a new one."""
    import wandb

    with contextlib.suppress(Exception, SystemExit):
        wandb.run = None
        wandb.teardown()
    os.environ.pop("WANDB_SERVICE", None)  # that process's address


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
