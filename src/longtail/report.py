"""`longtail-report DIR [DIR ...]`: turn the runs of sweeps into tables, figures and one page of HTML."""

import argparse
import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rich.console import Console

from longtail import comparison as comparing
from longtail import formats, runs, summary
from longtail.comparison import Cell, Comparison
from longtail.record import shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WRITTEN = ("table.md", "table.csv", "table.tex", "runs.csv", "report.html", "figures")


@dataclass(frozen=True)
class Picture:
    """A figure of a report: the name of its files, what it shows, and itself."""

    name: str
    caption: str
    figure: "Figure"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a report; exit with 1 and one line if that is not possible, and leave nothing half-written."""
    options = parser().parse_args(arguments)
    try:
        report(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        print(f"error: {error.filename or options.out}: {error.strerror or error}", file=sys.stderr)
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
        help="compare each row with the one that has this instead (default: sampler=random, reweight=none)",
    )
    line.add_argument("--across", metavar="OPTION", help="the option whose values stand side by side")
    line.add_argument("--mixed", action="store_true", help="put runs of different protocols into one table, marked")
    line.add_argument(
        "--duplicates", choices=("newer", "older"), default="newer", help="which of two runs alike to use"
    )
    return line


def report(options: argparse.Namespace) -> None:
    """Read the runs, compare them, write everything.

    Raises:
        ValueError: there is nothing to compare, the runs may not be compared, or the report exists.
    """
    directories = list(dict.fromkeys(path for directory in options.dir for path in runs.find(directory)))
    out: Path = options.out or options.dir[0] / "report"
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out={out}: must be a directory")
    if out.is_dir() and any(out.iterdir()) and not options.force:
        raise ValueError(f"{out}: exists, --force overwrites the report in it")
    found = [runs.read(directory) for directory in directories]
    for line in summary.incomplete(found):
        warn(line)
    compared = comparing.compare(found, options.by, use_older=options.duplicates == "older")
    if compared.differences and not options.mixed:
        names = ", ".join(compared.options) or "none"
        listed = "".join(f"\n  {difference}" for difference in compared.differences)
        raise ValueError(
            f"the runs differ in more than the options compared ({names}) and the seed;"
            f" --by SETTING compares a setting, --mixed puts them into one table, marked:{listed}"
        )
    baseline = chosen_baseline(options.baseline, compared)
    across = options.across or summary.default_across(compared)
    if across is not None and across not in compared.options:
        raise ValueError(f"--across={across}: must be one of {', '.join(compared.options) or 'several options'}")
    tables = [summary.pivot(compared, metric, across) for metric in summary.COMPARED_METRICS if across]
    tables.append(summary.combinations(compared, baseline))
    if papers := summary.papers(compared):
        tables.append(papers)
    notes = summary.notes(compared, baseline)
    for line in notes:
        if "have the same options and seed" in line:
            warn(line)
    title = f"Report on {', '.join(directory.resolve().name for directory in options.dir)}"
    with writing(out) as place:
        write(place, out, title, compared, tables, notes, list(pictures(compared, baseline)))
    console = Console(highlight=False)
    console.print(formats.terminal(summary.short(compared, baseline)), soft_wrap=True)
    console.print(f"files in {shorten(out)}", soft_wrap=True)


def chosen_baseline(given: Sequence[str], compared: Comparison) -> dict[str, str]:
    """The options of the baseline.

    Raises:
        ValueError: one is not compared, or has another value in every run.
    """
    if not given:
        return compared.default_baseline()
    chosen = {}
    for item in (part for text in given for part in text.split(",")):
        name, _, value = item.partition("=")
        if name not in compared.options:
            raise ValueError(f"--baseline={item}: must be OPTION=VALUE with one of {', '.join(compared.options)}")
        values = list(dict.fromkeys(cell.options[name] for cell in compared.cells))
        if value not in values:
            raise ValueError(f"--baseline={item}: {name} must be one of {', '.join(values)}")
        chosen[name] = value
    return chosen


def pictures(compared: Comparison, baseline: Mapping[str, str]) -> Iterator[Picture]:
    """All figures of a report, one after the other."""
    import numpy as np

    from longtail import figures

    cells = [cell for cell in compared.cells if cell.per_class()]
    panels: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        panels.setdefault(label(cell, compared.conditions), {})[label(cell, compared.methods)] = cell
    if cells:
        scores = {
            condition: {
                method: figures.Scores(
                    list(cell.by_seed("accuracy").values()),
                    list(cell.by_seed("accuracy_std").values()),
                    np.array(cell.per_class()),
                )
                for method, cell in members.items()
            }
            for condition, members in panels.items()
        }
        yield Picture(
            "methods",
            "Accuracy, its standard deviation over classes, and the accuracies of the classes, by method.",
            figures.methods(scores),
        )
        by_class = {c: {m: cell.per_class() for m, cell in members.items()} for c, members in panels.items()}
        yield Picture("by_class", "Accuracy of each class, from head to tail.", figures.by_class(by_class))
    baseline_of = compared.baseline(baseline)
    for condition, members in panels.items():
        suffix = "" if len(panels) == 1 else "-" + re.sub(r"[^A-Za-z0-9.]+", "_", condition)
        where = f" ({condition})" if condition else ""
        first = next(iter(members.values()))
        rows = first.runs[0].rows
        names, counts = [row[1] for row in rows], [row[2] for row in rows]
        plain = baseline_of(first) if baseline else first
        plain = plain if plain and plain.per_class() else first
        yield Picture(
            f"classes{suffix}",
            f"Training images and accuracy per class{where}: {label(plain, compared.methods)}.",
            figures.classes(names, counts, plain.per_class()),
        )
        yield Picture(
            f"by_count{suffix}",
            f"Accuracy against the number of training images{where}, with the slope per tenfold number.",
            figures.by_count(counts, {method: cell.per_class() for method, cell in members.items()}),
        )
        weights: dict[str, list[float]] = {}
        for cell in members.values():
            weights.setdefault(weighting(cell, compared), [row[4] for row in cell.runs[0].rows])
        yield Picture(f"weights{suffix}", f"Weights of the classes{where}.", figures.weights(counts, weights))
        if confusions := {
            method: total for method, cell in members.items() if (total := confusion(cell)) is not None
        }:
            yield Picture(
                f"confusion{suffix}",
                f"Which class was taken for which, share of the true class, all seeds{where}.",
                figures.confusions(names, confusions),
            )
    if functions := weightings(compared):
        yield Picture(
            "boundary",
            "How far each weighting moves the boundary between a frequent and a rare class: a linear classifier"
            " trained on two Gaussian classes of 5,000 and 100 points.",
            figures.boundary(functions),
        )
    yield Picture("focal", "Focal loss against the probability of the true class.", figures.focal())


def label(cell: Cell, names: Sequence[str]) -> str:
    """The options of a cell for a figure: options by name as they are, settings with their name."""
    parts = [
        cell.options[name] if name in runs.GROUPS else f"{name.rpartition('.')[2]} {cell.options[name]}"
        for name in names
    ]
    return ", ".join(part for name, part in zip(names, parts, strict=True) if cell.options[name])


def weighting(cell: Cell, compared: Comparison) -> str:
    """The name of a cell's weighting, with its settings where they vary."""
    names = [name for name in compared.options if name.partition(".")[0] == "reweight"]
    return label(cell, names) if names else cell.runs[0].choices.get("reweight", "weights")


