import csv
import hashlib
import json
import re
import shutil
import struct
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longtail import __version__
from longtail.runs import reading as runs
from longtail.runs import record

NAN, INF = float("nan"), float("inf")

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.mark.parametrize(
    "indices",
    [
        np.array([3, 1, 40_000_000_000]),
        np.array([3, 1, 2], dtype=np.int32),
        np.array([3, 1, 2], dtype=">i8"),
        np.arange(20)[::3],
        np.array([], dtype=np.int64),
    ],
    ids=["int64", "int32", "big_endian", "strided", "empty"],
)
def test_fingerprint_hashes_the_indices_as_little_endian_int64(indices: Any) -> None:
    expected = hashlib.sha256(b"".join(struct.pack("<q", i) for i in indices.tolist())).hexdigest()
    assert record.fingerprint(indices)["train_indices_sha256"] == expected


def test_fingerprint_depends_on_the_order_of_the_indices() -> None:
    one, other = (record.fingerprint(np.array(order))["train_indices_sha256"] for order in ([1, 2], [2, 1]))
    assert one != other


def test_fingerprint_holds_the_facts_and_the_versions() -> None:
    facts = record.fingerprint(np.arange(3), seed=4, class_counts=[2, 1])
    assert facts.keys() == {"train_indices_sha256", "seed", "class_counts", "versions", "git_revision"}
    assert (facts["seed"], facts["class_counts"]) == (4, [2, 1])
    assert facts["versions"] == {"longtail": __version__, **{name: version(name) for name in record.PACKAGES}}
    json.dumps(facts)


def test_a_package_without_metadata_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "PACKAGES", ("numpy", "not-an-installed-package"))
    versions = record.fingerprint(np.arange(3))["versions"]
    assert versions["not-an-installed-package"] is None
    assert versions["numpy"] == np.__version__


def git(directory: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout.strip()


@needs_git
def test_git_revision_is_the_commit_and_says_when_it_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "record.py"
    monkeypatch.setattr(record, "__file__", str(source))
    source.write_text("a")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    git(tmp_path, "tag", "-a", "v1", "-m", "v1")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert record.git_revision() == commit
    source.write_text("b")
    assert record.git_revision() == f"{commit}-dirty"


@needs_git
def test_git_revision_is_none_outside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(record, "__file__", str(tmp_path / "record.py"))
    assert record.git_revision() is None


def test_git_revision_is_none_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert record.git_revision() is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat", "Dog_2", "_x"], ["cat", "Dog_2", "_x"]),
        (["0", "9 lives"], ["_0", "_9_lives"]),
        (["a b", "a/b", "a_b"], ["a_b", "a_b_1", "a_b_2"]),
        (["", "é", "日本"], ["_", "__1", "__"]),
        (["a\n"], ["a_"]),
        ([], []),
    ],
)
def test_safe_names_keep_what_is_safe(names: list[str], expected: list[str]) -> None:
    assert record.safe_names(names) == expected


@pytest.mark.parametrize(
    "names",
    [
        ["cat"] * 4,
        ["a b", "a_b", "a_b_1"],
        ["a_b_2", "a b", "a_b"],
        ["x_1", "x", "x", "x_1", "x_2", "x"],
        ["x_2_4", "x_2", "x", "x", "x_2", "x 2"],
        ["1", "_1", "-1", "+1", "é"],
        [str(i) for i in range(50)],
    ],
)
def test_safe_names_are_distinct_and_safe(names: list[str]) -> None:
    safe = record.safe_names(names)
    assert len(safe) == len(names)
    assert len(set(safe)) == len(names)
    assert all(re.fullmatch(r"[_a-zA-Z][_a-zA-Z0-9]*", name) for name in safe)


def test_metrics_are_strict_json_in_which_nan_is_null(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    metrics = {
        "test": {"accuracy": 0.1 + 0.2, "accuracy_few": NAN, "loss": INF, "steps": 3},
        "list": [NAN, 1.0, (np.float64("nan"), -INF)],
        "fingerprint": {"revision": None, "name": "NaN", "flip": True},
    }
    record.write_metrics(path, metrics)
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {
        "test": {"accuracy": 0.1 + 0.2, "accuracy_few": None, "loss": None, "steps": 3},
        "list": [None, 1.0, [None, None]],
        "fingerprint": {"revision": None, "name": "NaN", "flip": True},
    }


NAMES = ["cat", 'a, "b"', "日本", "", "two\nlines", "[red]"]


def some_rows() -> list[record.Row]:
    accuracy = [0.1 + 0.2, NAN, 0.0, 1.0, 1 / 3, 0.5]
    return record.class_rows(
        NAMES, [5000, 30, 2, 1, 1, 1], [100, 0, 7, 1, 3, 2], [1 / 3, 1e-9, 1, 2, 3, 4.5], accuracy
    )


def test_per_class_has_exactly_these_columns(tmp_path: Path) -> None:
    path = tmp_path / "per_class.csv"
    record.write_per_class(path, some_rows())
    with path.open(newline="") as file:
        header, *lines = csv.reader(file)
    assert ",".join(header) == "class_index,class_name,train_count,test_count,weight,accuracy"
    assert lines[0] == ["0", "cat", "5000", "100", "0.3333333333333333", "0.30000000000000004"]
    assert lines[1] == ["1", 'a, "b"', "30", "0", "1e-09", ""]
    assert len(lines) == 6


def test_per_class_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "per_class.csv"
    record.write_per_class(path, some_rows())
    back = runs.read_rows(path)
    assert [row[:-1] for row in back] == [row[:-1] for row in some_rows()]
    assert [row[-1] for row in back] == pytest.approx([row[-1] for row in some_rows()], rel=0, abs=0, nan_ok=True)


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        record.class_rows(["a", "b"], [1, 1], [1, 1], [1.0], [0.5, 0.5])


@pytest.mark.parametrize("content", [None, "", '{"test": {"accuracy": 1', "{}", "[]", "null", '{"test": null}'])
def test_a_run_without_whole_metrics_has_not_finished(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    assert record.read_metrics(tmp_path) is None
    record.write_metrics(tmp_path / "metrics.json", {"test": {"accuracy": 0.5}})
    assert record.read_metrics(tmp_path) == {"test": {"accuracy": 0.5}}


def test_a_file_that_breaks_off_does_not_replace_the_one_before(tmp_path: Path) -> None:
    path, whole = tmp_path / "per_class.csv", some_rows()
    record.write_per_class(path, whole)
    before = path.read_bytes()
    with pytest.raises(IndexError):
        record.write_per_class(path, [*whole, ()])  # type: ignore[list-item]
    assert path.read_bytes() == before
