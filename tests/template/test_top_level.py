"""What belongs to this template alone, and not to a fork of it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_top_level_is_as_designed() -> None:
    tracked = {"pyproject.toml", "Makefile", "constraints.txt", "README.md", "RESULTS.md", "LICENSE"}
    folders = {"src", "conf", "tests", "notebooks", ".github", ".ci"}
    found = {p.name for p in ROOT.iterdir() if p.is_file() and not p.name.startswith(".")}
    assert found - {"benchmark.json", "CITATION.cff"} == tracked  # what the benchmark writes, ignored by git
    assert all((ROOT / folder).is_dir() for folder in folders)
