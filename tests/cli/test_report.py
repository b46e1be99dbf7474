"""The command and what it writes."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from longtail.cli import report as command
from longtail.reports import pages
from longtail.reports.pictures import Picture
from longtail.sweeps.directory import plan
from longtail.tracking.logger import RunDescription

from ..conftest import Cli, Report, WandbServer, write_run, write_sweep
from ..reports.test_formats import cells

SEEDS = "seed=0,1,2"
FILES = {"table.md", "table.csv", "table.tex", "runs.csv", "report.html", "figures"}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# What is written


def test_a_sweep_becomes_a_report(tmp_path: Path, report: Report) -> None:
    write_sweep(tmp_path / "sweep", "imbalance.ratio=10,50", "reweight=none,class_balanced", SEEDS)
    done = report("sweep")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0].rstrip() == "Every combination, runs 3"
    assert done.out.splitlines()[-1] == "files in sweep/report"
    assert {path.name for path in (tmp_path / "sweep/report").iterdir()} == FILES
    figures = {path.name for path in (tmp_path / "sweep/report/figures").iterdir()}
    each = ("classes", "by_count", "weights", "boundary", "confusion")
    names = ["methods", "by_class", *(f"{name}-ratio_{ratio}" for name in each for ratio in (10, 50))]
    assert figures == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}


@pytest.mark.usefixtures("undrawn")
def test_the_table_has_the_numbers_of_the_runs(tmp_path: Path, report: Report) -> None:
    sweep = write_sweep(tmp_path / "sweep", "reweight=none,class_balanced", SEEDS)
    assert report("sweep", "--out", "out").code == 0
    accuracy = [json.loads((sweep / str(job) / "metrics.json").read_text())["test"]["accuracy"] for job in range(6)]
    table = rows(tmp_path / "out/table.csv")
    assert [row["reweight"] for row in table] == ["none", "class_balanced"]
    assert [float(row["accuracy"]) for row in table] == pytest.approx(
        [sum(accuracy[:3]) / 3, sum(accuracy[3:]) / 3], rel=1e-15
    )
    listed = rows(tmp_path / "out/runs.csv")
    assert [float(row["test/accuracy"]) for row in listed] == accuracy
    assert [row["directory"] for row in listed] == [f"sweep/{job}" for job in range(6)]


@pytest.mark.usefixtures("undrawn")
def test_every_line_of_a_markdown_table_has_as_many_cells(tmp_path: Path, report: Report) -> None:
    for job, name in enumerate(["a|b", "<script>x</script>", "50 % & _more_"]):
        write_run(tmp_path / "runs" / str(job), f"loss='{name}'", f"imbalance.ratio={job + 2}")
        write_run(tmp_path / "runs" / f"{job}x", f"loss='{name}'", "imbalance.ratio=10")
    assert report("runs").code == 0
    text = (tmp_path / "runs/report/table.md").read_text()
    tables = re.findall(r"(?:^\|.*\n)+", text, re.M)
    assert len(tables) == 3
    for table in tables:
        assert len({len(cells(line)) for line in table.splitlines()}) == 1
    assert "<script>" not in text.replace("\\<", "")


@pytest.mark.usefixtures("sketched")
def test_runs_without_classes_have_no_figures_of_their_own(tmp_path: Path, report: Report) -> None:
    for job in range(2):
        write_run(tmp_path / "runs" / str(job), f"seed={job}")
        (tmp_path / "runs" / str(job) / "per_class.csv").unlink()
    done = report("runs")
    assert done.code == 0
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("warning: No per_class.csv, or a broken one, in 2 runs")
    assert "csv, or a broken one, in 2 runs" in (tmp_path / "runs/report/table.md").read_text()
    assert not list((tmp_path / "runs/report/figures").iterdir())


@pytest.mark.usefixtures("sketched")
@pytest.mark.parametrize("missing", ["per_class.csv", "confusion.csv"])
def test_a_run_may_lack_a_file(tmp_path: Path, report: Report, missing: str) -> None:
    write_sweep(tmp_path / "sweep", "loss=softmax,focal", "seed=0,1")
    (tmp_path / "sweep/0" / missing).unlink()
    (tmp_path / "sweep/2" / missing).unlink()
    (tmp_path / "sweep/3" / missing).unlink()
    assert report("sweep").code == 0
    assert (tmp_path / "sweep/report/figures/confusion.png").exists()


@pytest.mark.usefixtures("undrawn")
def test_a_hundred_runs_of_a_hundred_classes(tmp_path: Path, report: Report) -> None:
    axes = ["imbalance.ratio=10,20,50,100", "loss=softmax,focal", "reweight=none,class_balanced,inverse_frequency"]
    write_sweep(tmp_path / "sweep", *axes, "seed=0,1,2,3,4", num_classes=100)
    assert report("sweep").code == 0
    assert len(rows(tmp_path / "sweep/report/runs.csv")) == 120
    assert len(rows(tmp_path / "sweep/report/table.csv")) == 24


@pytest.mark.usefixtures("undrawn")
def test_the_same_runs_are_taken_once(tmp_path: Path, report: Report) -> None:
    write_sweep(tmp_path / "sweep", "loss=softmax,focal")
    done = report("sweep", tmp_path / "sweep", "sweep/0", "--out", "out")
    assert (done.code, done.err) == (0, "")
    assert len(rows(tmp_path / "out/runs.csv")) == 2


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("value", ["50", "50.0", "5e1"])
def test_the_value_of_a_baseline_is_a_number(tmp_path: Path, report: Report, value: str) -> None:
    write_sweep(tmp_path / "sweep", "imbalance.ratio=10,50", SEEDS)
    assert report("sweep", "--baseline", f"imbalance.ratio={value}").code == 0
    assert [bool(row["accuracy_difference"]) for row in rows(tmp_path / "sweep/report/table.csv")] == [True, False]
    assert "Differences are to imbalance.ratio=50 with" in (tmp_path / "sweep/report/table.md").read_text()


# What is refused


@pytest.mark.usefixtures("undrawn")
def test_runs_of_two_protocols_are_refused_with_what_differs(tmp_path: Path, report: Report) -> None:
    write_sweep(tmp_path / "a", "reweight=none", SEEDS)
    write_sweep(
        tmp_path / "b", "reweight=class_balanced", SEEDS, facts={"git_revision": "1" * 40, "versions": {"torch": "3"}}
    )
    done = report("a", "b")
    assert done.code == 1
    assert done.error.startswith("the runs differ in more than the options compared (reweight) and the seed; --by")
    listed = [line.strip().partition(":")[0] for line in done.err.splitlines()[1:]]
    assert listed == ["versions.longtail", "versions.torch", "git_revision"]
    assert "3 in 3 runs (b/0, ...)" in done.err
    assert not (tmp_path / "a/report").exists()


@pytest.mark.usefixtures("undrawn")
def test_mixed_runs_are_marked_in_every_file(tmp_path: Path, report: Report) -> None:
    write_sweep(tmp_path / "a", "reweight=none,class_balanced", "loss=softmax", SEEDS)
    write_sweep(tmp_path / "b", "reweight=none,class_balanced", "loss=focal", "epochs=20", "seed=0")
    assert report("a", "b", "--mixed", "--out", "out").code == 0
    marked = [row["mixed"] for row in rows(tmp_path / "out/table.csv")]
    assert marked == ["", "", "†", "†"]
    assert sum("mixed" in row["note"] for row in rows(tmp_path / "out/runs.csv")) == 2
    markdown, page, latex = (
        (tmp_path / "out" / name).read_text() for name in ("table.md", "report.html", "table.tex")
    )
    assert markdown.count("†") == 2 * 2 + 2 + 1  # cells of the pivots, rows, the note
    assert "epochs: 10 in 6 runs (a/0, ...); 20 in 2 runs (b/0, ...)" in markdown
    assert re.sub(r'data-value="[^"]*"', "", page).count("†") == 2 * 2 + 2 + 2 + 1  # runs too
    assert latex.count(r"\dag{}") == 2 * 2 + 2


@pytest.mark.usefixtures("undrawn")
def test_another_setting_can_be_compared(tmp_path: Path, report: Report) -> None:
    write_run(tmp_path / "runs/0", "epochs=10")
    write_run(tmp_path / "runs/1", "epochs=20")
    assert "epochs: 10 in 1 run" in report("runs").err
    assert report("runs", "--by", "epochs").code == 0
    assert [row["epochs"] for row in rows(tmp_path / "runs/report/table.csv")] == ["10", "20"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["empty"], "empty: holds no run (a directory with .hydra or metrics.json)"),
        (["nowhere"], "nowhere: is not a directory"),
        (["sweep", "empty"], "empty: holds no run (a directory with .hydra or metrics.json)"),
        (["failed"], "none of the runs is complete"),
        (["sweep", "--by", "epoch"], "--by=epoch: must be a setting of the runs, and not the seed"),
        (["sweep", "--across", "model"], "--across=model: must be one of loss, reweight"),
        (["sweep/0", "--across", "loss"], "--across=loss: must be one of several options, and none varies"),
        (["sweep", "--baseline", "loss"], "--baseline=loss: must be OPTION=VALUE, with one of loss, reweight"),
        (["sweep", "--baseline", "model=x"], "--baseline=model=x: must be OPTION=VALUE, with one of loss, reweight"),
        (["sweep", "--baseline", "loss=x"], "--baseline=loss=x: loss must be one of softmax, focal"),
        (["sweep/0", "--baseline", "loss=x"], "--baseline=loss=x: must be OPTION=VALUE, but no option varies"),
        (
            ["sweep", "--out", "sweep/1", "--force"],
            "sweep/1: is the directory of a run, for it holds .hydra; --out=DIR writes elsewhere",
        ),
        (["sweep", "--out", "file"], "--out=file: must be a directory"),
        (["sweep", "--out", "file/below"], "file/below: Not a directory"),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_bad_input_is_one_line_and_nothing_is_written(
    tmp_path: Path, report: Report, arguments: Sequence[str], error: str
) -> None:
    write_sweep(tmp_path / "sweep", "loss=softmax,focal", "reweight=none,class_balanced")
    write_run(tmp_path / "failed/0", accuracy=None)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    before = sorted(tmp_path.rglob("*"))
    done = report(*arguments)
    assert done.code == 1
    assert done.error == error
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("undrawn")
def test_what_has_no_result_is_listed(tmp_path: Path, report: Report) -> None:
    sweep = write_sweep(tmp_path / "sweep", "reweight=none,class_balanced", SEEDS)
    (sweep / "1/metrics.json").write_text('{"test": {"accuracy"')
    (sweep / "3/metrics.json").unlink()
    (sweep / "4/metrics.json").unlink()
    (sweep / "4/failure.txt").write_text("optimizer.lr=9: <diverged>\n")
    done = report("sweep")
    assert done.code == 0
    warnings = [line.removeprefix("warning: ") for line in done.err.splitlines()]
    assert [line.split(" ")[:2] for line in warnings] == [
        ["sweep/1", "unreadable:"], ["sweep/3", "unfinished:"], ["sweep/4", "failed:"],
    ]  # fmt: skip
    assert [(row["runs"], row["incomplete"]) for row in rows(sweep / "report/table.csv")] == [("2", "1"), ("1", "2")]
    assert len(rows(sweep / "report/runs.csv")) == 6
    markdown, page = ((sweep / "report" / name).read_text() for name in ("table.md", "report.html"))
    assert r"- sweep/4 failed: optimizer.lr=9: \<diverged\>" in markdown
    assert "sweep/4 failed: optimizer.lr=9: &lt;diverged&gt;" in page


@pytest.mark.usefixtures("undrawn")
def test_jobs_that_a_sweep_never_came_to_are_said(tmp_path: Path, report: Report) -> None:
    sweep = write_sweep(tmp_path / "sweep", "loss=softmax,focal", "seed=0,1")
    (sweep / "1/metrics.json").unlink()  # it was at work
    for job in (2, 3):
        shutil.rmtree(sweep / str(job))
    plan(sweep, {str(job): [f"job={job}"] for job in range(4)})
    done = report("sweep")
    assert done.code == 0
    assert done.err.splitlines()[1:] == ["warning: 2 of 4 jobs of sweep were not started"]
    listed = rows(sweep / "report/runs.csv")
    assert [row["status"] for row in listed] == ["done", "unfinished", "not started", "not started"]
    text = (sweep / "report/table.md").read_text()
    assert "sweep not started: no directory has the settings of job=3" in text
    assert "not started" not in report("sweep/0").err


@pytest.mark.usefixtures("undrawn")
def test_two_runs_alike_are_said(tmp_path: Path, report: Report) -> None:
    write_run(tmp_path / "runs/a", accuracy=0.25)
    write_run(tmp_path / "runs/b", accuracy=0.75)
    for name, accuracy, arguments in (("new", 0.75, []), ("old", 0.25, ["--duplicates", "older"])):
        done = report("runs", "--out", name, *arguments)
        assert done.code == 0
        assert re.fullmatch(r"warning: runs/\w and runs/\w have the same options and seed; .*\n", done.err)
        assert [float(row["accuracy"]) for row in rows(tmp_path / name / "table.csv")] == [accuracy]
        assert sorted(float(row["test/accuracy"]) for row in rows(tmp_path / name / "runs.csv")) == [0.25, 0.75]


# Many runs


@pytest.mark.usefixtures("undrawn")
def test_the_columns_of_every_run_are_distinct(tmp_path: Path, report: Report) -> None:
    write_sweep(tmp_path / "sweep", "loss=softmax,focal", "imbalance.ratio=10,50", test={"loss": 0.25})
    assert report("sweep").code == 0
    with (tmp_path / "sweep/report/runs.csv").open(newline="") as file:
        header = next(csv.reader(file))
    assert len(set(header)) == len(header)
    listed = rows(tmp_path / "sweep/report/runs.csv")
    assert [row["options.loss"] for row in listed] == ["softmax", "softmax", "focal", "focal"]
    assert [row["settings.imbalance.ratio"] for row in listed] == ["10", "50", "10", "50"]
    assert {row["test/loss"] for row in listed} == {"0.25"}


@pytest.mark.usefixtures("sketched")
def test_each_file_of_a_run_is_read_once(tmp_path: Path, report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = write_sweep(tmp_path / "sweep", "loss=softmax,focal", SEEDS)
    opened: Counter[str] = Counter()
    original = io.open

    def counting(file: Any, *arguments: Any, **given: Any) -> Any:
        if "report" not in str(file):
            opened[str(file)] += 1
        return original(file, *arguments, **given)

    monkeypatch.setattr(io, "open", counting)
    assert report(sweep).code == 0
    read = {path: times for path, times in opened.items() if path.startswith(str(sweep))}
    assert len(read) > 6 * 4
    assert set(read.values()) == {1}, read


# The whole way


@pytest.mark.usefixtures("sketched")
def test_a_real_sweep(tmp_path: Path, cli: Cli, report: Report) -> None:
    quick = ["epochs=1", "model.width=4", "hydra/launcher=basic", f"hydra.sweep.dir={tmp_path}/sweep"]
    trained = cli("-m", "reweight=none,class_balanced", "seed=0,1", *quick)
    assert trained.code == 0, trained.err
    done = report("sweep")
    assert (done.code, done.err) == (0, "")
    plain, balanced = rows(tmp_path / "sweep/report/table.csv")
    assert (plain["reweight"], plain["runs"], plain["accuracy_difference"]) == ("none", "2", "")
    assert (balanced["reweight"], balanced["runs"]) == ("class_balanced", "2")
    assert balanced["accuracy_difference_n"] == "2"
    figures = {path.stem for path in (tmp_path / "sweep/report/figures").iterdir()}
    assert {"methods", "by_class", "classes", "by_count", "weights", "confusion", "boundary"} == figures


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_report_that_is_stopped_leaves_nothing(
    number: signal.Signals, tmp_path: Path, report: Report, undrawn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers = list(map(signal.getsignal, signal.Signals))
    stopping = [Picture("blank", "nothing", lambda: os.kill(os.getpid(), number))]  # type: ignore[arg-type, return-value]
    monkeypatch.setattr("longtail.reports.content.pictures", lambda *arguments: iter(stopping))
    write_run(tmp_path / "run")
    done = report("run", "--out", "out")
    assert (done.code, done.err) == (128 + number, "stopped\n")
    assert not (tmp_path / "out").exists()
    assert list(map(signal.getsignal, signal.Signals)) == handlers


@pytest.mark.usefixtures("undrawn")
def test_a_report_removes_what_one_that_was_killed_has_left(tmp_path: Path, report: Report) -> None:
    write_run(tmp_path / "run")
    for name in (".report-left", ".report-another"):
        (tmp_path / "out" / name / "figures").mkdir(parents=True)
    with pages.locked(tmp_path / "out" / ".report-another"):  # by a report that is still being written
        assert report("run", "--out", "out").code == 0
    assert [path.name for path in (tmp_path / "out").glob(".report-*")] == [".report-another"]


def test_the_summary_is_a_run_of_the_sweeps_group(
    tmp_path: Path, report: Report, undrawn: None, logged_in: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = [Picture("blank", "nothing", lambda: Figure(figsize=(1, 1)))]
    monkeypatch.setattr("longtail.reports.content.pictures", lambda *arguments: iter(drawn))
    write_sweep(tmp_path / "sweep", "reweight=none,class_balanced", SEEDS)
    done = report("sweep", "--wandb", "--project", "tails")
    assert done.code == 0, done.err
    assert "warning:" not in done.err
    (sent,) = logged_in.runs.values()
    assert (sent["groupName"], sent["jobType"], sent["displayName"]) == ("sweep", "report", "Report on sweep")
    plain, _ = rows(tmp_path / "sweep/report/table.csv")
    assert sent["summary"]["report/none/accuracy"] == pytest.approx(float(plain["accuracy"]))
    assert any("figures/blank" in path for path in logged_in.files)
    assert "of the groups" not in done.out
    assert report("sweep", "--force").code == 0, "what W&B has left there is in nobody's way"
    assert len(logged_in.runs) == 1


def test_the_group_of_several_sweeps_is_said(
    tmp_path: Path, report: Report, undrawn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[RunDescription] = []
    monkeypatch.setattr("longtail.tracking.results.start", lambda settings, run: sent.append(run))
    for name, loss in (("one", "softmax"), ("two", "focal")):
        write_sweep(tmp_path / name, f"loss={loss}", SEEDS)
    done = report("one", "two", "--wandb", "--out", "out")
    assert done.code == 0, done.err
    assert sent[0].group == "one"
    assert "W&B: of the groups one, two the summary goes to one" in done.out.splitlines()


def test_help_waits_for_no_training_library() -> None:
    script = (
        "import sys, longtail.cli.report\n"
        "try:\n    longtail.cli.report.main(['--help'])\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "print(sorted({'torch', 'matplotlib', 'scipy', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: longtail-report")
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("option", command.parser()._actions, ids=lambda action: action.dest)
def test_every_option_is_explained(option: Any) -> None:
    assert option.help
