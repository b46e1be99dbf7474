"""`longtail-eval run_dir=DIR`: rebuild a run from its own directory and evaluate its checkpoint again."""

import json
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.experimental.callback import Callback
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from longtail.cli.train import CHECKPOINTS, build, describe, load_weights, quieten, say_result, write_results
from longtail.errors import (
    CONF,
    InputError,
    console,
    one_line_composition,
    one_line_errors,
    setting,
    warn,
)
from longtail.sweeps.jobs import identity


def main() -> None:
    """The command `longtail-eval`."""
    with one_line_composition():
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="evaluate")(run)()


def run(cfg: DictConfig) -> None:
    """Evaluate one run."""
    with one_line_errors():
        evaluate(cfg)


def evaluate(cfg: DictConfig) -> None:
    """Write `evaluation/` in the run directory and say whether the numbers are the run's own."""
    import lightning as L

    from longtail.tracking.logger import finishing, start

    quieten()
    run_dir = Path(cfg.run_dir)
    run, job = read(run_dir / ".hydra" / "config.yaml"), read(run_dir / ".hydra" / "hydra.yaml").hydra
    config_sha256 = identity(run)
    if cfg.data_dir is not None:
        run.data_dir = cfg.data_dir
    if cfg.root is not None:
        run.dataset.root = cfg.root
    run.trainer.accelerator, run.trainer.devices = cfg.accelerator, 1
    data, classifier = build(run)
    checkpoint = load_weights(classifier, run_dir / "checkpoints" / f"{CHECKPOINTS[run.selection]}.ckpt")

    # What this machine would choose may differ.
    run.trainer.precision = checkpoint.get("precision", run.trainer.precision)
    directory = run_dir / "evaluation"
    with setting("trainer"):
        trainer: L.Trainer = instantiate(run.trainer, _convert_="all")(
            logger=False, default_root_dir=str(run_dir), enable_checkpointing=False
        )
    logger = start(cfg.logger, describe(run, job, run_dir, "eval", data, classifier))
    trainer.logger = logger
    with finishing(logger):
        trainer.test(classifier, datamodule=data, verbose=False)
        steps, validation = int(checkpoint["global_step"]), checkpoint["scores"]
        classifier.drawn = checkpoint["drawn"]
        write_results(run, directory, data, classifier, steps, validation, logger, config_sha256)
    say_result(directory, classifier.scores, per_class_table=True)
    if (run_dir / "metrics.json").exists():
        compare(run_dir / "metrics.json", directory / "metrics.json")
    else:
        epoch = int(checkpoint["epoch"]) + 1
        warn(f"run_dir={run_dir}: the run did not finish; this is its checkpoint after epoch {epoch} of {run.epochs}")


def compare(before: Path, after: Path) -> None:
    """Say whether the test scores in two `metrics.json` are the same, and if not, which ones differ."""
    old, new = (json.loads(path.read_text())["test"] for path in (before, after))
    different = [f"{name} {old.get(name)} -> {value}" for name, value in new.items() if old.get(name) != value]
    console.print("differs from the run: " + ", ".join(different) if different else "the same numbers as the run")


def read(path: Path) -> DictConfig:
    """Read a YAML file of the run directory.

    Raises:
        InputError: it is missing or no mapping.
    """
    try:
        config: DictConfig | ListConfig = OmegaConf.load(path)
    except OSError as error:
        raise InputError(
            f"run_dir={path.parents[1]}: must be the directory of a run, {path.name} is missing"
        ) from error
    if not isinstance(config, DictConfig):
        raise InputError(f"run_dir={path.parents[1]}: {path.name} must be a run's config")
    return config


class CommandLine(Callback):
    """Refuses what is no run directory before anything is written."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check that there is a config to rebuild the run from."""
        if config.run_dir is None or not (Path(config.run_dir) / ".hydra" / "config.yaml").is_file():
            print(f"error: run_dir={config.run_dir}: must be the directory of a run", file=sys.stderr)
            raise SystemExit(1)


if __name__ == "__main__":
    main()
