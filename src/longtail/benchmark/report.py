"""What a comparison measures, and how all of them are reported: as JSON and as a table."""

import importlib
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch
from rich.table import Table

from longtail.sweeps.pool import available_cores

Timing = Callable[[], float]  # runs one round and returns its seconds
PACKAGES = (
    *("longtail", "torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "numpy", "pillow"),
    *("pytorch-metric-learning", "torchsampler"),
)


class UnavailableError(Exception):
    """A comparison cannot be made here; the message says why."""


@dataclass(frozen=True)
class Settings:
    """How long to measure.

    Attributes:
        rounds: rounds of each comparison, after a warm-up round.
        steps: training steps of ResNet-32 in a round.
        quick: only check that everything works: the smallest sizes, no warm-up, no goals.
        root: a folder of images, a folder per class, for what is measured on files.
    """

    rounds: int = 5
    steps: int = 20
    quick: bool = False
    root: str | None = None


@dataclass(frozen=True)
class Measured:
    """The values of the rounds, per unit: Longtail's, and those it is compared with, if any."""

    ours: Sequence[float]
    theirs: Sequence[float] = ()


@dataclass(frozen=True)
class Goal:
    """What a row should reach.

    Attributes:
        bound: the least ratio, or the largest difference or value.
        of: "ratio" is theirs / ours, "difference" is ours - theirs, "ours" is our value.
    """

    bound: float
    of: Literal["ratio", "difference", "ours"] = "ratio"

    def met_by(self, row: dict[str, Any]) -> bool | None:
        """Return whether a row of the report reaches the goal; None if it was not measured."""
        value = row[self.of]["median"] if isinstance(row[self.of], dict) else row[self.of]
        if value is None:
            return None
        return bool(value >= self.bound if self.of == "ratio" else value <= self.bound)


@dataclass(frozen=True)
class Comparison:
    """A row of the report.

    Attributes:
        name: what `--only` selects by.
        compares: what is compared with what.
        unit: what the values are per, such as "step".
        measure: takes the measurements.
        goal: what should be reached, if anything.
        quantity: "seconds", or "count" for values that are not times.
        needs_gpu: skipped on a machine without one.
    """

    name: str
    compares: str
    unit: str
    measure: Callable[[Settings], Measured]
    goal: Goal | None = None
    quantity: Literal["seconds", "count"] = "seconds"
    needs_gpu: bool = False

    def row(self, settings: Settings) -> dict[str, Any]:
        """Measure, and return a row of the JSON report."""
        measured, problem = Measured(()), None
        try:
            measured = self.measure(settings)
        except UnavailableError as error:
            problem = str(error)
        pairs = list(zip(measured.ours, measured.theirs, strict=bool(measured.theirs)))
        row: dict[str, Any] = {
            "name": self.name,
            "compares": self.compares,
            "quantity": self.quantity,
            "unit": self.unit,
            "ours": spread(measured.ours),
            "theirs": spread(measured.theirs),
            "ratio": spread([theirs / ours for ours, theirs in pairs]) if self.quantity == "seconds" else None,
            "difference": statistics.median(ours - theirs for ours, theirs in pairs) if pairs else None,
            "problem": problem,
        }
        met = self.goal.met_by(row) if self.goal and not settings.quick else None
        return row | {"goal": asdict(self.goal) if self.goal else None, "met": met}


def timed(run: Callable[[], object]) -> Timing:
    """Return a function that runs `run` and returns the seconds it took."""

    def timing() -> float:
        started = time.perf_counter()
        run()
        return time.perf_counter() - started

    return timing


def compare(ours: Timing, theirs: Timing, settings: Settings, units: float = 1, warm_up: bool = True) -> Measured:
    """Return the seconds per unit of the two sides, run in turn.

    Args:
        ours: times a round of Longtail.
        theirs: times a round of the other side.
        settings: the number of rounds.
        units: units in a round.
        warm_up: run a round that does not count first; otherwise, for rounds of a minute, run half as many.
    """
    if warm_up and not settings.quick:
        ours(), theirs()
    rounds = settings.rounds if warm_up else max(1, settings.rounds // 2)
    pairs = [(ours() / units, theirs() / units) for _ in range(rounds)]
    return Measured([pair[0] for pair in pairs], [pair[1] for pair in pairs])


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Return the median, extremes and number of the values; None if there are none."""
    if not values:
        return None
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": len(values)}


def require(module: str) -> Any:
    """Import an optional package.

    Raises:
        UnavailableError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UnavailableError("not installed: pip install 'longtail[benchmark]'") from error


def report(settings: Settings, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the machine, the versions, the settings and the rows, ready for JSON."""
    machine = {
        "cpu": cpu_name(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
    }
    return {"machine": machine, "versions": versions(), "command": sys.argv[1:], **asdict(settings), "rows": rows}


def cpu_name() -> str:
    """Return the processor's model, as the system calls it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that take part; None for one that is missing."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def table(content: dict[str, Any]) -> Table:
    """Return the rows of a report as a table for the terminal."""
    hardware = content["machine"]
    title = f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['gpu'] or 'no GPU'}"
    caption = (
        f"torch {content['versions']['torch']}, {hardware['threads']} threads; medians of {content['rounds']} rounds"
        " (half as many for sweeps), run in turn;\nratio: other / Longtail, with its smallest and largest round"
    )
    printed = Table(title=title, caption=caption, pad_edge=False)
    printed.add_column("what", ratio=1)
    for header in ("Longtail", "other", "ratio", "goal"):
        printed.add_column(header, justify="right", no_wrap=header in ("Longtail", "other"))
    group = ""
    for row in content["rows"]:
        if group not in ("", row["name"].split("/")[0]):
            printed.add_section()
        group = row["name"].split("/")[0]
        ratio = row["ratio"]
        shown = f"{number(ratio['median'])}\n{number(ratio['min'])} to {number(ratio['max'])}" if ratio else ""
        problem = (row["problem"] or "").replace("[", r"\[")
        what = f"[bold]{row['name']}[/bold]\n{row['compares']}"
        printed.add_row(what, value(row, "ours"), value(row, "theirs"), problem or shown, wanted(row))
    return printed


def profile_table(profiles: dict[str, dict[str, float]]) -> Table:
    """Return the parts of a training step as a table for the terminal."""
    printed = Table("ms per step", *profiles, title="where a training step of ResNet-32 goes", pad_edge=False)
    for part in next(iter(profiles.values())):
        printed.add_row(part, *(f"{parts[part] * 1e3:.2f}" for parts in profiles.values()))
    return printed


def value(row: dict[str, Any], side: str) -> str:
    """Return a side's median with its unit."""
    if row[side] is None:
        return ""
    median = row[side]["median"]
    return f"{duration(median) if row['quantity'] == 'seconds' else f'{median:,.4g}'}\nper {row['unit']}"


def wanted(row: dict[str, Any]) -> str:
    """Return the goal, and whether it was missed."""
    if row["goal"] is None:
        return ""
    of, bound = row["goal"]["of"], row["goal"]["bound"]
    missed = "\nmissed" if row["met"] is False else ""
    if of == "ratio":
        return f"≥ {bound:g}{missed}"
    text = f"≤ {bound:g}" if row["quantity"] == "count" else f"≤ {duration(bound)}"
    if of == "difference":
        text += " more" + ("" if row["difference"] is None else f"\nhere {duration(row['difference'])}")
    return text + missed


def duration(seconds: float) -> str:
    """Return a time in the unit that gives it a readable size."""
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if abs(scaled := seconds * factor) >= 1:
            return f"{scaled:,.3g} {unit}" if abs(scaled) < 1000 else f"{scaled:,.0f} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def number(ratio: float) -> str:
    """Return a ratio with three digits, or all digits of a large one."""
    return f"{ratio:.3f}" if ratio < 10 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:,.0f}"
