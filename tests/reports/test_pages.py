"""How an earlier report is replaced, and the page in a browser."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree.ElementTree import tostring

import pytest

from longtail import figures
from longtail.reports import pages
from longtail.reports.embedding import embedded

from ..conftest import Report, write_run, write_sweep

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
VOID = {"meta", "link", "img", "br", "hr", "input", "wbr"}


def tree(directory: Path) -> dict[str, bytes]:
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


class Page(HTMLParser):
    """The tags, links and scripts of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.targets: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.texts: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} {name}"
            if name in ("src", "href", "srcset", "action", "data", "poster", "style"):
                self.targets.append((name, value or ""))
            elif name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.texts.append(data)


# An earlier report


@pytest.mark.usefixtures("undrawn")
def test_a_report_is_refreshed_and_what_is_none_is_left_alone(tmp_path: Path, report: Report) -> None:
    write_sweep(tmp_path / "sweep", "loss=softmax,focal")
    assert report("sweep").code == 0
    before = (tmp_path / "sweep/report/table.csv").read_bytes()
    (tmp_path / "sweep/report/table.csv").write_text("")
    assert report("sweep").code == 0
    assert (tmp_path / "sweep/report/table.csv").read_bytes() == before
    for name, text in (("table.md", "mine"), ("report.html", "<title>mine</title>")):
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / name).write_text(text)
        foreign = tree(tmp_path / "mine")
        done = report("sweep", "--out", "mine")
        assert done.code == 1
        assert done.error.startswith(
            f"mine: holds {', '.join(sorted(foreign, reverse=True))}, but no report of this version;"
        )
        assert tree(tmp_path / "mine") == foreign
    assert report("sweep", "--out", "mine", "--force").code == 0


@pytest.mark.usefixtures("undrawn")
def test_other_files_are_in_nobodys_way(tmp_path: Path, report: Report) -> None:
    write_sweep(tmp_path / "sweep", "loss=softmax,focal")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/paper.tex").write_text("mine")
    assert report("sweep", "--out", "out").code == 0
    assert (tmp_path / "out/paper.tex").read_text() == "mine"


@pytest.mark.usefixtures("sketched")
def test_force_removes_the_figures_of_the_earlier_report_alone(tmp_path: Path, report: Report) -> None:
    write_sweep(tmp_path / "sweep", "imbalance.ratio=10,50", "loss=softmax,focal")
    assert report("sweep", "--out", "out").code == 0
    (tmp_path / "out/figures/mine.png").write_bytes(b"mine")
    (tmp_path / "out/notes.txt").write_text("mine")
    assert report("sweep/0", "--out", "out", "--force").code == 0
    figures = {path.name for path in (tmp_path / "out/figures").iterdir()}
    assert not [name for name in figures if "ratio" in name]
    assert {"mine.png", "classes.png", "classes.svg"} <= figures
    assert (tmp_path / "out/notes.txt").read_text() == "mine"


@pytest.mark.usefixtures("sketched")
@pytest.mark.parametrize("holds", [".hydra", "metrics.json"])
def test_a_run_stays_as_it_is(tmp_path: Path, report: Report, holds: str) -> None:
    write_sweep(tmp_path / "sweep", "loss=softmax,focal")
    (tmp_path / "run" / holds).mkdir(parents=True)
    before = tree(tmp_path)
    for arguments in ((), ("--force",)):
        assert report("sweep", "--out", "run", *arguments).error.startswith("run: is the directory of a run")
    assert tree(tmp_path) == before


@pytest.mark.usefixtures("sketched")
def test_a_report_that_is_stopped_while_it_is_replaced_lacks_no_figure(
    tmp_path: Path, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sweep(tmp_path / "sweep", "imbalance.ratio=10,50", "loss=softmax,focal")
    assert report("sweep", "--out", "out").code == 0
    before = {path.name for path in (tmp_path / "out/figures").iterdir()}

    def stopped(path: Path, target: Path) -> Path:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "replace", stopped)
        assert report("sweep/0", "--out", "out", "--force").code == 1
    assert {path.name for path in (tmp_path / "out/figures").iterdir()} == before


