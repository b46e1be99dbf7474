"""`longtail-report DIR [DIR ...]`: turn the runs of sweeps into tables, figures and one page of HTML."""

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path

from longtail.cli import home
from longtail.errors import InputError, console, refuse, warn
from longtail.reports import collection, formats, notes, pages, requests
from longtail.reports.comparison import compare
from longtail.reports.content import content
from longtail.runs import check_links, relative_path
from longtail.signals import ending
from longtail.sweeps.directory import planned


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a report; exit with 1 and one line if that is not possible, and leave nothing half-written."""
    options = parser().parse_args(arguments)
    home.provide()
    warnings.filterwarnings("ignore", message="Glyph .* missing from font")
    try:
        with ending():
            report(options)
    except (InputError, ValueError) as error:
        refuse(str(error))
    except OSError as error:
        refuse(f"{error.filename or destination(options)}: {error.strerror or error}")


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    line = argparse.ArgumentParser("longtail-report", description="Turn the runs of sweeps into a report.")
    line.add_argument("dir", nargs="+", type=Path, help="a sweep, a run, or a directory of such")
    line.add_argument("--out", type=Path, help="where to write (default: report/ in the first DIR)")
    line.add_argument("--force", action="store_true", help="overwrite files there that no report has made")
    line.add_argument("--by", action="append", default=[], metavar="SETTING", help="compare this setting too")
    line.add_argument(
        "--baseline",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help="compare each row with the one that has this instead"
        " (default: sampler=random, reweight=none where these vary, else loss=softmax, detection_loss=cross_entropy,"
        " or the cell of an experiment that has all of these)",
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
        InputError: the report's directory, in that of a run, is a link or has one.
        ValueError: there is nothing to compare, the runs may not be compared, or something is in the way.
        OSError: something cannot be read or written.
    """
    out = destination(options)
    if not options.out:
        check_links(out)
    found = collection.collect(options.dir)
    requests.refuse_existing(out, options.force)
    for line in notes.incomplete(found):
        warn(line)
    plans = {sweep: planned(sweep) for sweep in collection.sweeps_of(found, options.dir)}
    found = collection.in_order(found, plans)
    for sweep, jobs in plans.items():
        if missed := collection.not_started(sweep, jobs):
            warn(f"{len(missed)} of {len(jobs)} jobs of {relative_path(sweep)} were not started")
            found += missed
    compared = compare(found, options.by, use_older=options.duplicates == "older")
    if not options.mixed:
        requests.refuse_differences(compared)
    baseline = requests.chosen_baseline(options.baseline, compared)
    across = requests.chosen_across(options.across, compared)
    title = f"Report on {', '.join(directory.resolve().name for directory in options.dir)}"
    said = content(title, compared, baseline, across)
    for line in said.warnings:
        warn(line)
    with pages.writing(out) as place:
        pages.write(place, out, said)
    console.print(formats.terminal(said.short, console.width), crop=False)
    console.print(f"files in {relative_path(out)}", soft_wrap=True)
    if options.wandb:
        from longtail.tracking.results import send_summary

        where = {"project": options.project, "entity": options.entity}
        send_summary(out, said.title, formats.flat(said.combinations), compared.used, **where)


def destination(options: argparse.Namespace) -> Path:
    """Return the directory of the report."""
    out: Path = options.out or options.dir[0] / "report"
    return out


if __name__ == "__main__":
    main()
