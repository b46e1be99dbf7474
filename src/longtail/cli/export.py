"""`longtail-export run_dir=DIR`: the classifier of a run as a program that needs neither Longtail nor its dataset."""

from pathlib import Path

from omegaconf import DictConfig

from longtail import runs
from longtail.cli import app, job, saved
from longtail.errors import InputError, check_writable, console, text_of
from longtail.settings import CHOICES, remark


def main() -> None:
    """The command `longtail-export`."""
    app.main("export", run)


def run(cfg: DictConfig) -> None:
    """Export one run's classifier."""
    with app.report_errors():
        export(cfg)


def export(cfg: DictConfig) -> None:
    """Write `model.pt2`, perhaps `model.onnx`, and `model.json`, once they are known to agree with the model."""
    if cfg.format not in CHOICES["format"]:
        raise InputError(f"format={text_of(cfg.format)}: {remark('format')}")
    job.quieten()
    run_dir = Path(cfg.run_dir)
    out = Path(cfg.out) if cfg.out else run_dir / "export"
    if not cfg.out:
        runs.check_links(out)
    settings = saved.settings(run_dir, cfg.trust, "cpu")

    from longtail.inference import exporting
    from longtail.training import checkpoints

    check_writable("out", out)
    if (out / exporting.DESCRIPTION).exists() and not cfg.overwrite:
        raise InputError(f"out={out}: must not hold an export, or overwrite=true")
    lacking = exporting.lacking()
    if cfg.format == "onnx" and lacking:
        raise InputError(f"format=onnx: must have {', '.join(lacking)} installed: pip install 'longtail[onnx]'")
    loaded = saved.classifier(run_dir, settings, "cpu")
    onnx = cfg.format == "onnx" or (cfg.format is None and not lacking)
    try:
        differences = exporting.export(loaded, checkpoints.path(run_dir, settings.selection), out, onnx)
    except OSError as error:
        raise InputError(f"out={out}: must be a writable directory ({error})") from error
    for name, difference in differences.items():
        console.print(f"{name}: log probabilities differ from the model's by {difference:.1e} at most")
    if cfg.format is None and lacking:
        console.print("no ONNX: pip install 'longtail[onnx]' adds it", markup=False)
    console.print(f"files in {runs.relative_path(out)}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
