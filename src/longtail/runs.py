"""Runs as they are found on disk: their options, settings and scores, or why there are none."""

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from longtail.record import Row

GROUPS = ("dataset", "imbalance", "sampler", "loss", "reweight", "model")
FURTHER_GROUPS = ("optimizer", "scheduler")  # chosen by name too
NO_SETTINGS = ("logger", "published")  # of the run, but not of what it does


@dataclass(frozen=True, eq=False)
class Run:
    """A run, complete or not.

    Attributes:
        directory: of the run.
        config: the settings as composed, with interpolations unresolved; empty if the run never got that far.
        choices: the option of each config group by name.
        metrics: the content of `metrics.json`; empty unless the status is done.
        status: done, failed (it says why), unfinished (it was killed, or still runs) or unreadable.
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
        """The test metrics."""
        test: Mapping[str, float | None] = self.metrics.get("test", {})
        return test

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """What makes it comparable with another run."""
        fingerprint: Mapping[str, Any] = self.metrics.get("fingerprint", {})
        return fingerprint

    @property
    def sweep(self) -> Path | None:
        """The directory of the sweep that it is a job of, if it is."""
        parent = self.directory.parent
        return parent if (parent / "multirun.yaml").is_file() else None

    @cached_property
    def settings(self) -> Mapping[str, str]:
        """All settings as text, flat: `loss` is the option by name, `loss.gamma` a setting of it.

        `trainer.precision` is the one computed in, also where `auto` was asked for.
        """
        named = {group: self.choices[group] for group in (*GROUPS, *FURTHER_GROUPS) if group in self.choices}
        config = {key: value for key, value in self.config.items() if key not in NO_SETTINGS}
        flat = {key: _text(value) for key, value in _flatten(config)}
        if "precision" in self.fingerprint:
            flat["trainer.precision"] = str(self.fingerprint["precision"])
        return named | flat

    @cached_property
    def rows(self) -> Sequence[Row]:
        """The rows of `per_class.csv`; empty if it is missing or broken."""
        try:
            return read_rows(self.directory / "per_class.csv")
        except (OSError, KeyError, ValueError, TypeError):
            return []

    @cached_property
    def confusion(self) -> Sequence[Sequence[int]] | None:
        """The confusion matrix (C, C), [true, predicted], if the run left one."""
        try:
            with (self.directory / "confusion.csv").open(newline="", encoding="utf-8") as file:
                cells = [[int(cell) for cell in line] for line in csv.reader(file)]
        except (OSError, ValueError):
            return None
        return cells if all(len(line) == len(cells) for line in cells) else None


def find(directory: Path) -> list[Path]:
    """The directories of runs in or below a directory, in the order of their names, numbers by value.

    Raises:
        ValueError: there is none.
    """
    found = []
    for path, folders, files in os.walk(directory):
        if ".hydra" in folders or "metrics.json" in files:
            found.append(Path(path))
            folders.clear()  # what is below belongs to the run
    if not found:
        reason = "holds no run (a directory with .hydra or metrics.json)" if directory.is_dir() else "is no directory"
        raise ValueError(f"{directory}: {reason}")
    return sorted(found, key=_natural)


def read(directory: Path) -> Run:
    """Read a run; whatever is missing or broken in it makes it a run without a result, and is its reason."""
    config = _yaml(directory / ".hydra" / "config.yaml")
    hydra = _yaml(directory / ".hydra" / "hydra.yaml").get("hydra", {})
    choices = hydra.get("runtime", {}).get("choices", {}) if isinstance(hydra, dict) else {}
    if not config:  # a job that was killed at once leaves its overrides at most
        config = _overrides(directory)
        choices = {group: config.pop(group) for group in (*GROUPS, *FURTHER_GROUPS) if group in config}
    path = directory / "metrics.json"
    common: Any = {"directory": directory, "config": config, "choices": {k: str(v) for k, v in choices.items()}}
    if path.exists():
        try:
            return Run(**common, metrics=_metrics(path), status="done", finished_at=path.stat().st_mtime)
        except (OSError, ValueError) as error:
            return Run(**common, metrics={}, status="unreadable", reason=f"metrics.json: {error}")
    failure = directory / "failure.txt"
    if failure.exists():
        return Run(**common, metrics={}, status="failed", reason=failure.read_text().strip())
    return Run(**common, metrics={}, status="unfinished", reason="no metrics.json: it was killed or still runs")


def read_rows(path: Path) -> list[Row]:
    """Read `per_class.csv` back."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            (int(r["class_index"]), r["class_name"], int(r["train_count"]), int(r["test_count"]),
             float(r["weight"]), float(r["accuracy"] or "nan"))
            for r in csv.DictReader(file)
        ]  # fmt: skip


def _metrics(path: Path) -> Mapping[str, Any]:
    try:
        metrics = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"half-written or no JSON ({error})") from None
    if not isinstance(metrics, dict) or not isinstance(metrics.get("test"), dict):
        raise ValueError("holds no test metrics")
    accuracy = metrics["test"].get("accuracy")
    if not isinstance(accuracy, int | float):
        raise ValueError(f"test.accuracy={accuracy}: must be a number")
    if not isinstance(metrics.get("fingerprint", {}), dict):
        raise ValueError("its fingerprint must be an object")
    return metrics


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _overrides(directory: Path) -> dict[str, Any]:
    try:
        lines = yaml.safe_load((directory / ".hydra" / "overrides.yaml").read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    parts = [str(line).lstrip("+~").partition("=") for line in lines or []]
    return {name: yaml.safe_load(value) for name, _, value in parts}


def _flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        name = f"{prefix}{key}"
        if str(key).startswith("_"):
            continue  # `_target_` is what the option's name stands for
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{name}.")
        else:
            yield name, value


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return str(value)


def _natural(path: Path) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in path.parts]
