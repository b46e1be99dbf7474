"""From the config to objects: parts, callbacks, and what the Trainer's own settings name."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch.callbacks import Callback, DeviceStatsMonitor, LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger
from omegaconf import DictConfig, OmegaConf

from longtail.cli import parts
from longtail.cli.app import CONF
from longtail.errors import InputError
from longtail.sweeps import trials
from longtail.training.callbacks import Curves, ProgressBar, StopOnNonFiniteLoss


class OfALab(Callback):
    """A callback of a fork."""

    def __init__(self, times: int = 1) -> None:
        if times < 1:
            raise ValueError(f"times={times}: must be >= 1")
        self.times = times


def config(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", list(overrides))


@pytest.mark.parametrize("partial", ["", "++loss._partial_=true"])
def test_a_part_is_called_with_its_facts_with_or_without_partial(partial: str) -> None:
    cfg = config("loss=focal", "loss.gamma=2", *filter(None, [partial]))
    loss = parts.part(cfg, "loss")(torch.tensor([5, 3]))
    assert loss.gamma == 2


def test_a_part_without_a_target_is_refused() -> None:
    for wrong in ({"gamma": 1}, {}, None):
        with pytest.raises(InputError, match=r"^loss: must have a _target_$"):
            parts.part(OmegaConf.create({"loss": wrong}), "loss")(torch.tensor([5, 3]))


def test_callbacks_are_those_of_the_group() -> None:
    assert {type(callback) for callback in parts.callbacks(config())} == {Curves, ProgressBar, StopOnNonFiniteLoss}
    made = parts.callbacks(
        config(
            "callbacks.progress_bar=null",
            "callbacks.stop_on_non_finite_loss.every_n_steps=7",
            "+callbacks.mine._target_=tests.cli.test_parts.OfALab",
            "+callbacks.mine.times=3",
        )
    )
    assert {type(callback) for callback in made} == {Curves, StopOnNonFiniteLoss, OfALab}
    assert next(callback.times for callback in made if isinstance(callback, OfALab)) == 3
    assert next(c.every_n_steps for c in made if isinstance(c, StopOnNonFiniteLoss)) == 7
    assert parts.callbacks(config("callbacks=none")) == []


def test_a_callback_names_its_setting() -> None:
    cfg = config("+callbacks.mine._target_=tests.cli.test_parts.OfALab", "+callbacks.mine.times=0")
    with pytest.raises(InputError, match=r"^callbacks.mine.times=0: must be >= 1$"):
        parts.callbacks(cfg)


def trainer(run_dir: Path, *overrides: str) -> Any:
    return parts.make_trainer(config("trainer=cpu", "trainer.precision=32-true", *overrides), run_dir, [Curves()])


def test_callbacks_and_loggers_of_the_trainers_own_settings_are_used(tmp_path: Path) -> None:
    monitors = "[{_target_: lightning.pytorch.callbacks.DeviceStatsMonitor}]"
    csv = f"{{_target_: lightning.pytorch.loggers.CSVLogger, save_dir: {tmp_path}}}"
    made = trainer(tmp_path, f"+trainer.callbacks={monitors}", f"+trainer.logger={csv}")
    assert {DeviceStatsMonitor, Curves} <= {type(callback) for callback in made.callbacks}
    assert [type(logger) for logger in made.loggers] == [CSVLogger]
    one = trainer(tmp_path, "+trainer.callbacks={_target_: lightning.pytorch.callbacks.LearningRateMonitor}")
    assert LearningRateMonitor in {type(callback) for callback in one.callbacks}


def test_without_loggers_the_trainer_has_none(tmp_path: Path) -> None:
    assert trainer(tmp_path).loggers == []
    assert trainer(tmp_path, "+trainer.logger=false").loggers == []


def test_lightnings_default_logger_is_refused_not_ignored(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^trainer.logger=True: must be a Logger"):
        trainer(tmp_path, "+trainer.logger=true")


def test_loggers_are_those_of_the_group_and_write_into_the_run_directory(tmp_path: Path) -> None:
    assert parts.loggers(config(), tmp_path) == parts.loggers(config("logger=none"), tmp_path) == []
    (csv,) = parts.loggers(config("logger=[wandb,csv]"), tmp_path)
    assert isinstance(csv, CSVLogger)
    assert csv.log_dir == f"{tmp_path}/logs/csv/version_0"
    mine = "+logger.mine={_target_: lightning.pytorch.loggers.CSVLogger, save_dir: elsewhere}"
    assert [logger.save_dir for logger in parts.loggers(config("logger=none", mine), tmp_path)] == ["elsewhere"]
    assert parts.loggers(config("logger=csv", "logger.csv=null"), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["logger=csv", "+logger.csv.save_dir=/tmp"],
            r"logger\.csv\.save_dir=/tmp: must not be set, the run passes it",
        ),
        (["+logger.modes=online"], r"logger\.modes: must have a _target_"),
        (
            ["+logger.mine._target_=tests.cli.test_parts.OfALab"],
            r"logger\.mine: must be a Lightning logger, not OfALab",
        ),
        pytest.param(
            ["logger=mlflow"],
            r"logger\.mlflow: .*pip install .*mlflow.*",
            marks=pytest.mark.skipif(find_spec("mlflow") is not None, reason="mlflow is installed"),
        ),
    ],
)
def test_a_logger_that_cannot_be_made_is_one_line(overrides: list[str], line: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"^{line}$"):
        parts.loggers(config(*overrides), tmp_path)
    if "mlflow" in line:
        with pytest.raises(InputError, match=f"^{line}$"):
            trials.check([config(*overrides)])
