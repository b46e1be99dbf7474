"""The directory of a sweep: its jobs are written down, and one sweep at a time is at work in it."""

import os
import time
from pathlib import Path

import pytest

from longtail.sweeps.directory import plan, planned, sweep_lock


def test_a_second_sweep_waits_until_the_processes_of_the_first_have_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with sweep_lock(tmp_path):
        child = os.fork()
        if child == 0:  # a job that goes on for a moment after its sweep
            time.sleep(0.5)
            (tmp_path / "ended").touch()
            os._exit(0)
    with sweep_lock(tmp_path):
        assert (tmp_path / "ended").exists()
    os.waitpid(child, 0)
    with sweep_lock(tmp_path):
        pass
    assert capsys.readouterr().err == f"warning: another sweep is at work in {tmp_path}; waiting for its end\n"


def test_the_jobs_of_a_sweep_are_written_down(tmp_path: Path) -> None:
    assert planned(tmp_path) == {}
    plan(tmp_path, {"a": ["seed=0"], "b": ["seed=1"]})
    plan(tmp_path, {"c": ["seed=1"], "d": []})  # as if a default has changed since
    assert planned(tmp_path) == {"a": ["seed=0"], "c": ["seed=1"], "d": []}
    assert [path.name for path in tmp_path.iterdir()] == ["planned.json"]


def test_a_job_that_other_overrides_lead_to_is_not_written_down_twice(tmp_path: Path) -> None:
    plan(tmp_path, {"seed-0+4cf12261": ["seed=0"], "seed-1+5f2190c1": ["seed=1"]})
    plan(tmp_path, {"job+4cf12261": []})
    assert planned(tmp_path) == {"seed-1+5f2190c1": ["seed=1"], "job+4cf12261": []}


@pytest.mark.parametrize("content", ["", "[1]", '{"a": 1}', "{"])
def test_what_cannot_be_read_says_nothing_of_jobs(tmp_path: Path, content: str) -> None:
    (tmp_path / "planned.json").write_text(content)
    assert planned(tmp_path) == {}
