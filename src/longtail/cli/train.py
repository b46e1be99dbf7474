"""`longtail`: compose a run on the command line, train it, test its last epoch, leave a run directory.

PyTorch and everything built on it is imported when a run starts, so that `--help` and `--cfg job` answer at once.
"""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from longtail import runs
from longtail.cli import app, job, processes, trust
from longtail.cli.parts import callbacks, loggers, make_trainer
from longtail.cli.saved import read
from longtail.errors import InputError, console
from longtail.signals import is_first_process
from longtail.sweeps import jobs
from longtail.sweeps.arguments import without_collection
from longtail.sweeps.composition import check, check_parts

if TYPE_CHECKING:
    from longtail.tracking.logger import GuardedWandbLogger
    from longtail.training.training import Training


def main() -> None:
    """The command `longtail`."""
    start("train")


def start(config_name: str) -> None:
    """Start a command that trains; `run_dir=DIR` makes DIR its output directory, where an interrupted run goes on."""
    given = [argument.removeprefix("run_dir=") for argument in sys.argv[1:] if argument.startswith("run_dir=")]
    sys.argv += [f"hydra.run.dir={directory}" for directory in given]
    app.main(config_name, run)


def run(cfg: DictConfig) -> float | None:
    """Train one run, or one job of a sweep; return the validation score, if there is one."""
    hydra: Any = HydraConfig.get()
    run_dir = Path(hydra.runtime.output_dir)
    metrics = runs.read_metrics(run_dir)
    same = metrics is not None and metrics.get("config_sha256") == jobs.identity(cfg)
    if metrics and (cfg.run_dir or (same and hydra.mode == RunMode.MULTIRUN)):
        console.print(f"finished already: {runs.relative_path(run_dir)}", soft_wrap=True)
        return jobs.validation_score(metrics)
    with app.report_errors(run_dir):
        if cfg.run_dir:
            given = {name: cfg[name] for name in map(jobs.key_of, hydra.overrides.task) if name != "run_dir"}
            trusted, cfg, hydra = cfg.trust, read(run_dir, "config.yaml"), read(run_dir, "hydra.yaml").hydra
            cfg.update(given)
            trust.check(cfg, trusted)
        return train(cfg, hydra, run_dir)
    return None


def train(cfg: DictConfig, hydra: Any, run_dir: Path) -> float | None:
    """Build, train, test, and write the run directory; return the validation score, if there is one.

    A run that was interrupted goes on from its last checkpoint.
    """
    place = job.Place(run_dir, cfg, hydra)
    if is_first_process() and not (place.finished or place.interrupted):
        place.write()  # by its settings a run is found, however it ends
    check_run_settings(cfg)
    console.quiet = not is_first_process()
    with without_collection():
        from longtail.tracking import logger as tracking
        from longtail.training import announcement, checkpoints, fit
        from longtail.training.results import Result
    job.quieten()
    last = checkpoints.LastCheckpoint(place.checkpoint, cfg.checkpoint.minutes)
    saved = place.before()
    cfg.trainer.precision = saved.get("precision", cfg.trainer.precision)
    job.fill_in(cfg)
    training = job.make_training(cfg, hydra)
    module, task = training.module, training.module.evaluation.task
    if cfg.compile:
        module.method.model.compile(mode=cfg.compile)
    best = [checkpoints.best(run_dir, task)] if cfg.selection == "best_validation" else []
    trainer = make_trainer(cfg, run_dir, [*callbacks(cfg), *training.callbacks(), *best, last])
    others = [*loggers(cfg, run_dir), *trainer.loggers]
    announcement.announce(training)
    if saved:
        console.print(f"goes on from {runs.relative_path(last.path)}, step {saved['global_step']:,}", soft_wrap=True)
    logger = begin(place, training, hydra, saved) if is_first_process() else None
    last.record |= {"config_sha256": place.identity, "wandb_run": logger and logger.version}
    trainer.loggers = [*filter(None, [logger]), *others]
    for one in others:
        one.log_hyperparams({**training.settings, "options": dict(training.options)})
    with tracking.finishing(logger), processes.together(trainer, run_dir):
        fit.fit(trainer, module, training.data, last.path if saved else None, saved)
        validation = dict(module.scores)
        if best:
            validation = checkpoints.load(module, checkpoints.path(run_dir, cfg.selection))["scores"]
        outcome = fit.test(trainer, module, training.data)
        if trainer.is_global_zero:
            drawn = module.evaluation.drawn.tolist()
            result = Result(outcome, validation, trainer.global_step, drawn, place.identity)
            job.finish(run_dir, training, result, trainer.loggers, table=HydraConfig.get().mode != RunMode.MULTIRUN)
    return validation.get(task.primary)


def begin(
    place: job.Place, training: "Training", hydra: Any, saved: Mapping[str, Any]
) -> "GuardedWandbLogger | None":
    """Put away what an earlier start has left in the directory, and start the W&B run or go on with it."""
    from longtail.tracking import logger

    place.begin(goes_on=bool(saved))
    run = job.describe(training, hydra, place.directory, "train")
    return logger.start(training.settings["logger"], run, saved.get("wandb_run"))


def check_run_settings(cfg: DictConfig) -> None:
    """Check the settings that no part checks.

    Raises:
        InputError: with the first one that is wrong.
    """
    check(cfg)
    check_parts(cfg)
    if cfg.selection == "best_validation" and not cfg.trainer.limit_val_batches:
        raise InputError("trainer.limit_val_batches=0: must be > 0 for selection=best_validation")
    if any(kind in str(cfg.trainer.strategy) for kind in ("spawn", "fork", "notebook")):
        # Their results stay in processes that end with the training.
        raise InputError(f"trainer.strategy={cfg.trainer.strategy}: must start processes of its own, such as ddp")
    here = HydraConfig.get().mode == RunMode.MULTIRUN and "Slurm" not in HydraConfig.get().launcher._target_
    if here and str(cfg.trainer.devices) not in ("1", "[0]"):
        raise InputError(f"trainer.devices={cfg.trainer.devices}: must be 1 in a sweep, whose jobs share the devices")


if __name__ == "__main__":
    # Not by the name __main__, for the same reason as in `main`.
    importlib.import_module("longtail.cli.train").main()
