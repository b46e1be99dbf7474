"""What `longtail-eval posthoc=...` adds to an evaluation: its predictions, adjusted without training."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import ListConfig

from longtail import runs
from longtail.errors import InputError, console, text_of
from longtail.settings import ADJUSTMENTS

if TYPE_CHECKING:
    import lightning as L

    from longtail.training.training import Training


def adjustments(value: Any) -> list[str]:
    """Return the adjustments that a setting names: all, one, some in a list, or none.

    Raises:
        InputError: there is no such one.
    """
    wanted = list(value) if isinstance(value, ListConfig) else [] if value is None else [value]
    if wrong := [name for name in wanted if name not in (*ADJUSTMENTS, "all")]:
        raise InputError(f"posthoc={text_of(wrong[0])}: must be all, or some of [{', '.join(ADJUSTMENTS)}]")
    return [name for name in ADJUSTMENTS if {name, "all"} & set(wanted)]


def adjust(
    directory: Path,
    trainer: "L.Trainer",
    training: "Training",
    checkpoint: Path,
    identity: str,
    wanted: Sequence[str],
) -> None:
    """Write the tables of the adjustments, and print them.

    Args:
        directory: of the evaluation, where the predictions are kept.
        trainer: that has evaluated the run.
        training: the run, with its checkpoint loaded.
        checkpoint: that file.
        identity: digest of the settings.
        wanted: names of adjustments.
    """
    from longtail.training import posthoc
    from longtail.training.build import ClassificationTraining

    assert isinstance(training, ClassificationTraining)
    digest = posthoc.source(checkpoint, identity, training)
    kept, were_there = posthoc.kept(directory, digest, trainer, training)
    made = posthoc.Adjustments(kept, training)
    _give(directory / runs.POSTHOC, "Without further training", made.lines(wanted), training)
    if "prior_shift" in wanted:
        _give(directory / runs.PRIOR_SHIFT, "Under other class priors of the test", made.prior_shift(), training)
    source = runs.relative_path(directory / runs.PREDICTIONS)
    for note in [*([f"predictions as kept in {source}"] if were_there else []), *made.notes]:
        console.print(note, soft_wrap=True, markup=False)


def _give(path: Path, title: str, lines: Sequence[runs.Line], training: "Training") -> None:
    from longtail.reports.formats import Column, Table, terminal

    runs.write_lines(path, lines)
    task = training.module.evaluation.task
    columns = [Column(name, task.title(name).replace("_", " ")) for name in lines[0]]
    rows = [[value.replace("_", " ") if isinstance(value, str) else value for value in one.values()] for one in lines]
    console.print(terminal(Table(title, columns, rows), console.width), crop=False)
