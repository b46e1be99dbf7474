"""What a comparison measures, and the two forms in which all of them are reported: a table and JSON."""

import importlib
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from longtail.sweeps.pool import available_cores

Timing = Callable[[], float]  # seconds of one round
PACKAGES = (
    "longtail",
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "hydra-core",
    "numpy",
    "pillow",
    "pytorch-metric-learning",
    "torchsampler",
)


class UnavailableError(Exception):
    """A comparison cannot be made here; the text says why and what would help."""


@dataclass(frozen=True)
class Settings:
    """How long to measure.

    Attributes:
        rounds: of each comparison, after one that is not counted.
        steps: training steps of ResNet-32 in a round.
        quick: everything as small as it can be and no uncounted round: only to see that it works.
    """

    rounds: int = 5
    steps: int = 20
    quick: bool = False

    @property
    def few_rounds(self) -> int:
        """Rounds of what takes a minute each."""
        return max(1, self.rounds // 2)


@dataclass(frozen=True)
class Measured:
    """The value of each round, per unit: Longtail's and what is beside it (empty if there is nothing beside it)."""

    ours: Sequence[float]
    theirs: Sequence[float] = ()

    @property
    def ratios(self) -> list[float]:
        """Theirs / ours, a number per round; none where one cannot be divided by the other."""
        pairs = zip(self.ours, self.theirs, strict=bool(self.theirs))
        return [theirs / ours for ours, theirs in pairs if ours]


@dataclass(frozen=True)
class Goal:
    """What a row should reach; exactly one of the two bounds is given.

    Attributes:
        of: "ratio" is theirs / ours, "difference" is ours - theirs, "ours" is our value alone.
    """

    of: str = "ratio"
    at_least: float | None = None
    at_most: float | None = None

    def met_by(self, row: dict[str, Any]) -> bool | None:
        """Whether a row of the report reaches it; None if it was not measured."""
        value = row[self.of]["median"] if isinstance(row[self.of], dict) else row[self.of]
        if value is None:
            return None
        return bool(value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0))


@dataclass(frozen=True)
class Comparison:
    """A row of the report.

    Attributes:
        name: what `--only` looks for.
        compares: what is compared with what.
        unit: what the values are per, such as "step".
        measure: does it.
        goal: what should be reached, if anything.
        quantity: "seconds", or "count" for values that are no times.
        needs_gpu: left out where there is none.
    """

    name: str
    compares: str
    unit: str
    measure: Callable[[Settings], Measured]
    goal: Goal | None = None
    quantity: str = "seconds"
    needs_gpu: bool = False

    def row(self, settings: Settings) -> dict[str, Any]:
        """Measure it; a row of the JSON report."""
        measured, problem = Measured(()), None
        try:
            measured = self.measure(settings)
        except UnavailableError as error:
            problem = str(error)
        ours, theirs, ratio = map(spread, (measured.ours, measured.theirs, measured.ratios))
        if self.quantity == "count":
            ratio = None
        row: dict[str, Any] = {
            "name": self.name,
            "compares": self.compares,
            "quantity": self.quantity,
            "unit": self.unit,
            "ours": ours,
            "theirs": theirs,
            "ratio": ratio,
            "difference": difference(measured),
            "goal": None,
            "met": None,
            "problem": problem,
        }
        if self.goal:
            bounds = {"at_least": self.goal.at_least, "at_most": self.goal.at_most}
            row["goal"] = {"of": self.goal.of, **bounds}
            row["met"] = None if settings.quick else self.goal.met_by(row)
        return row


