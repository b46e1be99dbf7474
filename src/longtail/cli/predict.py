"""`longtail-detect-predict run_dir=DIR images=FOLDER`: find boxes in a folder of images."""

import json
from pathlib import Path

from omegaconf import DictConfig

from longtail import runs
from longtail.cli import app, evaluate, job
from longtail.cli.parts import parts
from longtail.errors import InputError, console


def main() -> None:
    """The command `longtail-detect-predict`."""
    app.main("predict", run)


def run(cfg: DictConfig) -> None:
    """Find boxes with one run's detector."""
    with app.report_errors():
        predict(cfg)


def predict(cfg: DictConfig) -> None:
    """Write `boxes.json`, and the images with their boxes drawn in, once all images have been looked at."""
    from longtail.detection.prediction import Predictor, draw, images_in

    job.quieten()
    run_dir, out = Path(cfg.run_dir), Path(cfg.out or Path(cfg.run_dir, "predictions"))
    for name, value, fits in (
        ("images", cfg.images, cfg.images is not None and Path(cfg.images).is_dir()),
        ("score", cfg.score, isinstance(cfg.score, int | float) and 0 <= cfg.score <= 1),
        ("drawn", cfg.drawn, type(cfg.drawn) is int and cfg.drawn >= 0),
    ):
        if not fits:
            allowed = {"images": "a folder of images", "score": "in [0, 1]", "drawn": "a whole number >= 0"}[name]
            raise InputError(f"{name}={'null' if value is None else value}: must be {allowed}")
    if (out / "boxes.json").exists() and not cfg.overwrite:
        raise InputError(f"out={out}: must not hold predictions, or overwrite=true")
    settings = evaluate.read(run_dir, "config.yaml")
    if "detector" not in settings:
        raise InputError(f"run_dir={run_dir}: must be a finished run of longtail-detect")
    predictor = Predictor.of_run(run_dir, parts(settings), settings.selection, cfg.accelerator)
    folder = Path(cfg.images)
    paths = images_in(folder)
    found = list(predictor.find(paths, cfg.score, settings.eval_batch_size))
    names = [str(path.relative_to(folder)) for path in paths]
    (out / "drawn").mkdir(parents=True, exist_ok=True)
    content = {
        "class_names": list(predictor.class_names),
        "images": [{"file": name, "boxes": boxes} for name, boxes in zip(names, found, strict=True)],
    }
    with runs.atomic_write(out / "boxes.json") as file:
        file.write(json.dumps(content, indent=1) + "\n")
    for name, path, boxes in list(zip(names, paths, found, strict=True))[: cfg.drawn]:
        picture = out / "drawn" / f"{name}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        draw(path, boxes).save(picture)
    console.print(
        f"{sum(map(len, found)):,} boxes in {len(paths):,} images\nfiles in {runs.relative_path(out)}", soft_wrap=True
    )


if __name__ == "__main__":
    main()
