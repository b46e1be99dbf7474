"""The files of a report: tables, figures and one page of HTML, put in the place of an earlier report."""

import contextlib
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote
from xml.etree.ElementTree import Element, tostring

from longtail.reports import formats
from longtail.reports.collection import progress
from longtail.reports.content import Content
from longtail.reports.embedding import embedded, is_wide
from longtail.reports.formats import Entry, Number

if TYPE_CHECKING:
    from longtail.reports.pictures import Picture

MARK = '<meta name="generator" content="longtail-report">'
WRITTEN = ("table.md", "table.csv", "table.tex", "runs.csv", "report.html")  # and figures/
MOST_HEAD = 1000  # letters of a page in which its mark is
PLACE = ".report-"  # how the name of the directory begins in which a report is written


@contextlib.contextmanager
def writing(out: Path) -> Iterator[Path]:
    """A directory to write into, whose files take the place of an earlier report's in `out` when all are written.

    Whatever else lies in `out` stays. If the writing fails, all is as it was before.
    """
    made = [path for path in (out, *out.parents) if not path.exists()]
    out.mkdir(parents=True, exist_ok=True)
    earlier = earlier_figures(out)
    for left in out.glob(f"{PLACE}*"):
        with locked(left) as is_ours:
            if is_ours:  # that of a report that was killed
                shutil.rmtree(left, ignore_errors=True)
    place = Path(tempfile.mkdtemp(prefix=PLACE, dir=out))
    with locked(place):
        try:
            yield place
            (out / "figures").mkdir(exist_ok=True)
            written = [path.relative_to(place) for path in sorted(place.rglob("*")) if path.is_file()]
            for name in written:
                (place / name).replace(out / name)
            for path in earlier:  # last, so that a report that is stopped here lacks none of its figures
                if path.relative_to(out) not in written:
                    path.unlink(missing_ok=True)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            for path in made:
                with contextlib.suppress(OSError):  # somebody else has put something there
                    path.rmdir()
            raise
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[bool]:
    """Lock a directory, and say whether that was possible; the lock of a process ends with it, however it ends."""
    descriptor = None
    try:
        import fcntl  # not on Windows

        descriptor = os.open(directory, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_ours = True
    except (ImportError, OSError):
        is_ours = False
    try:
        yield is_ours
    finally:
        if descriptor is not None:
            os.close(descriptor)


def is_report(out: Path) -> bool:
    """Whether a report stands in a directory: its page says what has made it."""
    page = out / "report.html"
    return page.is_file() and MARK in page.read_text("utf-8", "replace")[:MOST_HEAD]


def earlier_figures(out: Path) -> list[Path]:
    """The files of the figures that the report in `out` shows; `figures/` may hold others."""
    page = out / "report.html"
    names = re.findall(r'<figure id="([\w-]+)"', page.read_text("utf-8", "replace")) if page.is_file() else []
    return [out / "figures" / f"{name}.{kind}" for name in names for kind in ("png", "svg")]


def write(place: Path, out: Path, said: Content) -> None:
    """Write every file of the report into `place`, with links as seen from `out`."""
    from longtail import figures

    (place / "figures").mkdir()
    for picture in progress(said.pictures, "drawing figures"):
        drawn, base = picture.draw(), place / "figures" / picture.name
        if isinstance(drawn, Path):
            shutil.copyfile(drawn, base.with_name(f"{base.name}.png"))
        else:
            figures.save(drawn, base)
    printed = [*said.pivots, said.short, *([said.papers] if said.papers else []), *said.adjusted]
    texts = {
        "table.md": markdown(said),
        "table.csv": formats.comma_separated(said.combinations),
        "table.tex": "% needs \\usepackage{booktabs}\n\n" + "\n".join(map(formats.latex, printed)),
        "runs.csv": formats.comma_separated(said.every_run),
        "report.html": page(place, out, said),
    }
    for name, text in texts.items():
        (place / name).write_text(text, encoding="utf-8")


def markdown(said: Content) -> str:
    """The tables and notes as Markdown."""
    escaped = formats.markdown_escape
    sections = [f"# {escaped(said.title)}\n"]
    sections += [f"## {escaped(table.title)}\n\n{formats.markdown(table)}" for table in said.tables]
    for heading, lines in (("Without a result", said.incomplete), ("Notes", said.notes)):
        if lines:
            sections.append(f"## {heading}\n\n" + "".join(f"- {escaped(line)}\n" for line in lines))
    return "\n".join(sections)


def page(place: Path, out: Path, said: Content) -> str:
    """The report as one page that needs no other file and no network; its figures are read from `place`."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    def link(run: Path) -> str:
        return f"{quote(os.path.relpath(run, out))}/"

    def drawn(picture: "Picture") -> Element:
        return embedded(place / "figures" / picture.name, picture.caption)

    def html(element: Element) -> Markup:
        return Markup(tostring(element, "unicode"))

    def parts(entry: Entry) -> list[str]:
        said = formats.text(entry)  # a spread or an interval may stand below its mean
        return re.split(r" (?=[±\[(])", said) if isinstance(entry, Number) else [said]

    def breakable(heading: str) -> Markup:
        return Markup("<wbr>").join(re.split(r"(?<=[./])", heading))  # not in the middle of a word

    def directory(entry: Entry) -> bool:
        return isinstance(entry, Path)

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"text": formats.text, "sort_key": sort_key, "link": link, "drawn": drawn, "parts": parts}
    environment.filters |= {"html": html, "is_wide": is_wide, "breakable": breakable}
    environment.tests["directory"] = directory
    template = environment.from_string(files("longtail.reports").joinpath("report.html.jinja").read_text("utf-8"))
    return template.render(said=said, mark=Markup(MARK))


def sort_key(entry: Entry) -> str:
    """What the page sorts an entry by: every digit of a number, else its text; nothing for None and NaN."""
    number = entry.mean if isinstance(entry, Number) else entry
    is_number = isinstance(number, int) or (isinstance(number, float) and not math.isnan(number))
    return str(number) if is_number else formats.text(number)
