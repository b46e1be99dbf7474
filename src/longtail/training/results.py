"""What a finished run leaves in its directory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from longtail import figures, runs
from longtail.training.build import Training
from longtail.training.evaluation import Outcome


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
    if outcome.confusion is not None:
        pictures["confusion"] = figures.confusion(names, np.array(outcome.confusion))
    (directory / "figures").mkdir(parents=True, exist_ok=True)
    for name, figure in pictures.items():
        figure.savefig(directory / "figures" / f"{name}.png", dpi=120)
    weights = module.method.criterion.weights.tolist()
    rows = runs.class_rows(names, counts, outcome.support, weights, outcome.per_class)
    runs.write_per_class(directory, rows, module.evaluation.task)
    if outcome.confusion is not None:
        runs.write_confusion(directory, outcome.confusion)
    metrics: dict[str, Any] = {
        "task": module.evaluation.task.as_json(),
        "options": dict(training.options),
        "test": outcome.scores,
        "val": dict(result.validation) or None,
        "drawn_per_class": list(result.drawn),
        "fingerprint": fingerprint(training, result),
        "config_sha256": result.identity,
    }
    runs.write_metrics(directory, metrics)  # last: it says that the run is complete


def fingerprint(training: Training, result: Result) -> dict[str, Any]:
    """Return what must agree for two runs to be compared."""
    settings = training.settings
    return runs.fingerprint(
        train_indices_sha256=runs.digest(training.data.train_indices),
        class_counts=training.data.class_counts.tolist(),
        parameters=training.parameters,
        steps=result.steps,
        images_seen=sum(result.drawn),
        augmentation=settings["dataset"].get("augment") or {},
        **{name: settings[name] for name in ("reduction", "selection", "validation_per_class")},
        precision=str(settings["trainer"]["precision"]),
        seed=settings["seed"],
    )
