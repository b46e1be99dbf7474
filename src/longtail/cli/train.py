"""`longtail`: compose a run on the command line, train it, test its last epoch, leave a run directory.

PyTorch and everything built on it is imported when a run starts, so that `--help` and `--cfg job` answer at once.
"""

import contextlib
import gc
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from longtail import runs
from longtail.cli import app, job
from longtail.cli.parts import callbacks, make_trainer
from longtail.errors import InputError, console
from longtail.sweeps import jobs
from longtail.sweeps.composition import check


def main() -> None:
    """The command `longtail`."""
    app.main("train", run)


def run(cfg: DictConfig) -> float | None:
    """Train one run, or one job of a sweep; return the validation score, if there is one."""
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        metrics = runs.read_metrics(run_dir)
        if metrics and metrics.get("config_sha256") == jobs.identity(cfg):
            console.print(f"finished already: {runs.relative_path(run_dir)}", soft_wrap=True)
            return jobs.validation_score(metrics)
    if is_first_process():
        runs.clear(run_dir)
    with app.report_errors(run_dir):
        return train(cfg, run_dir)
    return None


def train(cfg: DictConfig, run_dir: Path) -> float | None:
    """Build, train, test, and write the run directory; return the validation score, if there is one."""
    check_run_settings(cfg)
    identity = jobs.identity(cfg)  # before anything is filled in
    console.quiet = not is_first_process()
    with without_collection():
        from longtail.tracking import logger as tracking
        from longtail.training import announcement, checkpoints, fit, results
    job.quieten()
    job.fill_in(cfg)
    hydra: Any = HydraConfig.get()
    training = job.make_training(cfg, hydra)
    module, task = training.module, training.module.evaluation.task
    if cfg.compile:
        module.method.model.compile(mode=cfg.compile)
    kept = checkpoints.callbacks(run_dir, cfg.selection, task)
    trainer = make_trainer(cfg, run_dir, [*callbacks(cfg), *training.callbacks(), *kept])
    announcement.announce(training)
    logger = None
    if is_first_process():
        logger = tracking.start(cfg.logger, job.describe(training, hydra, run_dir, "train"))
    trainer.loggers = [*filter(None, [logger]), *trainer.loggers]
    with tracking.finishing(logger):
        fit.fit(trainer, module, training.data)
        validation = dict(module.scores)
        if cfg.selection == "best_validation":
            validation = checkpoints.load(module, checkpoints.path(run_dir, cfg.selection))["scores"]
        trainer.test(module, datamodule=training.data, verbose=False)
        if trainer.is_global_zero and module.outcome:
            module.outcome.check()
            drawn = module.evaluation.drawn.tolist()
            result = results.Result(module.outcome, validation, trainer.global_step, drawn, identity)
            job.finish(run_dir, training, result, logger, table=hydra.mode != RunMode.MULTIRUN)
    return validation.get(task.primary)


def check_run_settings(cfg: DictConfig) -> None:
    """Check the settings that no part checks.

    Raises:
        InputError: with the first one that is wrong.
    """
    check(cfg)
    if any(kind in str(cfg.trainer.strategy) for kind in ("spawn", "fork", "notebook")):
        # Their results stay in processes that end with the training.
        raise InputError(f"trainer.strategy={cfg.trainer.strategy}: must start processes of its own, such as ddp")
    here = HydraConfig.get().mode == RunMode.MULTIRUN and "submitit" not in HydraConfig.get().launcher._target_
    if here and str(cfg.trainer.devices) not in ("1", "[0]"):
        raise InputError(f"trainer.devices={cfg.trainer.devices}: must be 1 in a sweep, whose jobs share the devices")


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Import without garbage collection, which would search a million objects that all stay."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def is_first_process() -> bool:
    """Return whether this is the first of the processes that Lightning or SLURM starts for one run."""
    return os.environ.get("LOCAL_RANK", os.environ.get("SLURM_PROCID", "0")) == "0"


if __name__ == "__main__":
    # Not by the name __main__, for the same reason as in `main`.
    importlib.import_module("longtail.cli.train").main()
