import hashlib
import json
import shutil
import struct
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longtail import __version__
from longtail.runs import provenance

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
def test_whole_numbers_are_hashed_as_little_endian_int64(indices: Any) -> None:
    expected = hashlib.sha256(b"".join(struct.pack("<q", i) for i in indices.tolist())).hexdigest()
    assert provenance.digest(indices) == expected


def test_fractions_and_several_arrays_are_hashed_one_after_the_other() -> None:
    expected = hashlib.sha256(struct.pack("<qdd", 3, 0.5, -1.25)).hexdigest()
    assert provenance.digest(np.array([3]), np.array([0.5, -1.25], dtype=np.float32)) == expected


def test_a_digest_depends_on_the_order() -> None:
    one, other = (provenance.digest(np.array(order)) for order in ([1, 2], [2, 1]))
    assert one != other


def test_fingerprint_holds_the_facts_and_the_versions() -> None:
    facts = provenance.fingerprint(seed=4, class_counts=[2, 1])
    assert facts.keys() == {"seed", "class_counts", "versions", "git_revision"}
    assert (facts["seed"], facts["class_counts"]) == (4, [2, 1])
    assert facts["versions"] == {"longtail": __version__, **{name: version(name) for name in provenance.PACKAGES}}
    json.dumps(facts)


def test_a_package_without_metadata_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("numpy", "not-an-installed-package"))
    versions = provenance.fingerprint()["versions"]
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
    source = tmp_path / "provenance.py"
    monkeypatch.setattr(provenance, "__file__", str(source))
    source.write_text("a")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    git(tmp_path, "tag", "-a", "v1", "-m", "v1")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert provenance.git_revision() == commit
    source.write_text("b")
    assert provenance.git_revision() == f"{commit}-dirty"


@needs_git
def test_git_revision_is_none_outside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert provenance.git_revision() is None


def test_git_revision_is_none_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance.git_revision() is None
