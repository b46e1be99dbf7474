"""What loggers are sent when something is finished: the results of a run, the summary of several runs."""

import math
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch.loggers import Logger

from longtail.errors import console
from longtail.runs import POSTHOC, PRIOR_SHIFT, Run, Task, read, read_lines, read_metrics, safe_names
from longtail.tracking.logger import MAX_LISTED, GuardedWandbLogger, RunDescription, finishing, start

MAX_CONFUSION_TABLE = 100  # classes: the confusion matrix as a table has C * C rows
MAX_KEYS = 1_000  # classes with a key of their own

Table = tuple[Sequence[str], Sequence[Sequence[str | int | float | None]]]  # names of the columns, rows


def send_result(loggers: Sequence[Logger], directory: Path, step: int | None = None) -> None:
    """Send what a run or its evaluation has written to a directory, as far as a logger can show it.

    These are the primary metric of each class as `test/class/<name>` for up to 1,000 classes and, for W&B, the table
    of up to 10,000 classes with how often each was drawn, the confusion matrix of up to 100, and the figures.
    """
    run = read(directory)
    if len(run.rows) <= MAX_KEYS:
        keys = (f"test/class/{name}" for name in safe_names([row.class_name for row in run.rows]))
        scores = {key: row.score for key, row in zip(keys, run.rows, strict=True)}
        for logger in loggers:
            logger.log_metrics(scores, step)
            logger.finalize("success")  # once more, after the Trainer
    for logger in loggers:
        if isinstance(logger, GuardedWandbLogger):
            _send_tables(logger, directory, run)
            _send_figures(logger, directory)


def send_posthoc(logger: GuardedWandbLogger, directory: Path, adjustments: Sequence[str]) -> None:
    """Send what an evaluation says of adjustments without training, as the tables `test/posthoc` and
    `test/prior_shift`.
    """
    for name in (POSTHOC, PRIOR_SHIFT) if "prior_shift" in adjustments else (POSTHOC,):
        lines = read_lines(directory / name)
        data = [[None if value != value else value for value in line.values()] for line in lines]
        logger.log_table(f"test/{Path(name).stem}", columns=list(lines[0]), data=data)


def _send_tables(logger: GuardedWandbLogger, directory: Path, run: Run) -> None:
    metrics, names = read_metrics(directory) or {}, [row.class_name for row in run.rows]
    if len(names) <= MAX_LISTED:
        columns = [*Task.of(metrics).columns, "drawn"]
        table = [[*row, times] for row, times in zip(run.rows, metrics["drawn_per_class"], strict=True)]
        logger.log_table("test/classes", columns=columns, data=table)
    if run.confusion is not None and len(names) <= MAX_CONFUSION_TABLE:
        cells = [[t, p, run.confusion[i][j]] for i, t in enumerate(names) for j, p in enumerate(names)]
        logger.log_table("test/confusion_matrix", columns=["true", "predicted", "images"], data=cells)


def send_summary(
    directory: Path,
    name: str,
    table: Table,
    runs: Sequence[Run],
    *,
    project: str | None = None,
    entity: str | None = None,
) -> None:
    """Send the summary of several runs as a W&B run of their group, of the job type report.

    It has the table `report/summary`, the figures, and in its summary every finite number of the table as
    `report/<combination>/<column>`; a row's cells that are text name its combination. W&B's failures are warnings.

    Args:
        directory: Of the report, with `figures/*.png`; W&B's files go there too.
        name: Of the W&B run.
        table: One row per combination; a cell that is not text is a score, None where it has no value.
        runs: The runs compared. Their W&B project, entity and group (their sweep) are the defaults.
        project: Another project.
        entity: Another entity.
    """
    settings = runs[0].config.get("logger") or {}
    logger_settings = {
        "mode": "auto",
        "project": project or settings.get("project") or "longtail",
        "entity": entity or settings.get("entity"),
    }
    groups = list(dict.fromkeys(run.sweep.name for run in runs if run.sweep))
    if len(groups) > 1:
        console.print(f"W&B: of the groups {', '.join(groups)} the summary goes to {groups[0]}", soft_wrap=True)
    columns, rows = table
    facts = {"combinations": len(rows)}
    run = RunDescription(directory, "report", name, groups[0] if groups else None, facts=facts)
    logger = start(logger_settings, run)
    if logger is None:
        return
    with finishing(logger):
        logger.log_table("report/summary", columns=list(columns), data=[list(row) for row in rows])
        _send_figures(logger, directory)
        logger.log_summary(_scores(table))


def _send_figures(logger: GuardedWandbLogger, directory: Path) -> None:
    for picture in sorted(directory.glob("figures/*.png")):
        logger.log_image(f"figures/{picture.stem}", [str(picture)])


def _scores(table: Table) -> dict[str, float]:
    columns, rows = table
    combinations = safe_names(["-".join(cell for cell in row if isinstance(cell, str)) for row in rows])
    return {
        f"report/{combination}/{column}": cell
        for combination, row in zip(combinations, rows, strict=True)
        for column, cell in zip(safe_names(columns), row, strict=True)
        if isinstance(cell, int | float) and math.isfinite(cell)
    }
