"""The jobs of a sweep: composed as Hydra does, known by their settings, in directories that are named by these."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir, version
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import setup_globals
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from longtail.cli.app import CONF
from longtail.sweeps.jobs import CommandLine, Composer, Job, identity

from ..conftest import write_run

SWEEP_DIR = "hydra.sweep.dir=sweep"


@pytest.fixture
def composer() -> Iterator[Composer]:
    """A composer of a sweep in the directory `sweep`."""
    version.setbase("1.3")
    setup_globals()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        overrides = ["seed=0,1", SWEEP_DIR]
        yield Composer(loader.load_configuration("train", overrides, RunMode.MULTIRUN), loader)


def content(config: DictConfig) -> Any:
    """The settings, with what Hydra keeps of the overrides, but for its own numbering and naming of jobs."""
    settings: Any = OmegaConf.to_container(config)
    del settings["hydra"]["job"]
    return settings


def counted(composer: Composer, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The overrides of which Hydra is asked for the settings from now on."""
    asked: list[list[str]] = []
    real = composer.loader.load_sweep_config

    def load(config: DictConfig, overrides: list[str]) -> DictConfig:
        asked.append(overrides)
        return real(config, overrides)

    monkeypatch.setattr(composer.loader, "load_sweep_config", load)
    return asked


@pytest.mark.parametrize(
    "jobs",
    [
        [["seed=0"], ["seed=1"], ["seed=2"]],
        [["seed=0", "loss=focal", "loss.gamma=1"], ["loss.gamma=0.5", "loss=focal", "seed=3"]],
        [[f"imbalance={name}", f"imbalance.ratio={r}"] for name in ("exponential", "step") for r in (10, 20, 50)],
        [["optimizer.lr=1e-3"], ["optimizer.lr=0.1"], ["optimizer.lr='1e-3'"], ["optimizer.lr=${seed}"]],
        [["compile=null"], ["compile=default"], ["compile=true"]],
        [["experiment=quick", f"epochs={epochs}"] for epochs in (1, 2)],
        [["+optimizer.new=1"], ["+optimizer.new=2"], ["~optimizer.lr"], ["++seed=5"]],
        [["trainer={max_epochs:1}", "trainer.max_epochs=2"], ["trainer={max_epochs:3}", "trainer.max_epochs=4"]],
        [["trainer.max_epochs=2", "trainer={max_epochs:1}"], ["trainer.max_epochs=5", "trainer={max_epochs:1}"]],
        [["hydra.job.name=a", "seed=1"], ["hydra.job.name=b", "seed=2"]],
        [["data_dir='a, b'"], [r"data_dir=a\,b"], ["data_dir='/x=y'"]],
    ],
    ids=lambda jobs: "/".join(jobs[-1]),
)
def test_the_settings_are_those_that_hydra_composes(composer: Composer, jobs: list[list[str]]) -> None:
    for overrides in jobs:
        expected = composer.loader.load_sweep_config(composer.sweep, overrides)
        found = composer.compose(overrides)
        assert content(found) == content(expected)
        assert Job.of(found) == Job.of(expected)