def weightings(compared: Comparison) -> dict[str, Callable[[Any], Any]]:
    """The weightings of the runs as functions, by name; one that cannot be made outside its run is left out."""
    from hydra.utils import instantiate

    made: dict[str, Callable[[Any], Any]] = {}
    for cell in compared.cells:
        if cell.runs:
            with contextlib.suppress(Exception):  # of a fork's own part that is not installed here
                made.setdefault(
                    weighting(cell, compared), instantiate(cell.runs[0].config["reweight"], _convert_="all")
                )
    return made


def confusion(cell: Cell) -> Any:
    """The confusion matrix (C, C) of a cell, all seeds together, or None."""
    import numpy as np

    found = [np.asarray(run.confusion) for run in cell.runs if run.confusion is not None]
    return sum(found[1:], found[0]) if found and len({matrix.shape for matrix in found}) == 1 else None


@contextlib.contextmanager
def writing(out: Path) -> Iterator[Path]:
    """A directory to write into, which takes the place of `out`, or of the report in it, when all is written."""
    out.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=".report-", dir=out.parent))
    try:
        yield place
        place.chmod(0o755)
        out.mkdir(exist_ok=True)
        for name in WRITTEN:
            old = out / name
            if old.is_dir():
                shutil.rmtree(old)
            (place / name).replace(old)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def write(
    place: Path,
    out: Path,
    title: str,
    compared: Comparison,
    tables: Sequence[formats.Table],
    notes: Sequence[str],
    shown: Sequence[Picture],
) -> None:
    """Write every file of the report into `place`, with links as seen from `out`."""
    from longtail import figures

    (place / "figures").mkdir()
    for picture in shown:
        figures.save(picture.figure, place / "figures" / picture.name)
    incomplete = summary.incomplete(compared.runs)
    full = next(table for table in tables if table.columns[-1].key and table.title == "Every combination")
    every_run = summary.every_run(compared)
    (place / "table.csv").write_text(formats.comma_separated(full), encoding="utf-8")
    (place / "runs.csv").write_text(formats.comma_separated(every_run), encoding="utf-8")
    (place / "table.tex").write_text("\n".join(map(formats.latex, tables)), encoding="utf-8")
    sections = [f"# {title}\n", *(f"## {table.title}\n\n{formats.markdown(table)}" for table in tables)]
    if incomplete:
        sections.append("## Without a result\n\n" + "".join(f"- {line}\n" for line in incomplete))
    sections.append("## Notes\n\n" + "".join(f"- {line}\n" for line in notes))
    (place / "table.md").write_text("\n".join(sections), encoding="utf-8")
    (place / "report.html").write_text(
        page(place, out, title, compared, [*tables, every_run], [*notes], incomplete, shown), encoding="utf-8"
    )


