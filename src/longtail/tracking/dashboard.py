"""A saved W&B view of a project's runs, as code; needs wandb-workspaces."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import wandb
import wandb_workspaces.reports.v2.interface as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr

from longtail.errors import InputError
from longtail.runs import safe_names
from longtail.runs.task import CLASSIFICATION, GROUPS_OF_CLASSES, Task
from longtail.tracking.mode import choose_mode, server_url


@dataclass(frozen=True)
class Shown:
    """What a view shows of runs that count the same.

    Attributes:
        groups: the config groups.
        compared: those that a method for the tail is made of.
        train: the curves of the training.
        figures: that a run sends.
        tables: that a run sends.
    """

    groups: tuple[str, ...]
    compared: tuple[str, ...]
    train: tuple[str, ...]
    figures: tuple[str, ...]
    tables: tuple[str, ...]


SHOWN = {
    "images": Shown(
        groups=("augment", "dataset", "imbalance", "sampler", "loss", "reweight", "method", "model"),
        compared=("sampler", "loss", "reweight", "method"),
        train=("train/loss", "val/loss", "train/lr"),
        figures=("classes", "by_count", "box", "confusion", "reliability"),
        tables=("test/classes", "test/confusion_matrix", "report/summary"),
    ),
    "boxes": Shown(
        groups=("detection_data", "imbalance", "detection_loss", "reweight", "detector"),
        compared=("detection_loss", "reweight", "detector"),
        train=(
            *("train/loss", "train/lr", "train/easy_negatives", "train/foreground"),
            *("train/classification_to_box", "train/positives"),
        ),
        figures=("examples", "precision_recall", "loss_shares", "cumulative_loss", "classes", "by_count", "box"),
        tables=("test/classes", "report/summary"),
    ),
}
POSTHOC = ("test/posthoc", "test/prior_shift")  # tables of evaluations
BARS, MAX_BARS = 50, 200  # classes in one panel, and in all

Panels = list[Any]  # wandb_workspaces has no public name for any panel


@dataclass(frozen=True)
class Dashboard:
    """A view of the runs of a project, or of their evaluations with what these say without further training.

    Attributes:
        project: It must exist when the view is saved.
        entity: Owner of the project; None for the user.
        name: Of the view.
        class_names: For a bar per class; without them, or for more than 200, the classes are found by their keys.
        task: What the runs measure.
        evaluations: Whether the runs are those of `longtail-eval`, instead of all others.
    """

    project: str
    entity: str | None = None
    name: str = "longtail"
    class_names: Sequence[str] = ()
    task: Task = CLASSIFICATION
    evaluations: bool = False

    def save(self) -> str:
        """Save the view in W&B and return its address.

        Raises:
            InputError: Nobody is logged in, or the server does not answer or refuses the view.
        """
        try:
            url = server_url()
            if choose_mode("auto", url) != "online":  # W&B itself would ask for a key, or wait long
                raise InputError(f"{url} must answer and know you: see `wandb login`")
            entity = self.entity or wandb.Api().default_entity
            if not entity:
                raise InputError("--entity must be given: the user has none of their own")
            return str(self.workspace(entity).save().url)
        except InputError:
            raise
        except Exception as error:  # whatever W&B's packages raise
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"--project={self.project}: W&B did not save the view: {reason}") from error

    @property
    def shown(self) -> Shown:
        """What there is to show of runs that measure this."""
        return SHOWN.get(self.task.counted, SHOWN[CLASSIFICATION.counted])

    def workspace(self, entity: str) -> ws.Workspace:
        """Return the view, not yet sent."""
        sections: dict[str, Panels] = {
            "without further training": [wr.WeavePanelSummaryTable(table_name=table) for table in POSTHOC],
            self.task.primary: self._primary(),
            "classes": self._classes(),
            "train": [_curve(key) for key in self.shown.train],
            "sampler": self._sampler(),
            "groups": self._groups(),
            "media": [
                *(wr.MediaBrowser(title=figure, media_keys=[f"figures/{figure}"]) for figure in self.shown.figures),
                *(wr.WeavePanelSummaryTable(table_name=table) for table in self.shown.tables),
            ],
        }
        of_training = ("train", "sampler")
        for title in of_training if self.evaluations else ("without further training",):
            del sections[title]
        is_eval = expr.Metric("JobType") == "eval" if self.evaluations else expr.Metric("JobType") != "eval"
        return ws.Workspace(
            entity=entity,
            project=self.project,
            name=self.name,
            sections=[ws.Section(name=title, panels=panels, is_open=True) for title, panels in sections.items()],
            runset_settings=ws.RunsetSettings(
                filters=expr.And(is_eval),
                pinned_columns=["run:displayName", *(f"summary:test/{key}" for key in self.task.compared)],
            ),
        )

    def _primary(self) -> Panels:
        primary, spread = (f"test/{key}" for key in self.task.compared)
        title = f"{self.task.primary} against its std over classes"
        scatter = wr.ScatterPlot(title=title, x=wr.SummaryMetric(primary), y=wr.SummaryMetric(spread))
        bars = [_bars(key, group) for key in (primary, spread) for group in self.shown.compared]
        return [scatter, *bars, *(_curve(f"val/{key}") for key in self.task.metrics[:3])]

    def _classes(self) -> Panels:
        title = f"test {self.task.primary} of classes"
        keys: list[Any] = [f"test/class/{name}" for name in safe_names(self.class_names)]
        panels: Panels = [
            wr.BarPlot(title=title, metrics=keys[start : start + BARS]) for start in range(0, len(keys), BARS)
        ]
        if not 0 < len(keys) <= MAX_BARS:
            panels = [_curve(title=title, pattern="test/class/.*")]
        return [*panels, _curve(title=f"val {self.task.primary} of classes", pattern="val/class/.*")]

    def _groups(self) -> Panels:
        options = [
            wr.ParallelCoordinatesPlotColumn(wr.Config(f"options.{group}"), display_name=group)
            for group in self.shown.groups
        ]
        metrics = [wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(f"test/{key}")) for key in self.task.compared]
        by_frequency: list[Any] = [f"test/{self.task.primary}_{group}" for group in GROUPS_OF_CLASSES]
        return [
            wr.ParallelCoordinatesPlot(title=f"options and {self.task.primary}", columns=[*options, *metrics]),
            wr.BarPlot(title=f"test {self.task.primary} by training {self.task.counted}", metrics=by_frequency),
        ]

    def _sampler(self) -> Panels:
        shares = [f"sampler/share_{group}" for group in GROUPS_OF_CLASSES]
        return [
            _curve(*shares, title=f"share of the {self.task.counted} drawn"),
            _curve("sampler/share_std", title="std of the shares of the classes"),
        ]


def _curve(*keys: str, title: str | None = None, pattern: str | None = None) -> wr.LinePlot:
    return wr.LinePlot(title=title, x="trainer/global_step", y=list(keys), metric_regex=pattern)


def _bars(key: str, group: str) -> wr.BarPlot:
    return wr.BarPlot(
        title=f"{key} by {group}",
        metrics=[key],
        groupby=wr.Config(f"options.{group}"),
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
    )
