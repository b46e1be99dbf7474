"""Runs as they are found on disk: their options, settings and scores, or why there are none."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from longtail.errors import text_of
from longtail.runs.composed import flatten, read_choices, read_config
from longtail.runs.files import (
    METRICS,
    Row,
    read_confusion,
    read_failure,
    read_loss_shares,
    read_per_class,
    read_precision_recall,
)
from longtail.runs.predictions import POSTHOC, PRIOR_SHIFT, Line, read_lines
from longtail.runs.task import Task
from longtail.runs.upgrade import upgraded

GROUPS = (  # of a classifier and of a detector; of `augment`, none is chosen for the dataset's own
    *("augment", "dataset", "detection_data", "imbalance", "sampler", "loss", "detection_loss", "reweight"),
    *("method", "model", "detector"),
)
FURTHER_GROUPS = ("optimizer", "scheduler", "callbacks")  # chosen by name too
NO_SETTINGS = ("logger", "published")  # of the run, but not of what it does


@dataclass(frozen=True, eq=False)
class Run:
    """A run, complete or not.

    Attributes:
        directory: of the run; of its sweep if it was not started.
        config: the settings as composed, with interpolations unresolved; empty if the run never got that far.
        choices: the option of each config group by name.
        metrics: the content of `metrics.json`; empty unless the status is done.
        status: done, failed (it says why), unfinished (it was killed, or still runs), unreadable or not started.
        reason: why it is not done.
        finished_at: when its result was written, seconds since the epoch; 0 unless done.
    """

    directory: Path
    config: Mapping[str, Any]
    choices: Mapping[str, str]
    metrics: Mapping[str, Any]
    status: str
    reason: str = ""
    finished_at: float = 0.0

    @property
    def done(self) -> bool:
        """Whether it left a result."""
        return self.status == "done"

    @property
    def seed(self) -> int | None:
        """The seed, None where the config does not say."""
        seed = self.config.get("seed")
        return seed if isinstance(seed, int) else None

    @property
    def test(self) -> Mapping[str, float | None]:
        """The test metrics; None for what has no value, as the accuracy of a group without classes."""
        test: Mapping[str, float | None] = self.metrics.get("test", {})
        return test

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """What makes it comparable with another run."""
        fingerprint: Mapping[str, Any] = self.metrics.get("fingerprint", {})
        return fingerprint

    @property
    def task(self) -> Task:
        """What it measures."""
        return Task.of(self.metrics)

    @cached_property
    def sweep(self) -> Path | None:
        """The directory of the sweep that it is a job of, if it is."""
        parent = self.directory.parent
        return parent if (parent / "multirun.yaml").is_file() else None

    @property
    def values(self) -> dict[str, Any]:
        """All settings, flat: `loss` is the option by name, `loss.gamma` a setting of it."""
        named = {group: self.choices[group] for group in (*GROUPS, *FURTHER_GROUPS) if group in self.choices}
        named |= {group: option for group, option in self.choices.items() if is_experiment(group)}
        config = {key: value for key, value in self.config.items() if key not in NO_SETTINGS}
        return upgraded(named | dict(flatten(config))) if config else {}

    @cached_property
    def settings(self) -> Mapping[str, str]:
        """All settings as text, flat."""
        found = {key: text_of(value) for key, value in self.values.items()}
        return {sys.intern(key): sys.intern(value) for key, value in found.items()}  # most are those of other runs

    @cached_property
    def rows(self) -> Sequence[Row]:
        """The rows of `per_class.csv`; empty if it is missing or broken."""
        try:
            return read_per_class(self.directory)
        except (OSError, ValueError):
            return []

    @cached_property
    def confusion(self) -> Sequence[Sequence[int]] | None:
        """The confusion matrix (C, C), [true, predicted], if the run left a whole one."""
        try:
            return read_confusion(self.directory)
        except (OSError, ValueError):
            return None

    @cached_property
    def precision_recall(self) -> tuple[Sequence[float], Mapping[str, Sequence[float]]] | None:
        """Recall, and the precision of each class at it by name, if the run left them whole."""
        try:
            return read_precision_recall(self.directory)
        except (OSError, ValueError):
            return None

    @cached_property
    def loss_shares(self) -> Mapping[str, Sequence[float]]:
        """The columns of `loss_shares.csv` by name; empty if it is missing or broken."""
        try:
            return read_loss_shares(self.directory)
        except (OSError, ValueError):
            return {}

    @cached_property
    def adjusted(self) -> Mapping[str, Sequence[Line]]:
        """The lines of its `evaluation/posthoc.csv` and `prior_shift.csv`, by file, if these are there and whole."""
        found = {}
        for name in (POSTHOC, PRIOR_SHIFT):
            path = self.directory / "evaluation" / name
            with contextlib.suppress(OSError, ValueError):
                if path.is_file():  # a pipe may be waited for without end
                    found[name] = read_lines(path)
        return found


def is_experiment(group: str) -> bool:
    """Whether a config group is `experiment` or one of the cells of an experiment's table, `experiment/methods`."""
    return group.partition("/")[0] == "experiment"


