"""What a finished run leaves in its directory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longtail import figures, runs
from longtail.training.evaluation import Outcome
from longtail.training.training import Training


@dataclass(frozen=True)
class Result:
    """The result of a run.

    Attributes:
        outcome: on the test images.
        validation: scores on the held-out images, if there are any.
        steps: of the optimizer.
        drawn: how often each class was drawn for training, (C,).
        identity: digest of the settings.
    """

    outcome: Outcome
    validation: Mapping[str, float]
    steps: int
    drawn: Sequence[int]
    identity: str


def write_results(directory: Path, training: Training, result: Result) -> None:
    """Write figures, tables and, last of all, `metrics.json`."""
    data, module, outcome = training.data, training.module, result.outcome
    names, counts = data.data.class_names, data.class_counts.tolist()
    score, counted = module.evaluation.task.per_class, module.evaluation.task.counted
    pictures = {
        "classes": figures.classes(names, counts, outcome.per_class, score=score, counted=counted),
        "by_count": figures.by_count(counts, {"test": outcome.per_class}, score=score, counted=counted),
        "box": figures.box({"test": outcome.per_class}, score=score),
    }
    pictures |= training.pictures(outcome)
    (directory / "figures").mkdir(parents=True, exist_ok=True)
    for name, figure in pictures.items():
        figure.savefig(directory / "figures" / f"{name}.png", dpi=120)
    weights = module.method.criterion.weights.tolist()
    rows = runs.class_rows(names, counts, outcome.support, weights, outcome.per_class)
    runs.write_per_class(directory, rows, module.evaluation.task)
    training.write(directory, outcome)
    metrics: dict[str, Any] = {
        "task": module.evaluation.task.as_json(),
        "options": dict(training.options),
        "test": outcome.scores,
        "val": dict(result.validation) or None,
        "drawn_per_class": list(result.drawn),
        "fingerprint": runs.fingerprint(**training.facts(result.steps, sum(result.drawn))),
        "config_sha256": result.identity,
    }
    runs.write_metrics(directory, metrics)  # last: it says that the run is complete
