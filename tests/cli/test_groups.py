"""Which config groups and experiments belong to a command."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from longtail.cli import detect, groups, train
from longtail.cli.app import CONF
from longtail.settings import DETECTION_NAMES, NAMES

from ..conftest import enter, outcome

MAINS = {"train": train.main, "detect": detect.main}


@pytest.mark.parametrize(
    ("main", "command", "names", "others"),
    [
        (train.main, "longtail", NAMES, DETECTION_NAMES),
        (detect.main, "longtail-detect", DETECTION_NAMES, NAMES),
    ],
)
def test_help_lists_the_groups_of_the_command_alone(
    main: Callable[[], None],
    command: str,
    names: tuple[str, ...],
    others: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    enter(tmp_path, monkeypatch)
    mine = tmp_path / "mine" / "reweight"
    mine.mkdir(parents=True)
    (mine / "of_a_lab.yaml").touch()
    monkeypatch.setattr(sys, "argv", ["longtail", "--config-dir", "mine", "--help"])
    shown = outcome(main, capfd).out
    listed = {line.partition(": ")[0] for line in shown.splitlines()}
    every = {path.name for path in CONF.iterdir() if path.is_dir()}
    assert every & set(names) <= listed
    assert not every & (set(others) - set(names)) & listed
    assert "of_a_lab" in shown
    [experiments] = [line.partition(": ")[2] for line in shown.splitlines() if line.startswith("experiment: ")]
    own = experiments.split(", ")
    named = {groups.command_of(CONF / "experiment" / f"{name}.yaml") for name in own}
    assert {command} <= named <= {command, None}
    assert len(own) >= 5


@pytest.mark.parametrize(
    ("name", "chosen", "wrong"),
    [("train", "bccd", "bccd"), ("detect", "methods", "methods"), ("train", "quick,focal_prior", "focal_prior")],
)
def test_an_experiment_of_the_other_command_is_refused(
    name: str,
    chosen: str,
    wrong: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    enter(tmp_path, monkeypatch)
    monkeypatch.setattr(sys, "argv", ["longtail", "-m", f"experiment={chosen}", "seed=0,1"])
    done = outcome(MAINS[name], capfd)
    assert done.code == 1
    assert done.error.startswith(f"experiment={wrong}: must be one of ")
    assert done.error.endswith("; it is one of " + ("longtail-detect" if name == "train" else "longtail"))
    assert not any(tmp_path.iterdir())


def test_an_experiment_that_names_no_command_is_everybodys(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/own.yaml").write_text("# @package _global_\nepochs: 3\n")
    for name in MAINS:
        assert groups.foreign_experiment([tmp_path], name, ["experiment=own,elsewhere", "loss=focal"]) is None
