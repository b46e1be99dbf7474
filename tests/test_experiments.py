"""Every experiment composes and trains, a fork's own too; a new file is tested by being there."""

import functools
import itertools
import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from longtail.cli import detect, train
from longtail.cli.app import CONF
from longtail.cli.groups import COMMANDS, command_of
from longtail.errors import InputError
from longtail.settings import DETECTION_NAMES, NAMES
from longtail.sweeps import arguments, composition
from longtail.sweeps.jobs import Composer

from .conftest import Cli, metrics
from .test_conf import options

EXPERIMENTS = options("experiment")


def content_of(option: str) -> DictConfig:
    """The file of an experiment."""
    content = OmegaConf.load(CONF / "experiment" / f"{option}.yaml")
    assert isinstance(content, DictConfig)
    return content


def primary_of(option: str) -> str:
    """The primary config that an experiment is for: that of the command in its head, or of the groups it names."""
    primaries = {command: primary for primary, command in COMMANDS.items()}
    if command := command_of(CONF / "experiment" / f"{option}.yaml"):
        return primaries[command]
    content = content_of(option)
    chosen = [str(name) for entry in content.get("defaults", ()) if isinstance(entry, DictConfig) for name in entry]
    named = {name.rpartition("/")[2] for name in chosen} | {str(name) for name in content}
    return "detect" if named & ({*DETECTION_NAMES} - {*NAMES}) else "train"


def jobs(option: str) -> list[list[str]]:
    """The overrides of each job of an experiment's sweep."""
    params = OmegaConf.select(content_of(option), "hydra.sweeper.params") or {}
    choices = [[f"{name}={value}" for value in str(values).split(",")] for name, values in params.items()]
    return [list(job) for job in itertools.product(*choices)]


@functools.cache
def composer(primary: str) -> Composer:
    """What composes the jobs of a sweep, as Hydra does: see the tests of `longtail.sweeps.jobs`."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        return Composer(compose(primary, return_hydra_config=True), loader)


@functools.cache
def composed(*overrides: str, primary: str | None = None) -> DictConfig:
    """The settings of a run and Hydra's own; shared, so not to be changed.

    The primary config is that of the experiment, unless it is given.
    """
    experiments = [value for name, _, value in (o.partition("=") for o in overrides) if name == "experiment"]
    primary = primary or (primary_of(experiments[0]) if experiments else "train")
    return composer(primary).compose(overrides)


DETECTION = [option for option in EXPERIMENTS if primary_of(option) == "detect"]
CLASSIFICATION = [option for option in EXPERIMENTS if option not in DETECTION]


@pytest.mark.parametrize("option", EXPERIMENTS)
def test_its_settings_fit_their_parts(option: str) -> None:
    cfg = composed(f"experiment={option}", *jobs(option)[0])
    composition.check(cfg)
    for group, node in composition.parts(cfg).items():
        if group != "trainer" and not OmegaConf.missing_keys(cfg[group]):  # which another machine may have
            arguments.check(group, node)


def cell_of(option: str, *overrides: str) -> list[str]:
    """The last job of an experiment, for two steps on other images, unless it sets what its own or a machine has."""
    cell = [f"experiment={option}", *jobs(option)[-1], *overrides, "trainer=debug"]
    try:
        composition.check_parts(composed(*cell))
    except (HydraException, InputError) as error:
        if re.match(r"(dataset|detection_data|trainer)\.", line := composition.describe(error)):
            pytest.skip(line)
        raise
    return cell


@pytest.mark.parametrize("option", CLASSIFICATION)
def test_a_cell_trains_on_digits_and_says_if_they_are_too_few(option: str, cli: Cli, run_dir: Path) -> None:
    cell = cell_of(option, "dataset=digits")
    outcome = cli(*cell, f"hydra.run.dir={run_dir}")
    assert outcome.code == 0, outcome.err
    made = metrics(run_dir)["fingerprint"]
    assert made["steps"] in (2, 3, 4)
    ratio, realised = composed(*cell).imbalance.get("ratio", 1), max(made["class_counts"]) / min(made["class_counts"])
    assert f"(ratio {realised:.4g})" in outcome.out
    assert (f"imbalance.ratio={ratio}: the dataset is too small for it" in outcome.err) == (realised < ratio)


TINY = [
    *("detection_data=scattered_digits", "detection_data.image_size=64", "detection_data.digits_per_image=[1, 2]"),
    *("detection_data.objects_per_class=40", "detection_data.validation_images=4", "detection_data.test_images=6"),
]


@pytest.mark.parametrize("option", DETECTION)
def test_a_cell_trains_a_detector_on_scattered_digits(
    option: str, cli: Cli, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "main", detect.main)
    outcome = cli(*cell_of(option, *TINY), f"hydra.run.dir={run_dir}")
    assert outcome.code == 0, outcome.err
    assert metrics(run_dir)["fingerprint"]["steps"] == 4
    assert len(metrics(run_dir)["fingerprint"]["class_counts"]) == 10
