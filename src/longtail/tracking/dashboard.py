"""`longtail-dashboard --project P`: a saved W&B view of a project's runs, as code."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longtail.errors import InputError
from longtail.runs.reading import GROUPS, read_rows
from longtail.runs.record import safe_names

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

COMPARED = ("sampler", "loss", "reweight")  # the groups that a method for the tail is made of
FIGURES = ("classes", "by_count", "box", "confusion")  # that a run sends
TABLES = ("test/classes", "test/confusion_matrix", "report/summary")
BARS, MAX_BARS = 50, 200  # class accuracies in one panel, and in all


def main(arguments: Sequence[str] | None = None) -> int:
    """Save the view and print its address; gives the exit code."""
    parser = argparse.ArgumentParser("longtail-dashboard", description="Save a W&B view of a project's runs.")
    parser.add_argument("--project", required=True, help="logger.project of the runs, which must have sent one")
    parser.add_argument("--entity", help="whose project it is; by default your own")
    parser.add_argument("--name", default="longtail", help="of the view; each call saves a new one")
    parser.add_argument("--run", type=Path, metavar="DIR", help="a run's directory, for a bar per class by its names")
    chosen = parser.parse_args(arguments)
    try:
        print(save(chosen.project, chosen.entity, chosen.name, class_names(chosen.run) if chosen.run else ()))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def class_names(run_dir: Path) -> list[str]:
    """The classes of a run, from its `per_class.csv`.

    Raises:
        InputError: there is none.
    """
    try:
        return [row[1] for row in read_rows(run_dir / "per_class.csv")]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"--run={run_dir}: must be the directory of a finished run, with per_class.csv") from error


def save(project: str, entity: str | None, name: str, classes: Sequence[str]) -> str:
    """Save the view in W&B; gives its address.

    Raises:
        InputError: wandb-workspaces is missing, nobody is logged in, or the server is away or refuses it.
    """
    try:
        import wandb
        import wandb_workspaces.workspaces  # noqa: F401  # needed below, and not there without the extra
    except ImportError as error:
        raise InputError("wandb-workspaces is not installed: pip install wandb-workspaces") from error
    from longtail.tracking.logger import choose_mode

    try:
        server = str(wandb.setup(settings=wandb.Settings(silent=True)).settings.base_url)
        if choose_mode("auto", server, lambda line: None) != "online":  # W&B itself would ask for a key, or wait long
            raise InputError(f"{server} must answer and know you: see `wandb login`")
        entity = entity or wandb.Api().default_entity
        if not entity:
            raise InputError("--entity must be given: the user has none of their own")
        return str(workspace(entity, project, classes, name).save().url)
    except InputError:
        raise
    except Exception as error:  # whatever W&B's packages raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"--project={project}: W&B did not save the view: {reason}") from error


def workspace(entity: str, project: str, class_names: Sequence[str] = (), name: str = "longtail") -> "Workspace":
    """The view: sections of panels over all runs of a project but repeated evaluations. Nothing is sent.

    Args:
        entity: whose project it is.
        project: it must exist when the view is saved.
        class_names: for a bar per class; without them, or for more than 200, the classes are found by their keys.
        name: of the view.

    Returns:
        Its `save()` sends it and its `url` says where it is then.

    Raises:
        ImportError: wandb-workspaces is not installed.
    """
    from wandb_workspaces import expr
    from wandb_workspaces.reports.v2.interface import (
        BarPlot,
        Config,
        LinePlot,
        MediaBrowser,
        ParallelCoordinatesPlot,
        ParallelCoordinatesPlotColumn,
        ScatterPlot,
        SummaryMetric,
        WeavePanelSummaryTable,
    )
    from wandb_workspaces.workspaces import RunsetSettings, Section, Workspace

    def curve(*keys: str, title: str | None = None, pattern: str | None = None) -> LinePlot:
        return LinePlot(title=title, x="trainer/global_step", y=list(keys), metric_regex=pattern)

    def bars(key: str, group: str) -> BarPlot:
        return BarPlot(
            title=f"{key} by {group}",
            metrics=[key],
            groupby=Config(f"options.{group}"),
            groupby_aggfunc="mean",
            groupby_rangefunc="stddev",
        )

    scatter = ScatterPlot(
        title="accuracy against its std over classes",
        x=SummaryMetric("test/accuracy"),
        y=SummaryMetric("test/accuracy_std"),
    )
    accuracy: list[Any] = [scatter]
    accuracy += [bars(key, group) for key in ("test/accuracy", "test/accuracy_std") for group in COMPARED]
    accuracy += [curve(f"val/{key}") for key in ("accuracy", "accuracy_std", "accuracy_min")]

    keys: list[Any] = [f"test/class/{safe}" for safe in safe_names(class_names)]
    classes: list[Any] = [
        BarPlot(title="test accuracy of classes", metrics=keys[start : start + BARS])
        for start in range(0, len(keys), BARS)
    ]
    if not 0 < len(keys) <= MAX_BARS:
        classes = [curve(title="test accuracy of classes", pattern="test/class/.*")]
    classes.append(curve(title="val accuracy of classes", pattern="val/class/.*"))

    shares = [f"sampler/share_{group}" for group in ("many", "medium", "few")]
    by_frequency: list[Any] = [f"test/accuracy_{group}" for group in ("many", "medium", "few")]
    columns = [
        *(ParallelCoordinatesPlotColumn(Config(f"options.{group}"), display_name=group) for group in GROUPS),
        *(ParallelCoordinatesPlotColumn(SummaryMetric(f"test/{key}")) for key in ("accuracy", "accuracy_std")),
    ]
    sections: dict[str, list[Any]] = {
        "accuracy": accuracy,
        "classes": classes,
        "train": [curve(key) for key in ("train/loss", "val/loss", "train/lr")],
        "sampler": [
            curve(*shares, title="share of the images drawn"),
            curve("sampler/share_std", title="std of the shares of the classes"),
        ],
        "groups": [
            ParallelCoordinatesPlot(title="options and accuracy", columns=columns),
            BarPlot(title="test accuracy by training images", metrics=by_frequency),
        ],
        "media": [
            *(MediaBrowser(title=figure, media_keys=[f"figures/{figure}"]) for figure in FIGURES),
            *(WeavePanelSummaryTable(table_name=table) for table in TABLES),
        ],
    }
    return Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[Section(name=title, panels=panels, is_open=True) for title, panels in sections.items()],
        runset_settings=RunsetSettings(
            filters=expr.And(expr.Metric("JobType") != "eval"),
            pinned_columns=["run:displayName", "summary:test/accuracy", "summary:test/accuracy_std"],
        ),
    )


if __name__ == "__main__":
    raise SystemExit(main())
