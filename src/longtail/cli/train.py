"""`longtail`: compose a run on the command line, train it, test its last epoch, leave a run directory.

PyTorch and everything built on it is imported when a run starts, so that `--help` and `--cfg job` answer at once.
"""

import contextlib
import gc
import importlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from longtail import runs
from longtail.cli import app
from longtail.cli.parts import parts
from longtail.errors import InputError, console, setting
from longtail.runs import GROUPS, relative_path
from longtail.sweeps import jobs
from longtail.sweeps.composition import check

if TYPE_CHECKING:
    import lightning as L
    from lightning.pytorch.callbacks import Callback

    from longtail.tracking.logger import GuardedWandbLogger, RunDescription
    from longtail.training.build import Training
    from longtail.training.results import Result

RESULTS = (
    "metrics.json",
    "per_class.csv",
    "confusion.csv",
    "*.part",
    "failure.txt",
    "checkpoints/*.ckpt",
    "figures/*.png",
    "evaluation/*.*",
)


def main() -> None:
    """The command `longtail`."""
    app.main("train", run)


def run(cfg: DictConfig) -> float | None:
    """Train one run, or one job of a sweep; gives the sweep's optimiser the validation accuracy, if there is one."""
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        metrics = runs.read_metrics(run_dir)
        if metrics and metrics.get("config_sha256") == jobs.identity(cfg):
            console.print(f"finished already: {relative_path(run_dir)}", soft_wrap=True)
            return jobs.validation_accuracy(metrics)
    if is_first_process():
        clear(run_dir)
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
        from longtail.training.build import build
    quieten()
    job: Any = HydraConfig.get()
    fill_in(cfg)
    training = build(parts(cfg), settings_of(cfg), chosen_options(job))
    module, task = training.module, training.module.evaluation.task
    if cfg.compile:
        module.method.model.compile(mode=cfg.compile)
    callbacks = [*own_callbacks(cfg), *checkpoints.callbacks(run_dir, cfg.selection, task)]
    trainer = make_trainer(cfg, run_dir, callbacks)
    announcement.announce(training)
    logger = None
    if is_first_process():
        logger = tracking.start(cfg.logger, describe(training, job, run_dir, "train"))
    trainer.loggers = [*filter(None, [logger]), *trainer.loggers]
    with tracking.finishing(logger):
        fit.fit(trainer, module, training.data)
        validation = dict(module.scores)
        if cfg.selection == "best_validation":
            validation = checkpoints.load(module, checkpoints.path(run_dir, cfg.selection))["scores"]
        trainer.test(module, datamodule=training.data, verbose=False)
        if trainer.is_global_zero and module.outcome:
            drawn = module.evaluation.drawn.tolist()
            result = results.Result(module.outcome, validation, trainer.global_step, drawn, identity)
            finish(run_dir, training, result, logger, table=job.mode != RunMode.MULTIRUN)
    return validation.get(task.primary)


def finish(
    directory: Path, training: "Training", result: "Result", logger: "GuardedWandbLogger | None", table: bool = True
) -> None:
    """Write the results, send them to W&B, and say them."""
    from longtail import runs
    from longtail.tracking.results import send_result
    from longtail.training import announcement, results, terminal

    results.write_results(directory, training, result)
    if logger:
        send_result(logger, directory)
    if table:
        console.print(terminal.per_class(runs.read_per_class(directory)))
    announcement.say_scores(directory, result.outcome.scores, training.module.evaluation.task)


def fill_in(cfg: DictConfig) -> None:
    """Settle what the settings leave to the machine."""
    from longtail.tracking.mode import check_mode
    from longtail.training import precision

    with setting("logger"):
        check_mode(cfg.logger.mode)
    if cfg.trainer.precision == "auto":
        cfg.trainer.precision = precision.choose(cfg.trainer.accelerator)
    if cfg.trainer.gradient_clip_val is not None and cfg.optimizer.get("fused"):
        cfg.optimizer.fused = False  # Lightning does not clip the gradients of a fused optimizer


def settings_of(cfg: DictConfig) -> dict[str, Any]:
    """Return the resolved config as plain Python."""
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    return dict(settings)


def own_callbacks(cfg: DictConfig) -> list["Callback"]:
    """Make the callbacks of the group, by name in the config, and in a sweep the one that tells what a job takes."""
    from longtail.sweeps import pool
    from longtail.training.callbacks import AfterSteps

    with setting("callbacks"):
        made = [instantiate(node, _convert_="all") for node in (cfg.callbacks or {}).values() if node]
    return [*made, *([AfterSteps(5, pool.report_need)] if pool.is_measured() else [])]


def make_trainer(cfg: DictConfig, run_dir: Path, callbacks: list[Any]) -> "L.Trainer":
    """Make the Trainer; callbacks and loggers that its own settings name are used beside the run's."""
    with setting("trainer"):
        made = instantiate(cfg.trainer, _convert_="all")
        further, loggers = (as_list(made.keywords.get(name)) for name in ("callbacks", "logger"))
        if True in loggers:
            raise ValueError("logger=true: must be a logger with a _target_, several in a list, or false")
        trainer: L.Trainer = made(
            callbacks=[*callbacks, *further], logger=loggers or False, default_root_dir=str(run_dir)
        )
    return trainer


def as_list(value: Any) -> list[Any]:
    """Return one object, several or none as a list."""
    return list(value) if isinstance(value, list | tuple) else [value] if value else []


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


def chosen_options(job: Any) -> dict[str, str]:
    """The option of each group that makes up a run, by name, from Hydra's own config of a job."""
    return {group: str(job.runtime.choices[group]) for group in GROUPS if group in job.runtime.choices}


def describe(training: "Training", job: Any, run_dir: Path, job_type: str) -> "RunDescription":
    """Describe a training or evaluation job for W&B."""
    from longtail.tracking.logger import RunDescription

    settings, options = training.settings, training.options
    weights = training.module.method.criterion.final_weights.tolist()
    return RunDescription(
        run_dir,
        job_type,
        name="-".join((settings["name"], *options.values(), f"seed{settings['seed']}")),
        group=Path(job.sweep.dir).name if str(job.mode).endswith("MULTIRUN") else None,
        options=options,
        settings=settings,
        facts={"class_counts": training.data.class_counts.tolist(), "weights": weights},
    )


def clear(run_dir: Path) -> None:
    """Remove the results of an earlier run in a directory, the one by which it counts as finished first."""
    for pattern in RESULTS:
        for path in run_dir.glob(pattern):
            path.unlink()


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Import what a run needs without searching it for garbage again and again: a million objects, and all stay."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def quieten() -> None:
    """Keep Lightning's hints for newcomers to itself out of the terminal."""
    import logging

    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message="Glyph .* missing from font")


def is_first_process() -> bool:
    """Whether this is not one of the processes that Lightning or SLURM starts of one run, for more devices."""
    return os.environ.get("LOCAL_RANK", os.environ.get("SLURM_PROCID", "0")) == "0"


if __name__ == "__main__":
    # Not by the name __main__, for the same reason as in `main`.
    importlib.import_module("longtail.cli.train").main()
