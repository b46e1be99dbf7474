"""What an evaluation measures: the names that reports, tables and the terminal read instead of knowing them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

GROUPS_OF_CLASSES = ("many", "medium", "few")


@dataclass(frozen=True)
class Task:
    """What an evaluation measures, as `metrics.json` has it under `task`.

    The further metrics of a primary metric are named after it: `<primary>_std` is its population standard deviation
    over classes, `<primary>_min` the worst class, `<primary>_many`, `_medium` and `_few` the means over groups of
    classes by what they were trained on.

    Attributes:
        primary: the metric by which runs are compared, such as `accuracy`.
        per_class: the column of `per_class.csv` with the primary metric of each class.
        lower_is_better: metrics of which less is better.
        counted: what a class has more or less of in training: `images`, or `boxes`.
        convention: how the primary metric is computed, where that has to be said.
        further: metrics of a full table that are not named after the primary one.
    """

    primary: str
    per_class: str
    lower_is_better: tuple[str, ...] = ()
    counted: str = "images"
    convention: str = ""
    further: tuple[str, ...] = ()

    @property
    def spread(self) -> str:
        """The name of the standard deviation over classes."""
        return f"{self.primary}_std"

    @property
    def spread_in_words(self) -> str:
        """What the standard deviation over classes is."""
        return f"the population standard deviation of the {self.per_class} of each class within one run"

    @property
    def compared(self) -> tuple[str, str]:
        """The two metrics that every table shows: the primary one and its standard deviation over classes."""
        return self.primary, self.spread

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of `per_class.csv`."""
        return ("class_index", "class_name", "train_count", "test_count", "weight", self.per_class)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of a full table, in its order."""
        groups = (f"{self.primary}_{group}" for group in GROUPS_OF_CLASSES)
        return (*self.compared, f"{self.primary}_min", *groups, *self.further)

    def title(self, metric: str) -> str:
        """A heading for a metric: `std over classes`, `worst class`, `many`, `ECE`, or the metric's own name."""
        titles = {"std": "std over classes", "min": "worst class", "ece": "ECE", "nll": "NLL"}
        titles |= {name: name for name in GROUPS_OF_CLASSES}
        return titles.get(metric.removeprefix(f"{self.primary}_"), metric)

    def as_json(self) -> dict[str, Any]:
        """The entry of `metrics.json`."""
        return asdict(self) | {name: list(getattr(self, name)) for name in ("lower_is_better", "further")}

    @classmethod
    def of(cls, metrics: Mapping[str, Any]) -> "Task":
        """The task that a `metrics.json` names, as far as it does; classification where it names none."""
        entry = metrics.get("task")
        if not isinstance(entry, Mapping):
            return CLASSIFICATION
        lower, further = (
            tuple(map(str, names)) if isinstance(names := entry.get(key), list | tuple) else ()
            for key in ("lower_is_better", "further")
        )
        said = {name: str(entry[name]) for name in ("counted", "convention") if name in entry}
        return cls(str(entry.get("primary")), str(entry.get("per_class")), lower, **said, further=further)


CLASSIFICATION = Task("accuracy", "accuracy", ("accuracy_std", "loss", "ece", "nll"), further=("ece",))