@pytest.mark.parametrize("at", ["page", "markdown"])
@pytest.mark.usefixtures("undrawn")
def test_a_report_that_fails_leaves_the_old_one(
    tmp_path: Path, report: Report, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    write_sweep(tmp_path / "sweep", "loss=softmax,focal")
    assert report("sweep").code == 0
    before = tree(tmp_path)

    def full(*arguments: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pages, at, full)
    done = report("sweep", "--force", "--across", "loss")
    assert done.code == 1
    assert done.error == "sweep/report: No space left on device"
    assert tree(tmp_path) == before
    assert report("sweep", "--out", "new/below").error == "new/below: No space left on device"
    assert not (tmp_path / "new").exists()


# The page


def nasty(directory: Path) -> None:
    for job, name in enumerate(['<script>alert("x")</script>', "a|b & c", "50 %_more", "plain", "#1?x=y:z"]):
        write_run(directory / f"job {job} #?%", f"loss='{name}'", accuracy=0.5 + 0.05 * job)


@pytest.mark.usefixtures("sketched")
def test_the_page_refers_to_nothing_but_itself_and_its_runs(tmp_path: Path, report: Report) -> None:
    nasty(tmp_path / "a: sweep")
    (tmp_path / "a: sweep/job 4 #?%/metrics.json").unlink()
    assert report("a: sweep", "--out", "elsewhere/out").code == 0
    source = (tmp_path / "elsewhere/out/report.html").read_text()
    page = Page(source)
    assert page.open == []
    links = []
    for name, target in page.targets:
        if name == "style":  # of a figure
            assert "url" not in target
            continue
        assert name in ("src", "href")
        if target.startswith("#"):
            assert target[1:] in page.ids
        elif not target.startswith("data:"):
            links.append(target)
            assert re.fullmatch(r"\.\./\.\./[\w%./-]+/", target)
            assert (tmp_path / "elsewhere/out" / unquote(target)).is_dir()
    assert len(links) == 5
    assert len(page.ids) == len(set(page.ids))
    assert page.seen.count("script") == 1
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttp|https?:", re.sub(r"base64,[\w+/=]+", "", source))
    assert "default-src 'none'" in source
    text = "".join(page.texts)
    assert '<script>alert("x")</script>' in text
    assert "train_indices_sha256" in text


def test_figures_are_parts_of_the_page_with_ids_of_their_own(tmp_path: Path) -> None:
    drawn = []
    for name in ("one", "two"):
        figures.save(figures.by_count([10, 100], {"<b>": [0.5, 0.6]}), tmp_path / name)
        drawn.append(tostring(embedded(tmp_path / name, 'a "caption"'), "unicode"))
    page = Page("".join(drawn))
    assert page.open == []
    assert len(page.ids) == len(set(page.ids)) > 0
    used = re.findall(r'(?:href="#|url\(#)([^")]+)', "".join(drawn))
    assert set(used) == {name for name in page.ids if name in used}
    assert {"metadata", "style"}.isdisjoint(page.seen)
    assert ":" not in "".join(page.seen)
    assert "<b>, 10 images: 0.500" in page.texts
    assert 'aria-label="a &quot;caption&quot;"' in drawn[0]


def test_an_option_of_the_name_of_a_run_is_no_link(
    tmp_path: Path, report: Report, monkeypatch: pytest.MonkeyPatch, undrawn: None
) -> None:
    write_sweep(tmp_path / "sweep", "imbalance.ratio=1,2", "seed=0,1")
    monkeypatch.chdir(tmp_path / "sweep")
    assert report(".").code == 0
    page = Page((tmp_path / "sweep/report/report.html").read_text())
    assert [target for _, target in page.targets if target.startswith("..")] == [f"../{job}/" for job in range(4)]


def chromium(tmp_path: Path, page: Path, *flags: str) -> tuple[str, list[str]]:
    """Open a page without a display; gives its elements when all is loaded, and what the console says."""
    assert CHROMIUM
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    switches += ["--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--v=0"]
    switches += [f"--user-data-dir={tmp_path / 'browser'}", "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom"]
    done = subprocess.run([CHROMIUM, *switches, *flags, page.as_uri()], capture_output=True, text=True, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")


@needs_chromium
def test_a_browser_opens_the_page_without_a_complaint_or_a_request(tmp_path: Path, report: Report) -> None:
    nasty(tmp_path / "runs")
    assert report("runs").code == 0
    page = tmp_path / "runs/report/report.html"
    script = """<script>addEventListener("load", () => {
      const drawn = [...document.querySelectorAll("figure > svg")].map((figure) => figure.getBoundingClientRect());
      document.body.dataset.drawn = drawn.filter((box) => box.width > 100 && box.height > 50).length;
      const { scrollWidth, clientWidth } = document.documentElement;
      document.body.dataset.sideways = `${scrollWidth - clientWidth} of ${innerWidth}`;
      const asked = performance.getEntriesByType("resource").map((entry) => entry.name.split(":")[0]);
      document.body.dataset.asked = asked.filter((scheme) => scheme !== "data").join();
    })</script></body>"""
    watched = page.with_name("watched.html")
    watched.write_text(page.read_text().replace("</body>", script))
    elements, console = chromium(tmp_path, watched, "--window-size=1200,800")
    assert console == []
    assert 'data-sideways="0 of 1200"' in elements  # nothing to scroll sideways
    assert f'data-drawn="{len(list((tmp_path / "runs/report/figures").glob("*.svg")))}"' in elements
    assert 'data-asked=""' in elements


@needs_chromium
def test_the_page_may_not_reach_outside(tmp_path: Path, report: Report, undrawn: None) -> None:
    write_run(tmp_path / "run")
    assert report("run").code == 0
    page = tmp_path / "run/report/report.html"
    page.write_text(page.read_text().replace("<h1>", '<img src="http://127.0.0.1:9/x.png"><h1>'))
    _, console = chromium(tmp_path, page)
    assert any("Content Security Policy" in line for line in console)


@needs_chromium
def test_headings_sort_the_rows(tmp_path: Path, report: Report, undrawn: None) -> None:
    scores = {"10": 0.5, "9": 0.7, "100": 0.6, "auto": None}
    for job, (gamma, accuracy) in enumerate(scores.items()):
        write_run(tmp_path / "runs" / str(job), f"loss.gamma={gamma}", test={"accuracy": accuracy})
    assert report("runs").code == 0
    page = tmp_path / "runs/report/report.html"
    script = """<script>
      const table = document.querySelector("table");
      const click = (title) => {
        [...table.querySelectorAll("th button")].find((button) => button.textContent === title).click();
        return [...table.tBodies[0].rows].map((row) => row.cells[0].textContent).join(" ");
      };
      document.body.dataset.orders = ["loss.gamma", "loss.gamma", "accuracy", "accuracy"].map(click).join("; ");
    </script></body>"""
    clicked = page.with_name("clicked.html")
    clicked.write_text(page.read_text().replace("</body>", script))
    elements, console = chromium(tmp_path, clicked)
    assert console == []
    match = re.search(r'data-orders="([^"]*)"', elements)
    assert match
    assert match[1].split("; ") == [
        "9 10 100 auto",  # numbers by value, words behind them
        "auto 100 10 9",
        "10 100 9 auto",  # what is missing stays at the end
        "9 100 10 auto",
    ]


def test_a_number_of_any_size_is_sorted_by() -> None:
    assert pages.sort_key(10**400) == "1" + "0" * 400
    assert (pages.sort_key(0.1), pages.sort_key(float("nan")), pages.sort_key(None)) == ("0.1", "", "")
