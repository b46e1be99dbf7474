"""`longtail-predict run_dir=DIR images=FOLDER`: the classes of a folder of images, or the boxes in them."""

import os
from pathlib import Path

from omegaconf import DictConfig

from longtail import runs
from longtail.cli import app, job, saved
from longtail.cli.parts import parts
from longtail.errors import InputError, check_writable, console, text_of
from longtail.settings import LEAST, remark


def main() -> None:
    """The command `longtail-predict`, also called `longtail-detect-predict`."""
    app.main("predict", run)


def run(cfg: DictConfig) -> None:
    """Predict with one run's model."""
    with app.report_errors():
        predict(cfg)


def predict(cfg: DictConfig) -> None:
    """Write what a run's model says of a folder of images, once all have been looked at."""
    from longtail.detection.prediction import BOXES
    from longtail.inference.folders import TABLE

    job.quieten()
    check(cfg)
    run_dir = Path(cfg.run_dir)
    out = Path(cfg.out) if cfg.out else run_dir / "predictions"
    if not cfg.out:
        runs.check_links(out)
    settings = saved.settings(run_dir, cfg.trust, cfg.accelerator)
    if out.resolve().is_relative_to(Path(cfg.images).resolve()):  # where pictures would be images of the next call
        raise InputError(f"out={out}: must not lie in images={cfg.images}")
    check_writable("out", out)
    if not cfg.overwrite and any((out / name).exists() for name in (BOXES, TABLE)):
        raise InputError(f"out={out}: must not hold predictions, or overwrite=true")
    (find_boxes if "detector" in settings else classify)(cfg, settings, out)
    console.print(f"files in {runs.relative_path(out)}", soft_wrap=True, markup=False)


def classify(cfg: DictConfig, settings: DictConfig, out: Path) -> None:
    """Write `predictions.csv`, and the images that the classifier is least certain of as one picture."""
    from longtail.inference import folders

    loaded, folder = saved.classifier(Path(cfg.run_dir), settings, cfg.accelerator), Path(cfg.images)
    paths, top_k = folders.images_in(folder), min(cfg.top_k, len(loaded.class_names))
    predictions = folders.classify(loaded, folder, paths, top_k, settings.eval_batch_size)
    try:
        number = folders.write(out, predictions, folder, top_k, cfg.least_certain)
    except OSError as error:
        raise InputError(f"out={out}: must be a writable directory ({error})") from error
    console.print(f"{number:,} images classified", soft_wrap=True)


def find_boxes(cfg: DictConfig, settings: DictConfig, out: Path) -> None:
    """Write `boxes.json`, and the images with their boxes drawn in."""
    from longtail.detection.prediction import Predictor, write
    from longtail.inference.folders import images_in

    run_dir, folder = Path(cfg.run_dir), Path(cfg.images)
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
    console.print(f"{what} in {len(paths):,} images", soft_wrap=True)


def check(cfg: DictConfig) -> None:
    """Check the values of the settings; their types are checked as they are composed.

    Raises:
        InputError: with the first one that is wrong.
    """
    for name, fits in (
        ("run_dir", cfg.run_dir is not None),
        ("images", cfg.images is not None and os.path.isdir(cfg.images)),
        ("score", 0 <= cfg.score <= 1),
        *((name, cfg[name] >= LEAST[name]) for name in ("top_k", "least_certain", "drawn")),
    ):
        if not fits:
            raise InputError(f"{name}={text_of(cfg[name])}: {remark(name)}")


if __name__ == "__main__":
    main()
