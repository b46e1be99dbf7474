"""A run as its directory has it: settings, checked before anything is made of them, and the trained classifier."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from longtail.cli import trust
from longtail.cli.job import settings_of
from longtail.cli.parts import groups, parts
from longtail.errors import InputError, text_of
from longtail.runs.upgrade import ADDED, RENAMED
from longtail.settings import CHOICES, LEAST, names_of, remark

if TYPE_CHECKING:
    from longtail.inference import Loaded

HYDRA = ("hydra.mode", "hydra.sweep.dir", "hydra.runtime.choices")


def load(run_dir: str | Path, accelerator: str = "cpu", trust: Sequence[str] = ()) -> "Loaded":
    """Load the trained classifier of a finished run, without its dataset.

        model, class_names, transform = longtail.load("runs/longtail/...")
        probabilities = model.probabilities(transform(Image.open("a.jpg"))[None])

    Args:
        run_dir: the directory of the run.
        accelerator: where the model computes, as Lightning names it: cpu, gpu, mps, or auto.
        trust: packages whose parts the run's config may name, beside those of `conf/` and installed ones.

    Returns:
        The model, in evaluation mode; the names of its C classes; and what makes an image its input.

    Raises:
        InputError: it is no finished run of a classifier, or names parts that are not trusted.
    """
    return classifier(Path(run_dir), settings(Path(run_dir), trust, accelerator), accelerator)


def classifier(run_dir: Path, run: DictConfig, accelerator: str) -> "Loaded":
    """Load the trained classifier of a finished run with these settings onto a device.

    Raises:
        InputError: it is not finished, or not of a classifier, or there is no such device.
    """
    from longtail import inference

    if "detector" in run:
        raise InputError(f"run_dir={run_dir}: must be a run of a classifier, not of a detector")
    return inference.load(run_dir, parts(run), settings_of(run), accelerator)


def settings(run_dir: Path, trusted: Sequence[str], accelerator: str) -> DictConfig:
    """Return the settings of a run whose model is to be used without its data.

    Raises:
        InputError: there is no run, it names what is not trusted, or a setting that is needed is wrong.
    """
    run = read(run_dir, "config.yaml")
    run.data_dir, run.logger = None, {}  # nothing is read from there, or logged
    trust.check(run, trusted)
    OmegaConf.resolve(run)
    run = adapt(run, accelerator)
    must = f"run_dir={run_dir}: must be a finished run of {'longtail-detect' if 'detector' in run else 'longtail'}"
    size, epochs = run.eval_batch_size, run.trainer.get("max_epochs")
    for name, value, fits in (
        ("eval_batch_size", size, type(size) is int and 1 <= size < 2**32),
        ("selection", run.selection, run.selection in CHOICES["selection"]),
        ("epochs", epochs, type(epochs) is int and epochs >= 1),
    ):
        if not fits:
            raise InputError(f"{must}: its {name}={text_of(value)} {remark(name)}")
    return run


def read(run_dir: Path, name: str) -> DictConfig:
    """Read what Hydra has written of a run: `config.yaml`, of which nothing is evaluated before `trust.check`, or
    what an evaluation needs of `hydra.yaml`.

    Raises:
        InputError: the file is missing, not YAML, or lacks an entry that an evaluation needs.
    """
    must = f"run_dir={run_dir}: must be the directory of a run, its .hydra/{name}"
    path = run_dir / ".hydra" / name
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no file")  # but perhaps a pipe, which may be waited for without end
        text = path.read_text("utf-8")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise ValueError("it has aliases, by which a few lines can stand for any amount of memory")
        config: Any = OmegaConf.load(io.StringIO(text))
        content: Any = OmegaConf.to_container(config)
        entries = needed(dict(content)) if name == "config.yaml" else HYDRA
    except FileNotFoundError as error:
        raise InputError(f"{must} is missing") from error
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{must} cannot be read ({reason})") from error
    found = {entry: raw(content, entry) for entry in entries}
    if lacking := [entry for entry, value in found.items() if value is None]:
        raise InputError(f"{must} has no {lacking[0]}")
    if name == "config.yaml":
        return DictConfig(config)
    mode, sweep, choices = found.values()
    if "${" in str(sweep):
        sweep = str(run_dir.absolute().parent)
    hydra = OmegaConf.create({"hydra": {"mode": mode, "sweep": {"dir": sweep}, "runtime": {"choices": choices}}})
    trust.check(hydra, ())
    return hydra


def raw(content: Any, entry: str) -> Any:
    """Return what stands under a dotted name in nested dictionaries, None if nothing does."""
    for key in entry.split("."):
        content = content.get(key) if isinstance(content, dict) else None
    return content


def needed(run: Mapping[str, Any]) -> Sequence[str]:
    """Return the settings that an evaluation needs, all of them from the first version on."""
    parts = [f"{group}._target_" for group in (*groups(run), "trainer") if group != "method"]
    plain = (*LEAST, "name", "reduction", "selection", "data_dir")
    return [*(name for name in plain if name in names_of(run)), *parts]


def adapt(run: DictConfig, accelerator: str) -> DictConfig:
    """Set what computes; take settings of earlier versions by their present names."""
    with open_dict(run):
        if not {"method", "detector"} & set(run):
            OmegaConf.update(run, "method._target_", ADDED["method._target_"], force_add=True)
            for old, new in RENAMED.items():
                if (value := OmegaConf.select(run, old)) is not None:
                    OmegaConf.update(run, new, value, force_add=True)
                    group, _, key = old.rpartition(".")
                    run[group].pop(key)
        run.trainer.accelerator, run.trainer.devices = accelerator, 1
        for name in ("callbacks", "logger"):  # those of the training
            run.trainer.pop(name, None)
    return run
