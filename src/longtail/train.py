"""`longtail`: compose a run on the command line, train it, test its last epoch, leave a run directory.

PyTorch and everything built on it is imported when a run starts, so that `--help` and `--cfg job` answer at once.
"""

import contextlib
import gc
import hashlib
import importlib
import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import hydra
from hydra._internal import utils as hydra_utils
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.console import Console

from longtail import record, sweeps
from longtail.record import shorten

if TYPE_CHECKING:
    from longtail.callbacks import Curves
    from longtail.classifier import Classifier
    from longtail.datamodule import LongTailData
    from longtail.tracking import GuardedWandbLogger

HERE = Path(__file__).resolve().parent
CONF = HERE / "conf" if (HERE / "conf").is_dir() else HERE.parents[1] / "conf"  # in the wheel, in a checkout
WORKERS = "hydra_plugins.longtail_workers.Workers"  # the launcher that gives jobs their directories itself
GROUPS = ("dataset", "imbalance", "sampler", "loss", "reweight", "model")
CHECKPOINTS = {"last": "last", "best_validation": "best"}  # of each `selection`
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune")  # of torch.compile
PAPER_PAIRS = {("uniform_minibatch", "clipped_inverse")}  # balanced twice because a paper does it
TOP_LEVEL = ("dataset", "data_dir", "batch_size", "WANDB_MODE")  # named by parts, but not settings of a group
NOT_OF_THE_RESULT = ("hydra", "logger", "name")  # with other ones of these a job is the same
RESULTS = (
    "metrics.json",
    "per_class.csv",
    "*.part",
    "failure.txt",
    "checkpoints/*.ckpt",
    "figures/*.png",
    "evaluation/*.*",
)
console = Console(highlight=False)


class InputError(Exception):
    """Something the user set is wrong; the text is one line that names the setting, its value, what is allowed."""


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
        if metrics and metrics.get("config_sha256") == identity(cfg):
            console.print(f"finished already: {shorten(run_dir)}", soft_wrap=True)
            return validation_accuracy(metrics)
    if is_first_process():
        clear(run_dir)
    with one_line_errors(run_dir):
        return train(cfg, run_dir)
    return None


def train(cfg: DictConfig, run_dir: Path) -> float | None:
    """Build, train, test, and write the run directory."""
    check_run_settings(cfg)
    config_sha256 = identity(cfg)  # before anything is filled in
    console.quiet = not is_first_process()
    with without_collection():
        import lightning as L

        from longtail import precision, tracking, workers
        from longtail.callbacks import Curves, MeasureNeed, ProgressBar, StopOnNonFiniteLoss
    quieten()
    with setting("logger"):
        tracking.check_mode(cfg.logger.mode)
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
    logger = start_wandb(cfg, cfg.logger, job, run_dir, "train", data, classifier) if is_first_process() else None
    trainer.logger = logger
    with tracking.finishing(logger):
        trainer.fit(classifier, datamodule=data)
        validation = dict(classifier.scores)
        if cfg.selection == "best_validation":
            validation = load_weights(classifier, run_dir / "checkpoints" / "best.ckpt")["scores"]
        trainer.test(classifier, datamodule=data, verbose=False)
        if trainer.is_global_zero:
            conclude(cfg, run_dir, data, classifier, trainer.global_step, validation, logger, curves, config_sha256)
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
    from longtail.classifier import Classifier
    from longtail.datamodule import LongTailData

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


def start_wandb(
    cfg: DictConfig,
    logger_cfg: DictConfig,
    job: Any,
    run_dir: Path,
    job_type: str,
    data: "LongTailData",
    classifier: "Classifier",
) -> "GuardedWandbLogger | None":
    """Start the W&B run of a training or evaluation job.

    Its config is the resolved settings, the options by name, and for up to 10,000 classes their counts and weights;
    its group is the sweep, Hydra's or W&B's. A W&B sweep overwrites settings of its parameters' names, so there all
    settings are in `settings` too.

    Raises:
        InputError: logger.mode is unknown.
    """
    from longtail import tracking

    if tracking.check_mode(logger_cfg.mode) == "disabled":
        return None
    import wandb  # half a second that a run without it is spared

    options = chosen_options(job)
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    facts = {**tracking.beside_sweep(settings), "options": options}
    if data.num_classes <= tracking.MAX_LISTED_CLASSES:
        facts |= {"class_counts": data.class_counts.tolist(), "weights": classifier.weights.tolist()}
    with setting("logger"):
        return tracking.start(
            logger_cfg.mode,
            base_url=lambda: str(wandb.setup().settings.base_url),
            reset=restart_wandb,
            run_dir=run_dir,
            facts=facts,
            say=lambda line: console.print(line, soft_wrap=True),
            warn=warn,
            project=logger_cfg.get("project"),
            entity=logger_cfg.get("entity"),
            name="-".join((cfg.name, *options.values(), f"seed{cfg.seed}")),
            group=Path(job.sweep.dir).name if str(job.mode).endswith("MULTIRUN") else tracking.sweep_id(),
            job_type=job_type,
            tags=[f"{group}={option}"[:64] for group, option in options.items()],
        )
    return None