def column_of(name: str) -> str:
    """Return the name of a column for a setting: `options.loss`, `settings.loss.gamma`; W&B has the same names."""
    named = name in (*GROUPS, *FURTHER_GROUPS) or is_experiment(name)
    return f"options.{name}" if named else f"settings.{name}"


def directories(directory: Path) -> Iterator[Path]:
    """Walk to the directories of runs in or below a directory, in no order; those with hidden names are left out.

    Raises:
        OSError: a directory cannot be read, so that a run may be missing.
    """
    for path, folders, files in os.walk(directory, onerror=_raise):
        if ".hydra" in folders or METRICS in files:
            yield Path(path)
            folders.clear()  # what is below belongs to the run
        folders[:] = [name for name in folders if not name.startswith(".")]


def find(directory: Path) -> list[Path]:
    """Return the directories of runs in or below a directory, in the order of their names, numbers by value.

    Raises:
        ValueError: there is none.
        OSError: a directory cannot be read, so that a run may be missing.
    """
    if not directory.is_dir():
        raise ValueError(f"{directory}: is not a directory")
    found = sorted(directories(directory), key=_natural)
    if not found:
        raise ValueError(f"{directory}: holds no run (a directory with .hydra or {METRICS})")
    return found


def read(directory: Path) -> Run:
    """Read a run; whatever is missing or broken in it makes it a run without a result, and is its reason."""
    config, choices = read_config(directory), read_choices(directory)
    path = directory / METRICS
    if not path.exists():
        if not choices:  # written after the config: the job was stopped while it began, and either may be cut off
            config = {}
        failure = read_failure(directory)
        reason = failure or "no metrics.json: it was killed or still runs"
        return Run(directory, config, choices, {}, "unfinished" if failure is None else "failed", reason)
    try:
        metrics = _metrics(path)
        if not config:
            raise ValueError("it belongs to no .hydra/config.yaml, which says with which options it was made")
        return Run(directory, config, choices, metrics, "done", finished_at=path.stat().st_mtime)
    except (OSError, ValueError) as error:
        return Run(directory, config, choices, {}, "unreadable", f"metrics.json: {error}")


def _raise(error: OSError) -> None:
    raise error


def _metrics(path: Path) -> Mapping[str, Any]:
    try:
        metrics = json.loads(path.read_text("utf-8"), parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"half-written or no JSON ({error})") from None
    if not isinstance(metrics, dict) or not isinstance(metrics.get("test"), dict):
        raise ValueError("holds no test metrics")
    primary = Task.of(metrics).primary
    if primary not in metrics["test"]:
        raise ValueError(f"holds no test.{primary}")
    for name, value in metrics["test"].items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"test.{name}={value}: must be a number or null")
        if value is not None and abs(value) > sys.float_info.max:  # 1e999 is JSON
            raise ValueError(f"test.{name}: must be finite")
    if not isinstance(metrics.get("fingerprint", {}), dict):
        raise ValueError("its fingerprint must be an object")
    return metrics


def _natural(path: Path) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in path.parts]
