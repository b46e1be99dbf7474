"""`longtail-eval run_dir=DIR`: rebuild a run from its own directory and evaluate its checkpoint again."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from longtail import runs
from longtail.cli import app, job, posthoc, trust
from longtail.cli.parts import loggers, make_trainer
from longtail.cli.saved import adapt, read
from longtail.errors import InputError, console, refuse, text_of, warn
from longtail.sweeps import jobs

if TYPE_CHECKING:
    from longtail.training.training import Training


def main() -> None:
    """The command `longtail-eval`."""
    app.main("evaluate", run)


def run(cfg: DictConfig) -> None:
    """Evaluate one run."""
    with app.report_errors():
        evaluate(cfg)


def evaluate(cfg: DictConfig) -> None:
    """Write `evaluation/` in the run directory and say whether the numbers are the run's own."""
    from longtail.tracking import logger as tracking
    from longtail.tracking.results import send_posthoc
    from longtail.training import fit
    from longtail.training.callbacks import Curves
    from longtail.training.results import Result

    job.quieten()
    wanted = posthoc.adjustments(cfg.posthoc)
    run_dir = Path(cfg.run_dir)
    directory = run_dir / "evaluation"
    runs.check_links(directory)
    run, hydra = read(run_dir, "config.yaml"), read(run_dir, "hydra.yaml").hydra
    if wanted and "detector" in run:
        raise InputError(f"posthoc={text_of(wanted)}: must be null for a detector, which has no logits per image")
    identity = jobs.identity(run)
    move(run, cfg)
    run.logger = {}  # those of the training
    trust.check(run, cfg.trust)
    OmegaConf.resolve(run)
    run = adapt(run, cfg.accelerator)
    training, path, checkpoint = restore(run, hydra, run_dir)
    run.trainer.enable_checkpointing = False
    trainer = make_trainer(run, run_dir, [Curves()])
    others = loggers(cfg, directory)
    logger = tracking.start(cfg.logger, job.describe(training, hydra, run_dir, "eval"))
    trainer.loggers = [*filter(None, [logger]), *others]
    with tracking.finishing(logger):
        outcome = fit.test(trainer, training.module, training.data)
        steps, drawn = int(checkpoint["global_step"]), checkpoint["drawn"].tolist()
        result = Result(outcome, checkpoint["scores"], steps, drawn, identity)
        job.finish(directory, training, result, trainer.loggers)
        if wanted:
            posthoc.adjust(directory, trainer, training, path, identity, wanted)
            if logger:
                send_posthoc(logger, directory, wanted)
    before, after = runs.read_metrics(run_dir), runs.read_metrics(directory)
    if before and after:
        compare(before["test"], after["test"])
    else:
        epoch = int(checkpoint["epoch"]) + 1
        warn(f"run_dir={run_dir}: the run did not finish; this is its checkpoint after epoch {epoch} of {run.epochs}")


def restore(run: DictConfig, hydra: DictConfig, run_dir: Path) -> "tuple[Training, Path, dict[str, Any]]":
    """Rebuild a run as after its last epoch; return it, with the file and the content of its checkpoint."""
    from longtail.models import weights
    from longtail.training import checkpoints, fit

    with weights.left_out():
        training = job.make_training(run, hydra)
    fit.as_trained(training.module, run.trainer.max_epochs)
    path = checkpoints.path(run_dir, run.selection)
    checkpoint = checkpoints.load(training.module, path)
    # What this machine would choose may differ.
    run.trainer.precision = training.settings["trainer"]["precision"] = checkpoint.get(
        "precision", run.trainer.precision
    )
    return training, path, checkpoint


def move(run: DictConfig, cfg: DictConfig) -> None:
    """Set where the data is now, if that is said."""
    with open_dict(run):
        if cfg.data_dir is not None:
            run.data_dir = cfg.data_dir
        if cfg.root is not None:
            run["detection_data" if "detector" in run else "dataset"].root = cfg.root


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Say whether the test scores that two evaluations have are the same, and if not, which ones differ."""
    different = [f"{name} {old[name]} -> {value}" for name, value in new.items() if old.get(name, value) != value]
    console.print("differs from the run: " + ", ".join(different) if different else "the same numbers as the run")


class CommandLine(Callback):
    """Reject a path that is not a run directory."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check that there is a config to rebuild the run from."""
        if not isinstance(config.run_dir, str) or not (Path(config.run_dir) / ".hydra" / "config.yaml").is_file():
            refuse(f"run_dir={text_of(config.run_dir)}: must be the directory of a run")


if __name__ == "__main__":
    main()
