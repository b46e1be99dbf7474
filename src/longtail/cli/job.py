"""What `longtail` and `longtail-eval` have in common: a job, from its settings to its results."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from longtail import runs
from longtail.cli.parts import make_trainer, parts
from longtail.errors import InputError, console, setting
from longtail.sweeps import jobs

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from longtail.tracking.logger import RunDescription
    from longtail.training.results import Result
    from longtail.training.training import Training


class Place:
    """The directory of a run, and what an earlier start has left there.

    Args:
        directory: of the run.
        cfg: its settings as composed.
        hydra: Hydra's own.

    Attributes:
        identity: of the settings.
        checkpoint: the last one, if there is one.
        finished, interrupted: whether it holds a run that is.
    """

    def __init__(self, directory: Path, cfg: DictConfig, hydra: DictConfig) -> None:
        self.directory, self.identity, self.replaces = directory, jobs.identity(cfg), cfg.overwrite
        self.checkpoint = directory / runs.LAST
        self.finished, self.interrupted = runs.read_metrics(directory) is not None, self.checkpoint.exists()
        self.texts: dict[str, str] = {}
        if "overrides" in hydra:  # else it comes from this directory
            # As it is composed; what the machine decides is filled in later.
            self.texts = {"config": OmegaConf.to_yaml(cfg), "overrides": OmegaConf.to_yaml(hydra.overrides.task)}
            self.texts["hydra"] = OmegaConf.to_yaml({"hydra": OmegaConf.to_container(hydra)})

    def before(self) -> dict[str, Any]:
        """Return the last checkpoint of an interrupted run with the same settings, which goes on; else nothing.

        Raises:
            InputError: there is a finished run, or one of other settings, and they are not to be replaced.
        """
        from longtail.training import checkpoints

        if self.interrupted and not self.finished:
            try:
                saved = checkpoints.read(self.checkpoint)
            except InputError:
                if not self.replaces:
                    raise
                saved = {}
            if saved.get("config_sha256") == self.identity:
                return saved
        if (self.finished or self.interrupted) and not self.replaces:
            what = "a finished run" if self.finished else "an interrupted run of other settings"
            raise InputError(f"hydra.run.dir={self.directory}: holds {what}, which overwrite=true would replace")
        return {}

    def begin(self, goes_on: bool) -> None:
        """Remove what must not pass for the results of this run, and write its settings."""
        runs.clear(self.directory, keep_checkpoints=goes_on)
        self.write()

    def write(self) -> None:
        """Write the settings as Hydra does."""
        (self.directory / ".hydra").mkdir(parents=True, exist_ok=True)
        for name, text in self.texts.items():
            with runs.atomic_write(self.directory / ".hydra" / f"{name}.yaml") as file:
                file.write(text)


def quieten() -> None:
    """Keep the hints of Lightning and the progress of COCO's evaluation out of the terminal."""
    lightning = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    for name in (*lightning, "faster_coco_eval"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message="Glyph .* missing from font")


def fill_in(cfg: DictConfig) -> None:
    """Settle what the settings leave to the machine."""
    from longtail.tracking.mode import check_mode
    from longtail.training import precision

    with setting("logger"):
        check_mode(cfg.logger.get("mode", "disabled"))
    if cfg.trainer.precision == "auto":
        cfg.trainer.precision = precision.choose(cfg.trainer.accelerator)
    if not isinstance(cfg.trainer.devices, int | ListConfig) or cfg.trainer.devices == -1:
        found = make_trainer(cfg, Path(), [])
        cfg.trainer.devices = found.device_ids if found.strategy.root_device.type == "cuda" else found.num_devices
    if cfg.trainer.gradient_clip_val is not None and cfg.optimizer.get("fused"):
        cfg.optimizer.fused = False  # Lightning does not clip the gradients of a fused optimizer


def settings_of(cfg: DictConfig) -> dict[str, Any]:
    """Return the resolved config as plain Python."""
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    return dict(settings)


def chosen_options(job: Any) -> dict[str, str]:
    """Return the option of each group that makes up a run, from Hydra's own config of a job."""
    chosen = job.runtime.choices
    return {group: str(chosen[group]) for group in runs.GROUPS if chosen.get(group) is not None}


def make_training(cfg: DictConfig, hydra: Any) -> "Training":
    """Build a run from its settings: a classifier's, or if it has a detector, that of one.

    Raises:
        InputError: a setting does not fit; nothing has been trained or written then.
    """
    if "detector" in cfg:
        from longtail.detection.build import build as detection

        return detection(parts(cfg), settings_of(cfg), chosen_options(hydra))
    from longtail.training.build import build

    return build(parts(cfg), settings_of(cfg), chosen_options(hydra))


def describe(training: "Training", hydra: Any, run_dir: Path, job_type: str) -> "RunDescription":
    """Describe a training or evaluation job for W&B."""
    from longtail.tracking.logger import RunDescription

    settings, options = training.settings, training.options
    weights = training.weights.tolist()
    return RunDescription(
        run_dir,
        job_type,
        name="-".join((settings["name"], *options.values(), f"seed{settings['seed']}")),
        group=Path(hydra.sweep.dir).name if str(hydra.mode).endswith("MULTIRUN") else None,
        options=options,
        settings=settings,
        facts={"class_counts": training.data.class_counts.tolist(), "weights": weights},
    )


def finish(
    directory: Path, training: "Training", result: "Result", loggers: "Sequence[Logger]", table: bool = True
) -> None:
    """Write the results, send them to the loggers, and say them."""
    from longtail.tracking.results import send_result
    from longtail.training import announcement, results, terminal

    task = training.module.evaluation.task
    results.write_results(directory, training, result)
    send_result(loggers, directory, result.steps)
    if table:
        console.print(terminal.per_class(runs.read_per_class(directory), task))
    announcement.say_scores(directory, result.outcome.scores, task)