def test_hydra_composes_each_combination_of_groups_once(composer: Composer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = counted(composer, monkeypatch)
    for seed in range(10):
        for loss in ("softmax", "focal"):
            assert composer.compose([f"seed={seed}", f"loss={loss}"]).seed == seed
    assert len(asked) == 2


@pytest.mark.parametrize("wrong", ["sead=1", "loss.nope=1", "loss=nope", "seed=[", "+seed=1"])
def test_what_cannot_be_composed_is_an_error_of_hydra(composer: Composer, wrong: str) -> None:
    composer.compose(["seed=1"])
    with pytest.raises(HydraException):
        composer.compose([wrong])


def test_a_job_is_named_by_its_overrides_and_its_identity(composer: Composer) -> None:
    job = Job.of(composer.compose(["seed=0", "reweight=none", "optimizer.lr=1e-3"]))
    assert job.directory == Path("sweep", f"lr-1e-3+reweight-none+seed-0+{job.identity[:8]}")
    assert job.overrides == ("seed=0", "reweight=none", "optimizer.lr=1e-3")


def test_the_order_the_logger_the_name_and_where_the_data_lies_do_not_matter(composer: Composer) -> None:
    job = Job.of(composer.compose(["seed=0", "reweight=none"]))
    for same in (
        ["reweight=none", "seed=0"],
        ["seed=0", "logger=none", "reweight=none", "name=other", "data_dir=elsewhere"],
    ):
        assert Job.of(composer.compose(same)).directory == job.directory
    assert Job.of(composer.compose(["seed=1", "reweight=none"])).directory != job.directory


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["data_dir='/a b/$HOME; rm -rf *'"],
        ["data_dir='ä/ö'", "seed=1"],
        [f"+model.{letter * 20}=1e-05" for letter in "abcdefgh"],
        ["~optimizer.lr", "+optimizer.betas=[0.9,0.99]"],
    ],
)
def test_a_name_needs_no_quotes_and_is_short(composer: Composer, overrides: list[str]) -> None:
    name = Job.of(composer.compose(overrides)).directory.name
    assert len(name.encode()) < 120
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-_.")
    [parsed] = OverridesParser.create().parse_overrides([f"run_dir=runs/sweep/{name}"])
    assert parsed.value() == f"runs/sweep/{name}"


def test_a_job_keeps_the_directory_that_other_overrides_have_led_to(
    composer: Composer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = Job.of(composer.compose(["seed=0"]))  # which is the default
    assert Job.of(composer.compose([])).directory != job.directory
    job.directory.mkdir(parents=True)
    assert Job.of(composer.compose([])).directory == job.directory


def test_a_directory_that_does_not_follow_from_the_settings_is_refused(composer: Composer) -> None:
    with pytest.raises(HydraException, match=r"hydra\.sweep\.subdir: must follow from the settings"):
        Job.of(composer.compose(["hydra.sweep.subdir=${hydra.job.num}"]))


@pytest.mark.parametrize(
    ("written", "finished"),
    [
        (None, False),
        ('{"test": {"accu', False),
        ('{"test": {}, "config_sha256": "other"}', False),
        ('{"test": {}, "config_sha256": "own"}', True),
    ],
)
def test_a_job_has_finished_if_there_is_a_result_of_its_settings(
    tmp_path: Path, written: str | None, finished: bool
) -> None:
    if written is not None:
        (tmp_path / "metrics.json").write_text(written)
    assert (Job((), "own", tmp_path).result() is not None) == finished


def test_the_identity_of_a_job_survives_being_saved(tmp_path: Path) -> None:
    values = {
        "a": 1e-5,
        "b": "1e-5",
        "c": [1, None, True, "yes", "null", ""],
        "d": float("inf"),
        "e": "${a}",
        "f": "é",
    }
    config = OmegaConf.create({**values, "name": "one", "logger": {"mode": "offline"}, "hydra": {"job": 1}})
    OmegaConf.save(OmegaConf.create({**dict(reversed(values.items())), "name": "two"}), tmp_path / "config.yaml")
    saved = OmegaConf.load(tmp_path / "config.yaml")
    assert isinstance(saved, DictConfig)
    assert identity(saved) == identity(config)
    for name, value in values.items():
        assert identity(OmegaConf.create({**values, name: f"{value}0"})) != identity(config), name


@pytest.mark.parametrize("failed", [False, True])
def test_a_sweep_of_another_sweeper_ends_with_the_table_of_what_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], failed: bool
) -> None:
    for seed in range(2):
        write_run(tmp_path / str(seed), f"seed={seed}", accuracy=0.5)
    if failed:
        (tmp_path / "1" / "metrics.json").write_text(json.dumps({}))
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}, "sweeper": {"_target_": "a.Sweeper"}}})
    command_line = CommandLine()
    command_line.on_multirun_start(config)
    if failed:
        with pytest.raises(SystemExit):
            command_line.on_multirun_end(config)
    else:
        command_line.on_multirun_end(config)
    said = capsys.readouterr()
    assert said.out.splitlines()[1].split()[0] == ("1" if failed else "2")
    assert ("error: job 1 failed" in said.err) == failed
