"""The top-level settings: what the schema and the ranges let pass, and what is said of the rest."""

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from longtail.cli.app import CONF
from longtail.errors import InputError
from longtail.settings import NAMES
from longtail.sweeps.composition import check, describe
from longtail.sweeps.jobs import identity


def composed(*overrides: str, beside: Path | None = None) -> Any:
    """Compose a run's settings, with the files of a folder beside those of conf/."""
    further = [f"hydra.searchpath=[file://{beside}]"] if beside else []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", [*overrides, *further])


def refusal(*overrides: str, beside: Path | None = None) -> str:
    """Return what is said of settings that must be refused."""
    try:
        check(composed(*overrides, beside=beside))
    except (InputError, HydraException) as error:
        return describe(error)
    pytest.fail(f"{overrides} must be refused")


def test_the_schema_and_the_config_have_the_same_keys() -> None:
    cfg = composed()
    assert set(cfg) == set(NAMES)
    assert not OmegaConf.missing_keys(cfg)
    check(cfg)


def test_the_schema_is_not_seen_in_what_is_saved() -> None:
    cfg = composed("seed=3", "compile=default")
    saved = OmegaConf.create(OmegaConf.to_yaml(cfg))
    assert isinstance(saved, DictConfig)
    assert OmegaConf.to_container(saved) == OmegaConf.to_container(cfg)
    assert (saved.seed, saved.reduction, saved.compile) == (3, "batch_mean", "default")
    assert identity(saved) == identity(cfg)


@pytest.mark.parametrize(
    ("override", "remark"),
    [
        ("seed=-1", "must be a whole number >= 0"),
        ("seed=abc", "must be a whole number >= 0"),
        ("seed=4294967296", "must be a whole number >= 0"),
        ("epochs=0", "must be a whole number >= 1"),
        ("epochs=1.5", "must be a whole number >= 1"),
        ("epochs=true", "must be a whole number >= 1"),
        ("epochs=null", "must be a whole number >= 1"),
        ("epochs.x=1", "must be a whole number >= 1"),
        ("batch_size=0", "must be a whole number >= 1"),
        ("eval_batch_size=[5]", "must be a whole number >= 1"),
        ("validation_per_class=-1", "must be a whole number >= 0"),
        ("subset_seed=x", "must be a whole number >= 0"),
        ("reduction=sum", "must be one of batch_mean, weighted_mean"),
        ("selection=best_test", "must be one of last, best_validation"),
        ("selection=best_validation", "must have held-out images, set validation_per_class"),
        ("compile=fast", "must be one of null, default, reduce-overhead, max-autotune"),
        ("name=null", "must be a string"),
        ("epoch=3", "no such setting; did you mean epochs?"),
        ("lss=focal", "no such setting; did you mean loss?"),
        ("optimiser.lr=1", "no such setting; did you mean optimizer?"),
        ("imbalance.ration=10", "no such setting; did you mean ratio?"),
        ("optimizer.rate=1", "no such setting; must be one of lr, momentum, weight_decay, nesterov, fused"),
        ("optimizer.lr.x=1", "no such setting"),
        ("loss=focl", "must be one of *; did you mean focal?"),
        ("loss=zzz", "must be one of *"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(override: str, remark: str) -> None:
    start, varies, end = remark.partition("*")
    said = refusal(override)
    assert said.startswith(f"{override}: {start}")
    assert said.endswith(end)
    assert varies or said == f"{override}: {remark}"


def test_a_group_of_detection_is_named_as_such() -> None:
    assert refusal("detector=small") == "detector: a group of longtail-detect alone; longtail has model"


@pytest.mark.parametrize(("key", "nearest"), [("epoch", "epochs"), ("batchsize", "batch_size")])
def test_an_unknown_setting_cannot_be_added(key: str, nearest: str) -> None:
    assert refusal(f"+{key}=3") == f"{key}=3: no such setting; did you mean {nearest}?"
    check(composed("+trainer.profiler=simple"))


def test_a_wrong_setting_in_a_file_is_named_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "of_a_lab.yaml").write_text("# @package _global_\nepoch: 3\n")
    assert refusal("experiment=of_a_lab", beside=tmp_path) == (
        "experiment/of_a_lab.yaml: epoch: no such setting; did you mean epochs?"
    )
    (tmp_path / "experiment" / "of_a_lab.yaml").write_text("# @package _global_\nepochs: many\n")
    assert refusal("experiment=of_a_lab", beside=tmp_path) == (
        "experiment/of_a_lab.yaml: epochs=many: must be a whole number >= 1"
    )


@pytest.mark.skipif((CONF / "local").exists(), reason="this machine has one")
def test_a_local_file_sets_what_belongs_to_the_machine(tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    local = "# @package _global_\ndata_dir: /data\nlogger:\n  entity: lab\n"
    (tmp_path / "local" / "default.yaml").write_text(local)
    cfg = composed(beside=tmp_path)
    assert (cfg.data_dir, cfg.logger.entity, cfg.logger.project) == ("/data", "lab", "longtail")
    assert composed("data_dir=/other", beside=tmp_path).data_dir == "/other"
    assert composed("experiment=cui2019", beside=tmp_path).dataset.data_dir == "/data"


@pytest.mark.parametrize("dataset", sorted(path.stem for path in (CONF / "dataset").glob("*.yaml")))
def test_a_dataset_sets_nothing_but_itself(dataset: str) -> None:
    first, other = composed("dataset=cifar10"), composed(f"dataset={dataset}")
    assert {key for key in first if first[key] != other[key]} <= {"dataset"}
