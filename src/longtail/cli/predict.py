"""`longtail-detect-predict run_dir=DIR images=FOLDER`: find boxes in a folder of images."""

import os
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from longtail import runs
from longtail.cli import app, evaluate, job, trust
from longtail.cli.parts import parts
from longtail.errors import InputError, check_writable, console, text_of
from longtail.settings import CHOICES, remark


def main() -> None:
    """The command `longtail-detect-predict`."""
    app.main("predict", run)


def run(cfg: DictConfig) -> None:
    """Find boxes with one run's detector."""
    with app.report_errors():
        predict(cfg)


def predict(cfg: DictConfig) -> None:
    """Write `boxes.json`, and the images with their boxes drawn in, once all images have been looked at."""
    from longtail.detection.prediction import BOXES, Predictor, images_in, write

    job.quieten()
    check(cfg)
    run_dir, folder = Path(cfg.run_dir), Path(cfg.images)
    out = Path(cfg.out) if cfg.out else run_dir / "predictions"
    if not cfg.out:
        runs.check_links(out)
    settings = settings_of(run_dir, cfg.trust)
    check_writable("out", out)
    if (out / BOXES).exists() and not cfg.overwrite:
        raise InputError(f"out={out}: must not hold predictions, or overwrite=true")
    predictor = Predictor.of_run(run_dir, parts(settings), settings.selection, cfg.accelerator)
    paths = images_in(folder)
    boxes = predictor.find(paths, cfg.score, settings.eval_batch_size)
    found = {str(path.relative_to(folder)): own for path, own in zip(paths, boxes, strict=True)}
    try:
        write(out, predictor.class_names, found, folder, cfg.drawn)
    except OSError as error:
        raise InputError(f"out={out}: must be a writable directory ({error})") from error
    number = sum(map(len, found.values()))
    what = f"{number:,} boxes" if number else f"0 boxes of score {cfg.score} or more (score= lowers that)"
    console.print(f"{what} in {len(paths):,} images\nfiles in {runs.relative_path(out)}", soft_wrap=True)


def check(cfg: DictConfig) -> None:
    """Check the values of the settings; their types are checked as they are composed.

    Raises:
        InputError: with the first one that is wrong.
    """
    for name, fits in (
        ("run_dir", cfg.run_dir is not None),
        ("images", cfg.images is not None and os.path.isdir(cfg.images)),
        ("score", 0 <= cfg.score <= 1),
        ("drawn", cfg.drawn >= 0),
    ):
        if not fits:
            raise InputError(f"{name}={text_of(cfg[name])}: {remark(name)}")


def settings_of(run_dir: Path, trusted: list[str]) -> DictConfig:
    """Return the settings of a run of a detector.

    Raises:
        InputError: it is none, or has a setting that finding boxes needs and that is wrong.
    """
    settings = evaluate.read(run_dir, "config.yaml")
    settings.data_dir, settings.logger = None, {}  # nothing is read from there, or logged
    trust.check(settings, trusted)
    OmegaConf.resolve(settings)
    must = f"run_dir={run_dir}: must be a finished run of longtail-detect"
    if "detector" not in settings:
        raise InputError(f"{must}: its config has no detector")
    size, selection = settings.eval_batch_size, settings.selection
    for name, fits in (
        ("eval_batch_size", type(size) is int and size >= 1),
        ("selection", selection in CHOICES["selection"]),
    ):
        if not fits:
            raise InputError(f"{must}: its {name}={text_of(settings[name])} {remark(name)}")
    return settings


if __name__ == "__main__":
    main()