def page(
    place: Path,
    out: Path,
    title: str,
    compared: Comparison,
    tables: Sequence[formats.Table],
    notes: Sequence[str],
    incomplete: Sequence[str],
    shown: Sequence[Picture],
) -> str:
    """The report as one page that needs no other file and no network."""
    from base64 import b64encode

    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["text"] = formats.text
    template = environment.from_string(files("longtail").joinpath("report.html.jinja").read_text("utf-8"))
    links = {shorten(run.directory): quote(os.path.relpath(run.directory, out)) for run in compared.runs}
    encoded = [
        (picture, b64encode((place / "figures" / f"{picture.name}.svg").read_bytes()).decode()) for picture in shown
    ]
    return template.render(
        title=title,
        notes=notes,
        incomplete=incomplete,
        tables=tables,
        pictures=encoded,
        links=links,
        fingerprint=facts(compared),
    )


def facts(compared: Comparison) -> list[tuple[str, list[tuple[str, int]]]]:
    """Each fact of the fingerprint with its values and how many runs have each."""
    names = dict.fromkeys(name for run in compared.used for name in run.fingerprint)
    found = []
    for name in names:
        values: dict[str, int] = {}
        for run in compared.used:
            value = comparing.fact_text(run.fingerprint.get(name))
            values[value] = values.get(value, 0) + 1
        found.append((name, list(values.items())))
    return found


def warn(line: str) -> None:
    """One line on stderr."""
    print(f"warning: {line}", file=sys.stderr)


if __name__ == "__main__":
    main()