def compare(ours: Timing, theirs: Timing, settings: Settings, units: float = 1, few: bool = False) -> Measured:
    """Seconds per unit of the two sides, run in turn after one round that is not counted.

    Args:
        ours: seconds of one round of Longtail.
        theirs: seconds of one round of what is beside it.
        settings: how many rounds.
        units: how many units a round has.
        few: whether a round takes so long that there should be fewer, all counted.
    """
    if not settings.quick and not few:
        ours(), theirs()
    rounds = settings.few_rounds if few else settings.rounds
    pairs = [(ours() / units, theirs() / units) for _ in range(rounds)]
    return Measured([pair[0] for pair in pairs], [pair[1] for pair in pairs])


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Median, extremes and number of the values; None of none."""
    if not values:
        return None
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": len(values)}


def difference(measured: Measured) -> float | None:
    """Median over the rounds of ours - theirs."""
    pairs = list(zip(measured.ours, measured.theirs, strict=bool(measured.theirs)))
    return statistics.median(ours - theirs for ours, theirs in pairs) if pairs else None


def require(module: str) -> Any:
    """Import an optional package.

    Raises:
        UnavailableError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UnavailableError("not installed: pip install 'longtail[benchmark]'") from error


def machine() -> dict[str, Any]:
    """The kind of machine, without its name."""
    return {
        "cpu": cpu_name(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
    }


def cpu_name() -> str:
    """The processor's model, as the system calls it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def versions() -> dict[str, str | None]:
    """Of Python and the packages that take part."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def report(settings: Settings, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything that was measured, ready for JSON."""
    return {
        "machine": machine(),
        "versions": versions(),
        "command": sys.argv[1:],
        "rounds": settings.rounds,
        "steps": settings.steps,
        "quick": settings.quick,
        "rows": rows,
    }


def table(content: dict[str, Any]) -> Table:
    """The rows as they are printed."""
    hardware = content["machine"]
    title = f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['gpu'] or 'no GPU'}"
    caption = (
        f"torch {content['versions']['torch']}, {hardware['threads']} threads; medians of {content['rounds']} rounds"
        " in turn, fewer of sweeps;\nratio: beside it / Longtail, and its smallest and largest round"
    )
    printed = Table(title=title, caption=caption, pad_edge=False)
    printed.add_column("what", ratio=1)
    for header in ("Longtail", "beside it", "ratio", "goal"):
        printed.add_column(header, justify="right", no_wrap=header in ("Longtail", "beside it"))
    group = ""
    for row in content["rows"]:
        if group not in ("", row["name"].split("/")[0]):
            printed.add_section()
        group = row["name"].split("/")[0]
        what = f"[bold]{row['name']}[/bold]\n{row['compares']}"
        if row["problem"]:
            printed.add_row(what, "", "", row["problem"].replace("[", r"\["), wanted(row))
            continue
        ratio = row["ratio"]
        shown = f"{number(ratio['median'])}\n{number(ratio['min'])} to {number(ratio['max'])}" if ratio else ""
        printed.add_row(what, value(row, "ours"), value(row, "theirs"), shown, wanted(row))
    return printed


def value(row: dict[str, Any], side: str) -> str:
    """A side's median with its unit."""
    if row[side] is None:
        return ""
    median = row[side]["median"]
    return f"{duration(median) if row['quantity'] == 'seconds' else f'{median:,.4g}'}\nper {row['unit']}"


def wanted(row: dict[str, Any]) -> str:
    """The goal, and whether it is missed."""
    goal = row["goal"]
    if goal is None:
        return ""
    sign, bound = ("≥", goal["at_least"]) if goal["at_least"] is not None else ("≤", goal["at_most"])
    text = f"{bound:g}" if goal["of"] == "ratio" or row["quantity"] == "count" else duration(bound)
    if goal["of"] == "difference":
        measured = row["difference"]
        found = "" if measured is None else f"\nhere {duration(measured)}"
        text = f"{text} more{found}"
    return f"{sign} {text}" + ("\nmissed" if row["met"] is False else "")


def duration(seconds: float) -> str:
    """A time in the unit that gives it a readable size."""
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if abs(seconds) * factor >= 1:
            return (
                f"{seconds * factor:,.3g} {unit}"
                if abs(seconds) * factor < 1000
                else f"{seconds * factor:,.0f} {unit}"
            )
    return f"{seconds * 1e6:.3g} µs"


def number(ratio: float) -> str:
    """Three digits, or all of a large one."""
    return f"{ratio:.3f}" if ratio < 10 else f"{ratio:.1f}" if ratio < 100 else f"{ratio:,.0f}"
