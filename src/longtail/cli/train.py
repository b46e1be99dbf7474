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

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from longtail.errors import CONF, InputError, console, one_line_composition, one_line_errors, setting, warn
from longtail.runs import record
from longtail.runs.reading import GROUPS
from longtail.runs.record import relative_path
from longtail.sweeps import jobs

if TYPE_CHECKING:
    from longtail.tracking.logger import GuardedWandbLogger, RunDescription
    from longtail.training.classifier import Classifier
    from longtail.training.data import LongTailData

CHECKPOINTS = {"last": "last", "best_validation": "best"}  # of each `selection`
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune")  # of torch.compile
PAPER_PAIRS = {("uniform_minibatch", "clipped_inverse")}  # balanced twice because a paper does it
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
    with one_line_composition():
        # No decorator of it: what a job of SLURM or joblib is sent must be found there by its name.
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")(run)()


def run(cfg: DictConfig) -> float | None:
    """Train one run, or one job of a sweep; gives the sweep's optimiser the validation accuracy, if there is one."""
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        metrics = record.read_metrics(run_dir)
        if metrics and metrics.get("config_sha256") == jobs.identity(cfg):
            console.print(f"finished already: {relative_path(run_dir)}", soft_wrap=True)
            return jobs.validation_accuracy(metrics)
    if is_first_process():
        clear(run_dir)
    with one_line_errors(run_dir):
        return train(cfg, run_dir)
    return None


def train(cfg: DictConfig, run_dir: Path) -> float | None:
    """Build, train, test, and write the run directory."""
    check_run_settings(cfg)
    config_sha256 = jobs.identity(cfg)  # before anything is filled in
    console.quiet = not is_first_process()
    with without_collection():
        import lightning as L

        from longtail.sweeps import pool as workers
        from longtail.tracking import logger as tracking
        from longtail.tracking.mode import check_mode
        from longtail.training import precision
        from longtail.training.callbacks import Curves, MeasureNeed, ProgressBar, StopOnNonFiniteLoss
    quieten()
    with setting("logger"):
        check_mode(cfg.logger.mode)
    if cfg.trainer.precision == "auto":
        cfg.trainer.precision = precision.choose(cfg.trainer.accelerator)
    if cfg.trainer.gradient_clip_val is not None and cfg.optimizer.get("fused"):
        cfg.optimizer.fused = False  # Lightning does not clip the gradients of a fused optimizer
    data, classifier = build(cfg)
    if cfg.compile:
        classifier.model.compile(mode=cfg.compile)
    curves = Curves(data.data.class_names)
    callbacks = [StopOnNonFiniteLoss(), curves, ProgressBar(console), *checkpoints(cfg, run_dir)]
    if workers.is_measured():
        callbacks.append(MeasureNeed())
    with setting("trainer"):
        trainer: L.Trainer = instantiate(cfg.trainer, _convert_="all")(
            callbacks=callbacks, logger=False, default_root_dir=str(run_dir)
        )
    job: Any = HydraConfig.get()
    announce(cfg, data, classifier, chosen_options(job))
    logger = None
    if is_first_process():
        logger = tracking.start(cfg.logger, describe(cfg, job, run_dir, "train", data, classifier))
    trainer.logger = logger
    with tracking.finishing(logger):
        trainer.fit(classifier, datamodule=data)
        validation = dict(classifier.scores)
        if cfg.selection == "best_validation":
            validation = load_weights(classifier, run_dir / "checkpoints" / "best.ckpt")["scores"]
        trainer.test(classifier, datamodule=data, verbose=False)
        if trainer.is_global_zero:
            write_results(cfg, run_dir, data, classifier, trainer.global_step, validation, logger, config_sha256)
            say_result(run_dir, classifier.scores, per_class_table=job.mode != RunMode.MULTIRUN)
    return validation.get("accuracy")


