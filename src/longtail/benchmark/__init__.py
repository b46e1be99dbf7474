"""`python -m longtail.benchmark`: how fast Longtail is beside the usual way, as ratios measured in one run.

Absolute numbers depend on the machine; quote the ratios. Each comparison runs the two sides in turn and takes the
median over the rounds. A new row is one more `Comparison` in the `COMPARISONS` of its module.
"""

import argparse
import fnmatch
import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from longtail.benchmark import (
    accelerators,
    augmentation,
    commands,
    detection,
    inputs,
    metrics,
    profiles,
    report,
    samplers,
    training,
)
from longtail.benchmark.report import Comparison, Settings

COMPARISONS: list[Comparison] = [
    *(
        *inputs.COMPARISONS,
        *augmentation.COMPARISONS,
        *training.COMPARISONS,
        *samplers.COMPARISONS,
        *metrics.COMPARISONS,
    ),
    *(*detection.COMPARISONS, *commands.COMPARISONS, *accelerators.COMPARISONS),
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, and write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m longtail.benchmark", description=__doc__)
    parser.add_argument("--rounds", type=positive, default=5, help="rounds of each comparison (default 5)")
    parser.add_argument("--steps", type=positive, default=20, help="steps of ResNet-32 in a round (default 20)")
    parser.add_argument(
        "--only", metavar="PATTERN", default="*", help="only the rows whose names match or contain it"
    )
    parser.add_argument("--json", metavar="PATH", type=Path, default=Path("benchmark.json"), help="where to write it")
    parser.add_argument("--root", metavar="DIR", help="images in a folder per class, for the rows stream/*")
    parser.add_argument("--quick", action="store_true", help="one round of 2 steps, to see that everything works")
    parser.add_argument("--profile", action="store_true", help="only show where the time of a training step goes")
    chosen = parser.parse_args(arguments)
    rounds, steps = (1, 2) if chosen.quick else (chosen.rounds, chosen.steps)
    settings = Settings(rounds, steps, chosen.quick, chosen.root)
    comparisons = [] if chosen.profile else select(chosen.only)
    if not (comparisons or chosen.profile):
        parser.error(f"--only {chosen.only}: must match one of {', '.join(c.name for c in select('*'))}")
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    console = Console()
    rows: list[dict[str, Any]] = []
    content = report.report(settings, rows)
    for number, comparison in enumerate(comparisons, 1):
        with console.status(f"{comparison.name} ({number}/{len(comparisons)})"):
            rows.append(comparison.row(settings))
        # After each row, so that a run that is stopped keeps what it measured.
        write(chosen.json, content)
    if chosen.profile:
        content["profile"] = profiles.profile(settings)
        write(chosen.json, content)
    console.print(report.profile_table(content["profile"]) if chosen.profile else report.table(content))
    console.print(f"written to {chosen.json}", soft_wrap=True, highlight=False)


def write(path: Path, content: dict[str, Any]) -> None:
    """Write the report as JSON."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def select(pattern: str) -> list[Comparison]:
    """Return the comparisons that can be made here and whose name contains or matches the pattern."""
    gpu = torch.cuda.is_available()
    possible = [comparison for comparison in COMPARISONS if gpu or not comparison.needs_gpu]
    return [c for c in possible if pattern in c.name or fnmatch.fnmatchcase(c.name, pattern)]


def positive(text: str) -> int:
    """Parse a whole number >= 1."""
    value = int(text)
    if value < 1:
        raise ValueError(f"{value}: must be >= 1")
    return value