def restart_wandb() -> None:
    """End W&B's own process and forget the run in it, so that the next run starts a new one."""
    import wandb

    wandb.run = None
    wandb.teardown()


def conclude(
    cfg: DictConfig,
    directory: Path,
    data: "LongTailData",
    classifier: "Classifier",
    steps: int,
    validation: dict[str, float],
    logger: "GuardedWandbLogger | None",
    curves: "Curves",
    config_sha256: str,
) -> None:
    """Write `metrics.json`, `per_class.csv` and the figures to the directory, and send the same to W&B."""
    from longtail import figures, tracking
    from longtail.metrics import per_class_accuracy

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
    pictures = {"classes": figures.classes(names, counts, accuracy)}
    if confusion is not None:
        pictures["confusion"] = figures.confusion(names, confusion.numpy())
    (directory / "figures").mkdir(parents=True, exist_ok=True)
    files = [directory / "figures" / f"{name}.png" for name in pictures]
    for file, figure in zip(files, pictures.values(), strict=True):
        figure.savefig(file, dpi=120)
    record.write_per_class(directory / "per_class.csv", rows)
    metrics: dict[str, Any] = {"test": classifier.scores, "val": validation or None, "drawn_per_class": drawn}
    metrics |= {"fingerprint": fingerprint, "config_sha256": config_sha256}
    record.write_metrics(directory / "metrics.json", metrics)  # last: it says that the run is complete
    if logger:
        logger.log_metrics(curves.per_class(classifier, "test"))
        tracking.send_result(logger, rows, drawn, None if confusion is None else confusion.tolist(), files)


def say_result(run_dir: Path, scores: dict[str, float], per_class_table: bool) -> None:
    """Print the table of classes, the summary, and where the files are."""
    from longtail import tables

    if per_class_table:
        console.print(tables.per_class(tables.read_rows(run_dir / "per_class.csv")))
    groups = "  ".join(
        f"{name} {scores[f'accuracy_{name}']:.3f}"
        for name in ("many", "medium", "few")
        if scores[f"accuracy_{name}"] == scores[f"accuracy_{name}"]
    )
    console.print(
        f"[bold]test accuracy {scores['accuracy']:.4f}  std over classes {scores['accuracy_std']:.4f}[/bold]  "
        f"min {scores['accuracy_min']:.3f}  {groups}\nfiles in {shorten(run_dir)}",
        soft_wrap=True,
    )


@contextlib.contextmanager
def setting(group: str) -> Iterator[None]:
    """Name the setting in a part's complaint: `ratio=0.5: must ...` becomes `imbalance.ratio=0.5: must ...`.

    Raises:
        InputError: for any exception in the block; one that is no ValueError or OSError is named by its type.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        cause: BaseException = error
        if isinstance(error, InstantiationException):
            cause = error.__cause__ or error
            if node := re.search(r"full_key: (\S+)", str(error)):
                group = node[1]
        text = " ".join(str(cause).split())
        if not isinstance(cause, ValueError | OSError):
            text = f"{type(cause).__name__}: {text} (HYDRA_FULL_ERROR=1 shows where)"
        name = re.match(r"(\w+)=", text)
        if group and not (name and name[1] in TOP_LEVEL):
            text = f"{group}.{text}" if name else f"{group}: {text}"
        raise InputError(text) from error


@contextlib.contextmanager
def one_line_errors(run_dir: Path | None = None) -> Iterator[None]:
    """Turn what the user can mend into one line on stderr and exit code 1; HYDRA_FULL_ERROR=1 shows the traceback.

    A job of a sweep notes its failure in its directory and lets the next one start; a single run that was refused
    leaves no directory.
    """
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN

    def note(line: str) -> None:
        if run_dir:
            with contextlib.suppress(OSError):
                (run_dir / "failure.txt").write_text(line + "\n")

    try:
        yield
    except SystemExit as stop:
        note(f"stopped by a signal (exit code {stop.code})")
        print("stopped; the last finished epoch, if any, is in checkpoints/last.ckpt", file=sys.stderr)
        raise
    except Exception as error:
        known = isinstance(error, InputError | FloatingPointError)
        line = str(error) if known else f"{type(error).__name__}: {error}"
        note(line)
        if run_dir and isinstance(error, InputError) and not sweeping:
            discard(run_dir)
        if os.environ.get("HYDRA_FULL_ERROR") == "1" or (not known and not sweeping):
            raise
        if not known:
            sys.excepthook(type(error), error, error.__traceback__)
        print(f"error: {line}", file=sys.stderr)
        if not sweeping:
            raise SystemExit(1) from None


@contextlib.contextmanager
def one_line_composition() -> Iterator[None]:
    """Have Hydra say in one line what it cannot compose; HYDRA_FULL_ERROR=1 shows the traceback."""
    report = hydra_utils.run_and_report

    def report_in_one_line(function: Callable[[], Any]) -> Any:
        def composed() -> Any:
            try:
                return function()
            except Exception as error:
                expected = isinstance(error, HydraException) or type(error).__module__.startswith("submitit.")
                if not expected or os.environ.get("HYDRA_FULL_ERROR") == "1":
                    raise
                refuse(describe(error))

        return report(composed)

    hydra_utils.run_and_report = report_in_one_line  # type: ignore[assignment]
    try:
        yield
    finally:
        hydra_utils.run_and_report = report


def describe(error: Exception) -> str:
    """A line for what Hydra or a launcher cannot do."""
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return f"{group}={option}: must be one of {', '.join(error.options)}"
    text = " ".join(str(error).partition("\nConfig search path")[0].split())
    if isinstance(error, OverrideParseException):
        text = f"{error.override}: {text}"
    if isinstance(error, HydraException):
        return text
    what = " ".join(str(error).splitlines()[:2])  # the rest is the job's log
    return f"a job was lost: {what}; the same command completes the sweep when no job of it is in the queue any more"


def refuse(line: str) -> NoReturn:
    """Exit with one line."""
    print(f"error: {line}", file=sys.stderr)
    raise SystemExit(1)


def identity(cfg: DictConfig) -> str:
    """SHA-256 of the settings that make a job what it is, as composed: not Hydra's own, the logger and the name."""
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in NOT_OF_THE_RESULT])
    return hashlib.sha256(OmegaConf.to_yaml(own, sort_keys=True).encode()).hexdigest()


