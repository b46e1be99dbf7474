"""What the commands refuse: one line, exit code 1, and nothing left behind."""

from pathlib import Path

import pytest
from hydra.errors import MissingConfigException

from longtail.cli.app import CONF
from longtail.errors import InputError

from ..conftest import Cli


def test_an_unwritable_output_directory_is_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = cli(f"hydra.run.dir={tmp_path}/file/run")
    assert done.code == 1
    assert done.error.startswith(f"hydra.run.dir={tmp_path}/file/run: must be a writable directory")
    done = cli("-m", "seed=0,1", f"hydra.sweep.dir={tmp_path}/file/sweep")
    assert done.code == 1
    assert done.error.startswith("hydra.sweep.dir=")


def test_full_error_shows_the_traceback(cli: Cli, quick: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(InputError, match=r"imbalance\.ratio=0"):
        cli(*quick, "imbalance.ratio=0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["experiment=nope"], "experiment=nope: must be one of "),
        (["-m", "experiment=nope", "seed=0,1"], "experiment=nope: must be one of "),
        (["-m", "reweight=none,nope"], "reweight=nope: must be one of class_balanced, class_balanced_sqrt"),
        (["-m", "seed=0,1", "hydra/launcher=nope"], "hydra/launcher=nope: must be one of basic, "),
        (["-m", "epoch=1,2"], "Could not override 'epoch'."),
        (["-m", "seed=interval(0,1)"], "BasicSweeper does not support sweep type"),
        (["epoch=3"], "Could not override 'epoch'. To append to your config use +epoch=3"),
        (["seed=["], "seed=[: no viable alternative"),
        (["--config-name=nope"], "Cannot find primary config 'nope'."),
    ],
)
def test_what_cannot_be_composed_is_one_line_and_leaves_nothing(
    arguments: list[str], message: str, cli: Cli, tmp_path: Path
) -> None:
    done = cli(*arguments)
    assert done.code == 1
    assert done.error.startswith(message)
    assert done.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_line_lists_every_option(cli: Cli) -> None:
    options = ", ".join(sorted(path.stem for path in (CONF / "loss").glob("*.yaml")))
    assert cli("loss=nope").error == f"loss=nope: must be one of {options}"
    assert cli("logger=nope", evaluation=True, wandb=True).error.startswith("logger=nope: must be one of ")


@pytest.mark.parametrize("arguments", [["experiment=nope"], ["-m", "seed=0,1", "loss=nope,softmax"]])
def test_a_full_error_of_the_composition_shows_the_traceback(
    arguments: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(MissingConfigException):
        cli(*arguments)
