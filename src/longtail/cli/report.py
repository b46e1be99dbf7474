"""`longtail-report DIR [DIR ...]`: turn the runs of sweeps into tables, figures and one page of HTML."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from longtail import runs
from longtail.reports import comparison as comparing
from longtail.reports import formats, pages, protocol, summary
from longtail.reports.comparison import Comparison
from longtail.runs import Run, relative_path
from longtail.sweeps.directory import planned


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a report; exit with 1 and one line if that is not possible, and leave nothing half-written."""
    options = parser().parse_args(arguments)
    try:
        report(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        print(f"error: {error.filename or destination(options)}: {error.strerror or error}", file=sys.stderr)
        raise SystemExit(1) from None


def parser() -> argparse.ArgumentParser:
    """The command line."""
    line = argparse.ArgumentParser("longtail-report", description="Turn the runs of sweeps into a report.")
    line.add_argument("dir", nargs="+", type=Path, help="a sweep, a run, or a directory of such")
    line.add_argument("--out", type=Path, help="where to write (default: report/ in the first DIR)")
    line.add_argument("--force", action="store_true", help="overwrite an earlier report there")
    line.add_argument("--by", action="append", default=[], metavar="SETTING", help="compare this setting too")
    line.add_argument(
        "--baseline",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help="compare each row with the one that has this instead"
        " (default: sampler=random, reweight=none where these vary, else loss=softmax)",
    )
    line.add_argument("--across", metavar="OPTION", help="the option whose values stand side by side")
    line.add_argument("--mixed", action="store_true", help="put runs of different protocols into one table, marked")
    line.add_argument(
        "--duplicates", choices=("newer", "older"), default="newer", help="which of two runs alike to use"
    )
    line.add_argument("--wandb", action="store_true", help="send the summary to W&B, as a run of the sweep's group")
    line.add_argument("--project", help="of W&B (default: that of the runs)")
    line.add_argument("--entity", help="of W&B (default: that of the runs)")
    return line


def report(options: argparse.Namespace) -> None:
    """Read the runs, compare them, write everything.

    Raises:
        ValueError: there is nothing to compare, the runs may not be compared, or the report exists.
        OSError: something cannot be read or written.
    """
    out = destination(options)
    found = [runs.read(directory) for directory in run_directories(options.dir)]
    refuse_existing(out, options.force)
    for line in summary.incomplete(found):
        warn(line)
    for sweep in sweeps_of(found, options.dir):
        if missed := not_started(sweep):
            warn(f"{len(missed)} of {len(planned(sweep))} jobs of {relative_path(sweep)} were not started")
            found += missed
    compared = comparing.compare(found, options.by, use_older=options.duplicates == "older")
    if compared.differences and not options.mixed:
        raise ValueError(refusal(compared))
    for line in (*summary.repetitions(compared), *summary.without_classes(compared)):
        warn(line)
    baseline = chosen_baseline(options.baseline, compared)
    across = [options.across] if options.across else summary.default_across(compared)
    if not set(across) <= set(compared.options):
        allowed = ", ".join(compared.options) or "several options, and none varies"
        raise ValueError(f"--across={options.across}: must be one of {allowed}")
    said = content(options.dir, compared, baseline, across)
    with pages.writing(out) as place:
        pages.write(place, out, said)
    console = Console(highlight=False)
    console.print(formats.terminal(said.short, console.width), crop=False)
    console.print(f"files in {relative_path(out)}", soft_wrap=True)
    if options.wandb:
        from longtail.tracking.results import send_summary

        where = {"project": options.project, "entity": options.entity}
        send_summary(out, said.title, formats.flat(said.combinations), compared.used, **where)


def destination(options: argparse.Namespace) -> Path:
    """The directory of the report."""
    out: Path = options.out or options.dir[0] / "report"
    return out


def run_directories(directories: Sequence[Path]) -> list[Path]:
    """The directories of all runs, each once, whatever leads to it."""
    found = {path.resolve(): path for directory in reversed(directories) for path in reversed(runs.find(directory))}
    return list(found.values())[::-1]


def sweeps_of(found: Sequence[Run], directories: Sequence[Path]) -> list[Path]:
    """The directories of the sweeps that lie in one of the directories as a whole."""
    asked = [directory.resolve() for directory in directories]
    known = dict.fromkeys(run.sweep for run in found)
    return [sweep for sweep in known if sweep and any(sweep.resolve().is_relative_to(path) for path in asked)]


def not_started(sweep: Path) -> list[Run]:
    """Return the jobs that a sweep was to run and that have no directory: it was stopped before."""
    return [
        Run(sweep, {}, {}, {}, "not started", f"no directory has the settings of {' '.join(overrides) or 'the job'}")
        for name, overrides in planned(sweep).items()
        if not (sweep / name).exists()
    ]


def refuse_existing(out: Path, force: bool) -> None:
    """Refuse to write into a run, and where another report, or something of its name, stands.

    Raises:
        ValueError: saying what is in the way.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out={out}: must be a directory")
    for name in (".hydra", "metrics.json"):
        if (out / name).exists():
            raise ValueError(f"{out}: is the directory of a run, for it holds {name}; --out=DIR writes elsewhere")
    standing = [name for name in (*pages.WRITTEN, "figures") if (out / name).exists()]
    if standing and not force:
        raise ValueError(f"{out}: holds {', '.join(standing)} already; --force overwrites an earlier report")


def refusal(compared: Comparison) -> str:
    """Why the runs are not put into one table, with the list of their differences."""
    options = ", ".join(compared.options) or "none"
    listed = "".join(f"\n  {difference}" for difference in compared.differences)
    return (
        f"the runs differ in more than the options compared ({options}) and the seed;"
        f" --by SETTING compares a setting, --mixed puts them into one table, marked:{listed}"
    )


def chosen_baseline(given: Sequence[str], compared: Comparison) -> dict[str, str]:
    """The options of the baseline.

    Raises:
        ValueError: one is not compared, or has another value in every run.
    """
    if not given:
        return compared.default_baseline()
    chosen = {}
    for item in (part for text in given for part in text.split(",")):
        name, separator, value = item.partition("=")
        if not separator or name not in compared.options:
            among = f"with one of {', '.join(compared.options)}" if compared.options else "but no option varies"
            raise ValueError(f"--baseline={item}: must be OPTION=VALUE, {among}")
        values = list(dict.fromkeys(cell.options[name] for cell in compared.cells))
        same = [known for known in values if comparing.alike(known, value)]
        if not same:
            raise ValueError(f"--baseline={item}: {name} must be one of {', '.join(filter(None, values))}")
        chosen[name] = value if value in same else same[0]
    return chosen


def content(
    directories: Sequence[Path], compared: Comparison, baseline: dict[str, str], across: Sequence[str]
) -> pages.Content:
    """Everything that a report says, in memory."""
    from longtail.reports.pictures import pictures

    return pages.Content(
        title=f"Report on {', '.join(directory.resolve().name for directory in directories)}",
        pivots=[summary.pivot(compared, metric, across) for metric in summary.COMPARED_METRICS if across],
        combinations=summary.combinations(compared, baseline),
        short=summary.short(compared, baseline),
        papers=summary.papers(compared),
        every_run=summary.every_run(compared),
        notes=[*summary.notes(compared, baseline), *summary.without_classes(compared)],
        incomplete=summary.incomplete(compared.runs),
        facts=facts(compared),
        pictures=list(pictures(compared, baseline, weightings(compared))),
    )


def weightings(compared: Comparison) -> dict[str, Callable[[Any], Any]]:
    """The weightings of the runs as functions, by name; one that cannot be made outside its run is left out."""
    from hydra.utils import instantiate

    from longtail.reports.pictures import weighting

    made: dict[str, Callable[[Any], Any]] = {}
    for cell in compared.cells:
        if cell.runs and (name := weighting(cell, compared)) not in made:
            with contextlib.suppress(Exception):  # of a fork's own part that is not installed here
                made[name] = instantiate(cell.runs[0].config["reweight"], _convert_="all", _partial_=True)
    return made


def facts(compared: Comparison) -> list[tuple[str, list[tuple[str, int]]]]:
    """Each fact of the fingerprint with its values and how many runs have each."""
    values: dict[str, dict[str, int]] = {}
    for run in compared.used:
        for name, value in protocol.fingerprint(run).items():
            times = values.setdefault(name, {})
            times[value] = times.get(value, 0) + 1
    return [(name, list(times.items())) for name, times in values.items()]


def warn(line: str) -> None:
    """One line on stderr."""
    print(f"warning: {line}", file=sys.stderr)


if __name__ == "__main__":
    main()
