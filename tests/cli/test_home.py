"""What is kept in the user's home, where that is possible."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from longtail.cli import home

PROGRAM = "from longtail.cli import home; home.provide(); import matplotlib.pyplot, matplotlib; "
PROGRAM += "print(matplotlib.get_cachedir())"


def test_a_home_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    others = {name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "MPLCONFIGDIR")}
    environment = {**others, "HOME": str(tmp_path / "file"), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("warning: the home directory is not writable")
    assert done.stdout.startswith(f"{tmp_path}/longtail-")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_home_stays_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR"):
        monkeypatch.delenv(name, raising=False)
    home.provide()
    assert "XDG_CACHE_HOME" not in os.environ
    assert "MPLCONFIGDIR" not in os.environ
    assert not list(tmp_path.iterdir())
