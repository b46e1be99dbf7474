"""Jobs find the directories that they had, new ones get free ones, and one sweep at a time is at work."""

import os
import time
from pathlib import Path

import pytest

from longtail.sweeps import places as sweeps
from longtail.sweeps.places import Places


def job(directory: Path, settings: str, finished: bool = True) -> Path:
    (directory / ".hydra").mkdir(parents=True)
    (directory / ".hydra" / "config.yaml").write_text(settings)
    if finished:
        (directory / "metrics.json").write_text('{"test": {"accuracy": 0.5}}')
    return directory


def settings(directory: Path) -> str | None:
    config = directory / ".hydra" / "config.yaml"
    return (config.read_text() or None) if config.exists() else None


def places(sweep_dir: Path, taken: set[Path] | None = None) -> Places:
    return Places(sweep_dir, settings, set() if taken is None else taken)


def test_a_new_sweep_numbers_its_jobs(tmp_path: Path) -> None:
    given = places(tmp_path)
    assert [given.give(name, lambda n: tmp_path / str(n)).number for name in "abc"] == [0, 1, 2]


def test_a_job_gets_the_directory_that_it_had(tmp_path: Path) -> None:
    job(tmp_path / "10", "a")
    job(tmp_path / "2", "b", finished=False)
    given = places(tmp_path)
    a, b, c, d = (given.give(name, lambda n: tmp_path / str(n)) for name in "abcd")
    assert (a.number, a.directory, a.metrics) == (10, tmp_path / "10", {"test": {"accuracy": 0.5}})
    assert (b.number, b.directory, b.metrics) == (2, tmp_path / "2", None)
    assert [c.number, d.number] == [0, 1]
    assert given.give("e", lambda n: tmp_path / str(n)).number == 3


def test_of_equal_jobs_the_finished_ones_are_given_first_and_each_once(tmp_path: Path) -> None:
    job(tmp_path / "0", "a", finished=False)
    job(tmp_path / "1", "a")
    taken: set[Path] = set()
    given = places(tmp_path, taken)
    assert [given.give("a", lambda n: tmp_path / str(n)).number for _ in range(3)] == [1, 0, 2]
    assert places(tmp_path, taken).give("a", lambda n: tmp_path / str(n)).number == 3


def test_a_directory_that_is_another_jobs_is_not_given(tmp_path: Path) -> None:
    job(tmp_path / "same", "a", finished=False)
    with pytest.raises(ValueError, match="same is the directory of another job already"):
        places(tmp_path).give("b", lambda n: tmp_path / "same")


@pytest.mark.parametrize(
    ("path", "content", "free"),
    [
        ("output.log", "", True),
        ("failure.txt", "killed", True),
        (".hydra/config.yaml", "", True),
        (".hydra/config.yaml", "seed: 0", False),
        ("metrics.json", "{}", False),
        ("notes.txt", "", False),
    ],
)
def test_a_directory_is_free_until_a_job_has_left_its_settings(
    tmp_path: Path, path: str, content: str, free: bool
) -> None:
    assert sweeps.is_free(tmp_path / "0")
    file = tmp_path / "0" / path
    file.parent.mkdir(parents=True)
    file.write_text(content)
    assert sweeps.is_free(tmp_path / "0") == free
    assert not sweeps.is_free(file)


def test_a_second_sweep_waits_until_the_processes_of_the_first_have_ended(tmp_path: Path) -> None:
    said: list[str] = []
    with sweeps.sweep_lock(tmp_path, said.append):
        child = os.fork()
        if child == 0:  # a job that goes on for a moment after its sweep
            time.sleep(0.5)
            (tmp_path / "ended").touch()
            os._exit(0)
    with sweeps.sweep_lock(tmp_path, said.append):
        assert (tmp_path / "ended").exists()
    os.waitpid(child, 0)
    assert said == [f"another sweep is at work in {tmp_path}; waiting for its end"]
    with sweeps.sweep_lock(tmp_path, said.append):
        assert len(said) == 1


def test_the_jobs_of_a_sweep_are_written_down(tmp_path: Path) -> None:
    assert sweeps.noted(tmp_path) == {}
    sweeps.note(tmp_path, {"a": ["seed=0"], "b": ["seed=1"]})
    sweeps.note(tmp_path, {"c": ["seed=1"], "d": []})  # as if a default has changed since
    assert sweeps.noted(tmp_path) == {"a": ["seed=0"], "c": ["seed=1"], "d": []}
    assert [path.name for path in tmp_path.iterdir()] == ["jobs.json"]


@pytest.mark.parametrize("content", ["", "[1]", '{"a": 1}', "{"])
def test_what_cannot_be_read_says_nothing_of_jobs(tmp_path: Path, content: str) -> None:
    (tmp_path / "jobs.json").write_text(content)
    assert sweeps.noted(tmp_path) == {}
