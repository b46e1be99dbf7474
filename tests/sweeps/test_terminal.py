"""What the terminal says of a sweep: a line per job that has ended, and a table."""

import io
import json
import statistics
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from longtail.sweeps.terminal import SweepProgress, read_job, sweep


def column(table: Table, title: str) -> list[str]:
    [found] = [c for c in table.columns if c.header == title]
    return [str(cell) for cell in found.cells]


def text(table: Table) -> str:
    output = io.StringIO()
    Console(file=output, width=200).print(table)
    return output.getvalue()


def fake_job(directory: Path, test: dict[str, Any] | None, failure: str = "") -> Path:
    directory.mkdir()
    if test is not None:
        (directory / "metrics.json").write_text(json.dumps({"test": test, "fingerprint": {}}))
    if failure:
        (directory / "failure.txt").write_text(failure + "\n")
    return directory


def test_a_job_is_read_with_its_options(tmp_path: Path) -> None:
    test = {"accuracy": 0.5, "accuracy_few": None}
    job = read_job(fake_job(tmp_path / "0", test), ["+loss=focal", "seed=1", "~sampler", "loss.name=a=b"])
    assert job.options == {"loss": "focal", "seed": "1", "sampler": "", "loss.name": "a=b"}
    assert job.metrics == {"test": test, "fingerprint": {}}
    assert job.failure == ""


@pytest.mark.parametrize(
    "content", [None, "", '{"test": {"accuracy": 1', "{}", "[]", "null", '{"test": null}', '{"test": [1]}']
)
def test_a_missing_or_broken_result_is_a_failure_with_its_reason(tmp_path: Path, content: str | None) -> None:
    for name, message, expected in (("0", "", "no result"), ("1", "ValueError: too large", "ValueError: too large")):
        directory = fake_job(tmp_path / name, None, message)
        if content is not None:
            (directory / "metrics.json").write_text(content)
        job = read_job(directory, ["a=1"])
        assert job.metrics is None
        assert job.failure == expected


def test_a_sweep_is_a_line_per_combination_with_mean_and_deviation_over_seeds(tmp_path: Path) -> None:
    accuracy = {"softmax": [0.70, 0.74, 0.75], "focal": [0.80]}
    jobs = []
    for loss, values in accuracy.items():
        for seed, value in enumerate(values):
            directory = fake_job(tmp_path / f"{loss}{seed}", {"accuracy": value, "accuracy_std": value / 10})
            jobs.append(read_job(directory, [f"loss={loss}", f"seed={seed}", "epochs=3"]))
    jobs.append(read_job(fake_job(tmp_path / "failed", None, "killed"), ["loss=focal", "seed=1", "epochs=3"]))
    table = sweep(jobs)
    assert [c.header for c in table.columns] == ["loss", "runs", "failed", "accuracy", "std over classes"]
    assert column(table, "loss") == ["softmax", "focal"]
    assert column(table, "runs") == ["3", "1"]
    assert column(table, "failed") == ["", "1"]
    deviation = statistics.stdev(accuracy["softmax"])
    assert column(table, "accuracy") == [f"0.730 ± {deviation:.3f}", "0.800"]
    assert column(table, "std over classes") == [f"0.073 ± {deviation / 10:.3f}", "0.080"]
    assert [row.style for row in table.rows] == [None, "red"]


@pytest.mark.parametrize(
    ("width", "head", "cell"),
    [
        (80, "reweight@reweight.then  runs  failed       accuracy  std over classes", "0.500 ± 0.141"),
        (62, "reweight@reweight.                                    std over", "0.500 ± 0.141"),
        (52, "reweight@reweight.                          std over", "0.500"),
    ],
)
def test_a_narrow_table_has_headings_of_two_lines_then_no_deviations(
    tmp_path: Path, width: int, head: str, cell: str
) -> None:
    jobs = []
    for job, (then, accuracy) in enumerate((("none", 0.4), ("none", 0.6), ("class_balanced", 0.5))):
        directory = fake_job(tmp_path / str(job), {"accuracy": accuracy, "accuracy_std": accuracy})
        jobs.append(read_job(directory, [f"reweight@reweight.then={then}", f"seed={job}"]))
    lines = text(sweep(jobs, width)).splitlines()
    assert lines[0].rstrip() == head
    [first] = [line for line in lines if line.startswith("none")]
    assert first.split()[2:] == [*cell.split()] * 2
    assert max(map(len, lines)) <= width


def test_a_sweep_over_seeds_alone_is_one_line(tmp_path: Path) -> None:
    jobs = [read_job(fake_job(tmp_path / str(s), {"accuracy": s / 4}), [f"seed={s}"]) for s in (1, 2, 3)]
    table = sweep(jobs)
    assert [c.header for c in table.columns] == ["runs", "failed", "accuracy", "std over classes"]
    assert column(table, "accuracy") == ["0.500 ± 0.250"]
    assert column(table, "std over classes") == ["-"]


def test_a_sweep_in_which_all_failed_has_no_numbers(tmp_path: Path) -> None:
    table = sweep([read_job(fake_job(tmp_path / str(i), None), [f"loss={i}"]) for i in range(2)])
    assert column(table, "runs") == ["0", "0"]
    assert column(table, "failed") == ["1", "1"]
    assert [c.header for c in table.columns] == ["loss", "runs", "failed"]


def test_an_option_that_some_jobs_lack_has_an_empty_cell(tmp_path: Path) -> None:
    jobs = [
        read_job(fake_job(tmp_path / "0", {"accuracy": 0.5}), ["loss=[red]"]),
        read_job(fake_job(tmp_path / "1", {"accuracy": None}), []),
    ]
    table = sweep(jobs)
    assert column(table, "loss")[1] == ""
    assert column(table, "accuracy") == ["0.500", "-"]
    assert "[red]" in text(table)


def test_a_sweep_without_jobs_has_no_lines() -> None:
    assert sweep([]).row_count == 0


def test_a_line_tells_how_long_the_sweep_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), width=200)
    jobs = [[f"seed={seed}", "epochs=1"] for seed in range(3)]
    done = fake_job(tmp_path / "0", {"accuracy": 0.5, "accuracy_std": 0.1})
    progress = SweepProgress(console, jobs)
    with progress.bar:
        now[0] += 80
        progress.waiting(2)  # while one ends, another is half-way
        progress.end(0, done)
        now[0] += 40
        progress.waiting(1)
        progress.end(1, done)
        progress.end(2, fake_job(tmp_path / "1", None, "killed"))
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "1/3  seed=0  accuracy 0.500  std over classes 0.100  (0:01:20, about 0:01:20 left)",
        "2/3  seed=1  accuracy 0.500  std over classes 0.100  (0:02:00, about 0:01:00 left)",
        "3/3  seed=2  failed: killed  (0:02:00)",
    ]