def build(cfg: DictConfig) -> tuple["LongTailData", "Classifier"]:
    """Make the data and the classifier of a run from its config, and check all settings against each other.

    Raises:
        InputError: a setting does not fit; nothing has been trained or written then.
    """
    import lightning as L
    import torch

    from longtail import models
    from longtail.augment import Normalize
    from longtail.training.classifier import Classifier
    from longtail.training.data import LongTailData

    parts = {}
    for group in (*GROUPS, "optimizer", "scheduler"):
        with setting(group):
            parts[group] = instantiate(cfg[group], _convert_="all")
    with setting("dataset"):
        images = parts["dataset"]()

    def counts(available: torch.Tensor) -> torch.Tensor:
        with setting("imbalance"):
            return torch.as_tensor(parts["imbalance"](available))

    def sampler(*args: Any, **facts: Any) -> Any:
        with setting("sampler"):
            return parts["sampler"](*args, **facts)

    with setting(""):
        data = LongTailData(
            images,
            counts,
            sampler,
            validation_per_class=cfg.validation_per_class,
            subset_seed=cfg.subset_seed,
            seed=cfg.seed,
            eval_batch_size=cfg.eval_batch_size,
        )
    with setting("reweight"):
        weights = torch.as_tensor(parts["reweight"](data.class_counts), dtype=torch.float32)
        if weights.shape != data.class_counts.shape or not bool((weights.isfinite() & (weights >= 0)).all()):
            raise ValueError(f"must give a finite weight >= 0 for each of {data.num_classes} classes")
    with setting("loss"):
        loss = parts["loss"](data.class_counts)
        losses = loss(torch.zeros(2, data.num_classes), torch.tensor([0, 1]))
        if losses.shape != (2,):
            raise ValueError(f"must give a loss per image, not reduced: (2,) for 2 images, not {tuple(losses.shape)}")
    # From here on the seed decides, however the images came to be.
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    with setting("model"):
        model = parts["model"](in_channels=images.image_shape[0], num_classes=data.num_classes)
        models.check(model, images.image_shape, data.num_classes)
    if min(map(len, data.sampler), default=0) == 1:
        with setting(""):
            models.check_single(model, images.image_shape, cfg.batch_size)
    with setting("optimizer"):
        optimizer = parts["optimizer"]([{"params": list(model.parameters())}])
    with setting("scheduler"):
        parts["scheduler"](optimizer, total_steps=max(len(data.sampler) * cfg.epochs, 1))
    with setting(""):
        classifier = Classifier(
            model,
            loss,
            weights,
            data.class_counts,
            Normalize(*images.channel_stats()),
            images.augment,
            parts["optimizer"],
            parts["scheduler"],
            cfg.reduction,
        )
    return data, classifier


def check_run_settings(cfg: DictConfig) -> None:
    """Check the settings of `train.yaml` that no part checks.

    Raises:
        InputError: with the first one that is wrong.
    """
    for name, least in (
        ("seed", 0),
        ("subset_seed", 0),
        ("epochs", 1),
        ("batch_size", 1),
        ("eval_batch_size", 1),
        ("validation_per_class", 0),
    ):
        if not isinstance(cfg[name], int) or not least <= cfg[name] < 2**32:
            raise InputError(f"{name}={cfg[name]}: must be a whole number >= {least}")
    if any(kind in str(cfg.trainer.strategy) for kind in ("spawn", "fork", "notebook")):
        # Their results stay in processes that end with the training.
        raise InputError(f"trainer.strategy={cfg.trainer.strategy}: must start processes of its own, such as ddp")
    if cfg.compile is not None and cfg.compile not in COMPILE_MODES:
        raise InputError(f"compile={cfg.compile}: must be null or one of {', '.join(COMPILE_MODES)}")
    here = HydraConfig.get().mode == RunMode.MULTIRUN and "submitit" not in HydraConfig.get().launcher._target_
    if here and str(cfg.trainer.devices) not in ("1", "[0]"):
        raise InputError(f"trainer.devices={cfg.trainer.devices}: must be 1 in a sweep, whose jobs share the devices")
    if cfg.selection not in CHECKPOINTS:
        raise InputError(f"selection={cfg.selection}: must be {' or '.join(CHECKPOINTS)}")
    if cfg.selection == "best_validation" and not cfg.validation_per_class:
        raise InputError("selection=best_validation: must have held-out images, set validation_per_class")