def saved_identity(directory: Path) -> str | None:
    """The identity of the job in a directory, by its result or else by its settings; None if neither can be read."""
    metrics = record.read_metrics(directory)
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


def clear(run_dir: Path) -> None:
    """Remove the results of an earlier run in a directory, the one by which it counts as finished first."""
    for pattern in RESULTS:
        for path in run_dir.glob(pattern):
            path.unlink()


class CommandLine(Callback):
    """Checks jobs and the output directory before a run or sweep, and ends a sweep with its table and exit code."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse a run directory that cannot be written."""
        refuse_unwritable("hydra.run.dir", config.hydra.run.dir)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse jobs that cannot be composed, a sweep directory that cannot be written or is another sweep's."""
        self.places: list[sweeps.Place] = []
        self.options: list[Sequence[str]] = []
        try:
            jobs = jobs_of(config)
            seen: set[str] = set()
            for overrides in jobs or []:
                if not seen.issuperset(overrides):
                    compose_job(config, overrides, 0)
                    seen.update(overrides)
        except HydraException as error:
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
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

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print a line per combination, mean and standard deviation over seeds; exit with 1 if a job failed."""
        from longtail import tables

        sweep_dir = Path(config.hydra.sweep.dir)
        jobs = [tables.read_job(p.directory, o) for p, o in zip(self.places, self.options, strict=True)]
        if not self.places:  # the sweeper made them up as it went
            known = [path / ".hydra" / "overrides.yaml" for path in sweeps.find(sweep_dir)]
            found = sorted((path for path in known if path.exists()), key=lambda p: (len(p.parts[-3]), p.parts[-3]))
            jobs = [tables.read_job(path.parents[1], list(OmegaConf.load(path))) for path in found]
        console.print(tables.sweep(jobs))
        if done := sum(place.metrics is not None for place in self.places):
            console.print(f"{done} of {len(jobs)} jobs had been finished before and were not run again")
        console.print(f"files in {shorten(sweep_dir)}", soft_wrap=True)
        if any(True for job in jobs for _ in job.directory.glob("wandb/offline-run-*")):
            runs = f"{shorten(sweep_dir)}/*/wandb/offline-run-*"
            console.print(f"W&B is offline; send the runs later with: wandb sync {runs}", soft_wrap=True)
        for line, times in tables.warnings_of(jobs).items():
            warn(f"{line} (in {times} of {len(jobs)} jobs)")
        if failed := [job for job in jobs if job.test is None]:
            for job in failed:
                print(f"error: job {job.directory.name} failed: {job.failure}", file=sys.stderr)
            raise SystemExit(1)


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
        metrics = None
        if not sweeps.is_free(directory):
            if saved_identity(directory) != identity(job):
                refuse_other_jobs(config, f"its {directory.name} has other settings than job {number}")
            metrics = record.read_metrics(directory)
        places.append(sweeps.Place(number, directory, metrics))
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


def discard(run_dir: Path) -> None:
    """Remove the directory of a run that never started; one that holds anything else stays."""
    if {path.name for path in run_dir.iterdir()} <= {".hydra", "failure.txt"}:
        shutil.rmtree(run_dir, ignore_errors=True)


def refuse_unwritable(name: str, directory: str) -> None:
    """Exit with one line if the directory cannot be made and written."""
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
        probe = Path(directory) / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        refuse(f"{name}={directory}: must be a writable directory ({error.strerror})")


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


def warn(line: str) -> None:
    """One line on stderr."""
    print(f"warning: {line}", file=sys.stderr)


if __name__ == "__main__":
    # Not by the name __main__, for the same reason as in `main`.
    importlib.import_module("longtail.train").main()
