"""A search tries what Optuna chooses, by the score on held-out images, and completes what is there."""

import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from longtail.cli import app
from longtail.runs import write_metrics
from longtail.sweeps.jobs import identity
from longtail.sweeps.search import corners, distribution, overrides

from ..conftest import Outcome, metrics, outcome

SPACE = ["optimizer.lr=tag(log,interval(0.001,1))", "reweight=none,class_balanced"]


def score(cfg: DictConfig) -> float:
    """Best at a learning rate of 0.1 with class-balanced weights."""
    return 0.9 - abs(math.log10(cfg.optimizer.lr) + 1) / 4 - 0.2 * (cfg.reweight._target_.endswith("none"))


def result(cfg: DictConfig) -> None:
    """In the place of a training: a test score that is the better the worse that on held-out images."""
    directory = Path(HydraConfig.get().runtime.output_dir)
    with (directory / "times.txt").open("a") as file:
        file.write("run\n")
    own = score(cfg) + cfg.seed / 100
    scores = {"test": {"accuracy": 1 - own, "accuracy_std": 0.1}, "val": {"accuracy": own}}
    write_metrics(directory, {**scores, "config_sha256": identity(cfg)})


def failing(cfg: DictConfig) -> None:
    """Leave no score."""
    (Path(HydraConfig.get().runtime.output_dir) / "failure.txt").write_text("not today\n")


Search = Callable[..., Outcome]


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Search:
    """Search in the directory `sweep` with a task in the place of a training."""
    monkeypatch.chdir(tmp_path)

    def call(*given: str, task: Callable[[DictConfig], None] = result, held_out: int = 10) -> Outcome:
        options = ["hydra/sweeper=optuna", "hydra/launcher=basic", "hydra.sweep.dir=sweep", "logger=none"]
        options.append(f"validation_per_class={held_out}")
        monkeypatch.setattr(sys, "argv", ["longtail", "-m", *options, *given])
        return outcome(partial(app.main, "train", task), capfd)

    return call


def found() -> dict[str, float]:
    """The score on held-out images of each job, by its directory."""
    return {
        path.parent.name: metrics(path.parent)["val"]["accuracy"] for path in Path("sweep").glob("*/metrics.json")
    }


def test_it_finds_the_best_by_held_out_images_and_goes_on_where_it_was(search: Search) -> None:
    first = search(*SPACE, "hydra.sweeper.n_trials=2")
    assert first.code == 0, first.err
    assert first.out.splitlines()[0] == "2 trials in sweep"
    before = found()
    assert len(before) == 2
    done = search(*SPACE, "hydra.sweeper.n_trials=6")
    assert done.code == 0, done.err
    assert before.items() < found().items()
    assert {path.read_text() for path in Path("sweep").glob("*/times.txt")} == {"run\n"}
    best = max(found(), key=lambda name: found()[name])
    (line,) = (line for line in done.out.splitlines() if line.startswith("best on held-out images: "))
    rate = best.partition("lr-")[2].partition("+")[0]
    assert f"optimizer.lr={rate}  reweight=class_balanced  ({found()[best]:.4f})" in line
    assert found()[best] > 0.8, "chance is 0.55"


def test_a_trial_has_a_job_for_each_seed_and_their_mean(search: Search) -> None:
    done = search("reweight=none,class_balanced", "optimizer.lr=0.1", "seed=1,3", "hydra.sweeper.n_trials=3")
    assert done.code == 0, done.err
    assert len(found()) == 4, "two different trials of two seeds, each run once"
    assert "best on held-out images: reweight=class_balanced  (0.9200)" in done.out
    assert set(Path("sweep").glob("*/times.txt")) == {Path("sweep", name, "times.txt") for name in found()}


def test_an_experiment_says_what_to_search_over(search: Search, tmp_path: Path) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    lines = "# @package _global_\nhydra: {sweeper: {n_trials: 1, params: {optimizer.lr: 'interval(0.1,0.2)'}}}\n"
    (tmp_path / "conf" / "experiment" / "of_a_lab.yaml").write_text(lines)
    done = search("--config-dir", str(tmp_path / "conf"), "experiment=of_a_lab", "hydra.sweep.dir='sweep/${now:%f}'")
    assert done.code == 0, done.err
    assert len(list(tmp_path.glob("sweep/*/*/metrics.json"))) == 1


def test_trials_without_a_score_fail(search: Search) -> None:
    done = search(*SPACE, "hydra.sweeper.n_trials=2", task=failing)
    assert done.code == 1
    assert "no trial has a score on held-out images" in done.err
    assert done.err.count("failed: not today") == 2


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ([], "hydra/sweeper=optuna: must have values to choose from, such as 'optimizer.lr=interval(0.01,0.3)'"),
        (["seed=0,1"], "hydra/sweeper=optuna: must have values to choose from"),
        (["optimizer.lr=interval(0.3,0.1)"], "optimizer.lr=interval(0.3,0.1): `low <= high` must hold"),
        (["optimizer.lr=interval(-2,1)"], "optimizer.lr=-2: must be a finite number >= 0"),
        (["loss=softmax,nope"], "loss=nope: must be one of"),
        ([*SPACE, "hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0: must be a whole number >= 1"),
        ([*SPACE, "hydra.sweeper.n_jobs=half"], "hydra.sweeper.n_jobs=half: must be a whole number >= 1"),
        ([*SPACE, "+hydra.sweeper.sampler.nope=1"], "hydra.sweeper.sampler.nope: no such setting"),
        ([*SPACE, "hydra.sweeper.sampler._target_=optuna.samplers.Nope"], "hydra.sweeper.sampler._target_=optuna."),
        (
            ["hydra.sweeper.params={optimizer.lr: interval(1,2)}"],
            "hydra.sweeper.params={optimizer.lr: interval(1,2)}: ",
        ),
    ],
)
def test_what_cannot_be_searched_is_one_line_before_anything_is_written(
    given: list[str], line: str, search: Search
) -> None:
    done = search(*given)
    assert done.code == 1
    assert done.error.startswith(line)
    assert not Path("sweep").exists()


def test_without_held_out_images_nothing_starts(search: Search) -> None:
    done = search(*SPACE, held_out=0)
    assert done.error == "hydra/sweeper=optuna: must have held-out images to choose by, set validation_per_class"
    assert not Path("sweep").exists()


def test_without_optuna_it_says_what_to_install(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert search(*SPACE).error == "hydra/sweeper=optuna: needs Optuna: pip install 'longtail[optuna]'"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a=interval(1,2)", FloatDistribution(1, 2)),
        ("a=tag(log,interval(1,2))", FloatDistribution(1, 2, log=True)),
        ("a=int(interval(1,8))", IntDistribution(1, 8)),
        ("a=choice(x,y)", CategoricalDistribution(["x", "y"])),
        ("a=range(1,4)", CategoricalDistribution(["1", "2", "3"])),
    ],
)
def test_each_kind_of_a_sweep_is_a_distribution(override: str, expected: Any) -> None:
    assert distribution(OverridesParser.create().parse_override(override)) == expected


def test_values_as_overrides_and_the_corners_of_a_space() -> None:
    assert overrides({"a": 0.123456, "b": 3, "c": "x"}) == ["a=0.1235", "b=3", "c=x"]
    space = {"a": FloatDistribution(1, 2), "b": CategoricalDistribution(["x", "y", "z"])}
    assert corners(space) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}, {"a": 1, "b": "z"}]