def checkpoints(cfg: DictConfig, run_dir: Path) -> list[Any]:
    """Keep the last epoch, and the best one on held-out images if that is to be tested."""
    from lightning.pytorch.callbacks import ModelCheckpoint

    common: dict[str, Any] = {
        "dirpath": run_dir / "checkpoints",
        "enable_version_counter": False,
        "save_on_train_epoch_end": True,
    }
    last = ModelCheckpoint(filename="last", **common)
    if cfg.selection == "last":
        return [last]
    return [ModelCheckpoint(filename="best", monitor="val/accuracy", mode="max", **common), last]


def load_weights(classifier: "Classifier", checkpoint: Path) -> dict[str, Any]:
    """Load a checkpoint's weights, safely; gives the whole checkpoint, with the validation scores of its epoch.

    Raises:
        InputError: it is missing, broken, or of another shape than the classifier.
    """
    import pickle

    import torch

    try:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        classifier.load_state_dict(saved["state_dict"])
    except FileNotFoundError as error:
        raise InputError(f"checkpoint={checkpoint}: no such file") from error
    except (RuntimeError, KeyError, TypeError, EOFError, OSError, pickle.UnpicklingError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        mismatch = len(lines) > 1 and "Error(s) in loading" in lines[0]
        reason = lines[1] if mismatch else f"it cannot be read as a checkpoint ({type(error).__name__})"
        raise InputError(f"checkpoint={checkpoint}: must be one of this run's model: {reason}") from error
    return dict(saved)


def announce(cfg: DictConfig, data: "LongTailData", classifier: "Classifier", options: dict[str, str]) -> None:
    """Say in three lines what is about to be trained, and warn of what is rarely meant."""
    counts = data.class_counts
    batch = getattr(data.sampler, "batch_size", "varying size")
    console.print(
        f"[bold]{' x '.join(options.values())}[/bold], seed {cfg.seed}\n"
        f"{int(counts.sum()):,} of {len(data.data.train):,} images in {data.num_classes} classes, "
        f"{int(counts.max()):,} to {int(counts.min()):,} per class (ratio {float(counts.max() / counts.min()):.4g}), "
        f"{len(data.validation_indices):,} held out, {len(data.data.test):,} for the test\n"
        f"{cfg.trainer.max_epochs} epochs of {len(data.sampler)} batches of {batch}, "
        f"{number_of_parameters(classifier):,} parameters, {cfg.trainer.precision}, "
        f"class weights {float(classifier.weights.min()):.4g} to {float(classifier.weights.max()):.4g}",
        soft_wrap=True,
    )
    least, most = int(data.available.min()), int(data.available.max())
    if most > 2 * least and options["imbalance"] != "none":
        warn(
            f"imbalance={options['imbalance']}: the classes have {least:,} to {most:,} images to begin with and are"
            " thinned out further, in the order of their names; imbalance=none keeps all images"
        )
    weighted = bool(classifier.weights.max() > classifier.weights.min())
    pair = (options["sampler"], options["reweight"])
    if getattr(data.sampler, "balances_classes", False) and weighted and pair not in PAPER_PAIRS:
        warn(
            f"sampler={pair[0]} with reweight={pair[1]}: a double correction, the sampler already balances the"
            " classes; reweight=none is the usual choice"
        )


def chosen_options(job: Any) -> dict[str, str]:
    """The option of each of the six groups, by name, from Hydra's own config of a job."""
    return {group: str(job.runtime.choices[group]) for group in GROUPS}


def describe(
    cfg: DictConfig, job: Any, run_dir: Path, job_type: str, data: "LongTailData", classifier: "Classifier"
) -> "RunDescription":
    """What W&B is told of a training or evaluation job."""
    from longtail.tracking.logger import RunDescription

    options, settings = chosen_options(job), OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(settings, dict)
    return RunDescription(
        run_dir,
        job_type,
        name="-".join((cfg.name, *options.values(), f"seed{cfg.seed}")),
        group=Path(job.sweep.dir).name if str(job.mode).endswith("MULTIRUN") else None,
        options=options,
        settings={str(key): value for key, value in settings.items()},
        facts={"class_counts": data.class_counts.tolist(), "weights": classifier.weights.tolist()},
    )


def write_results(
    cfg: DictConfig,
    directory: Path,
    data: "LongTailData",
    classifier: "Classifier",
    steps: int,
    validation: dict[str, float],
    logger: "GuardedWandbLogger | None",
    config_sha256: str,
) -> None:
    """Write the results and the figures of a run to the directory, and send the same to W&B."""
    from longtail import figures
    from longtail.metrics import per_class_accuracy
    from longtail.tracking.results import send_result

    names, counts, drawn = data.data.class_names, data.class_counts.tolist(), classifier.drawn.tolist()
    hits, support = classifier.counts["hits"], classifier.counts["support"]
    accuracy = per_class_accuracy(hits, support).tolist()
    confusion = classifier.counts.get("confusion")
    rows = record.class_rows(names, counts, support.tolist(), classifier.weights.tolist(), accuracy)
    fingerprint = record.fingerprint(
        data.train_indices,
        class_counts=counts,
        parameters=number_of_parameters(classifier),
        steps=steps,
        images_seen=sum(drawn),
        augmentation=OmegaConf.to_container(cfg.dataset.get("augment") or DictConfig({}), resolve=True),
        reduction=cfg.reduction,
        selection=cfg.selection,
        validation_per_class=cfg.validation_per_class,
        precision=str(cfg.trainer.precision),
        seed=cfg.seed,
    )
    pictures = {
        "classes": figures.classes(names, counts, accuracy),
        "by_count": figures.by_count(counts, {"test": accuracy}),
        "box": figures.box({"test": accuracy}),
    }
    if confusion is not None:
        pictures["confusion"] = figures.confusion(names, confusion.numpy())
    (directory / "figures").mkdir(parents=True, exist_ok=True)
    for name, figure in pictures.items():
        figure.savefig(directory / "figures" / f"{name}.png", dpi=120)
    record.write_per_class(directory / "per_class.csv", rows)
    if confusion is not None:
        record.write_confusion(directory / "confusion.csv", confusion.tolist())
    metrics: dict[str, Any] = {"test": classifier.scores, "val": validation or None, "drawn_per_class": drawn}
    metrics |= {"fingerprint": fingerprint, "config_sha256": config_sha256}
    record.write_metrics(directory / "metrics.json", metrics)  # last: it says that the run is complete
    if logger:
        send_result(logger, directory)


def say_result(run_dir: Path, scores: dict[str, float], per_class_table: bool) -> None:
    """Print the table of classes, the summary, and where the files are."""
    from longtail.runs import reading as runs
    from longtail.sweeps import tables

    if per_class_table:
        console.print(tables.per_class(runs.read_rows(run_dir / "per_class.csv")))
    groups = "  ".join(
        f"{name} {scores[f'accuracy_{name}']:.3f}"
        for name in ("many", "medium", "few")
        if scores[f"accuracy_{name}"] == scores[f"accuracy_{name}"]
    )
    console.print(
        f"[bold]test accuracy {scores['accuracy']:.4f}  std over classes {scores['accuracy_std']:.4f}[/bold]  "
        f"min {scores['accuracy_min']:.3f}  {groups}\nfiles in {relative_path(run_dir)}",
        soft_wrap=True,
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


def number_of_parameters(classifier: "Classifier") -> int:
    """Trainable parameters of the model."""
    return sum(p.numel() for p in classifier.model.parameters() if p.requires_grad)


if __name__ == "__main__":
    # Not by the name __main__, for the same reason as in `main`.
    importlib.import_module("longtail.cli.train").main()
