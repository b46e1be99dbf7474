"""Every experiment composes, trains, gives way to the command line and says what to expect of it."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from longtail.train import CONF

from .conftest import Cli, metrics
from .test_conf import options

EXPERIMENTS = options("experiment")
FIELDS = ("purpose", "command", "expected", "time")


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", list(overrides))


def header(option: str) -> dict[str, str]:
    """The fields of the comment that an experiment starts with: `# field: text`, carried on by `#   text`."""
    fields: dict[str, str] = {}
    name = ""
    for line in (CONF / "experiment" / f"{option}.yaml").read_text().splitlines():
        if not line.startswith("#"):
            break
        if start := re.fullmatch(r"# (\w+): +(\S.*)", line):
            name = start[1]
            fields[name] = start[2]
        elif name:
            fields[name] += " " + line.removeprefix("#").strip()
    return fields


@pytest.mark.parametrize("option", EXPERIMENTS)
def test_the_header_says_what_for_how_with_which_result_and_how_long(option: str) -> None:
    fields = header(option)
    assert [name for name in fields if name in FIELDS] == list(FIELDS)
    assert re.search(r"\d\.\d", fields["expected"]), "a measured number"
    assert re.search(r"\b\d+ seeds?\b", fields["expected"]), "over how many seeds"
    assert re.search(r"\d+ (s|minutes|hours)\b.* on \S", fields["time"]), "a time, and on what"


@pytest.mark.parametrize("option", EXPERIMENTS)
def test_the_command_of_the_header_composes(option: str) -> None:
    program, *overrides = shlex.split(header(option)["command"])
    assert program == "longtail"
    assert f"experiment={option}" in overrides
    composed(*(override.partition(",")[0] for override in overrides if override != "-m"))  # of a sweep, one job


@pytest.mark.parametrize("option", EXPERIMENTS)
def test_it_trains_two_batches_of_digits(option: str, cli: Cli, run_dir: Path) -> None:
    outcome = cli(f"experiment={option}", "dataset=digits", "trainer=debug", f"hydra.run.dir={run_dir}")
    assert outcome.code == 0, outcome.err
    assert metrics(run_dir)["fingerprint"]["steps"] == 2


@pytest.mark.parametrize("option", EXPERIMENTS)
def test_the_command_line_wins_in_either_order(option: str) -> None:
    own = ["model=resnet20", "scheduler=cosine", "epochs=7", "batch_size=33", "optimizer.lr=0.007"]
    for overrides in ([*own, f"experiment={option}"], [f"experiment={option}", *own]):
        cfg = composed(*overrides)
        assert (cfg.model._target_, cfg.model.depth) == ("longtail.models.ResNet", 20)
        assert cfg.scheduler._target_ == "longtail.schedulers.cosine"
        assert (cfg.epochs, cfg.batch_size, cfg.optimizer.lr) == (7, 33, 0.007)
        assert cfg.trainer.max_epochs == 7


def test_quick_takes_every_dataset() -> None:
    for option in options("dataset"):
        cfg = composed("experiment=quick", f"dataset={option}")
        assert cfg.dataset == composed(f"dataset={option}").dataset
        assert cfg.model._target_ == "longtail.models.FastCNN"
        assert cfg.scheduler._target_ == "longtail.schedulers.one_cycle"


@pytest.mark.parametrize(
    ("group", "option"), [(group, option) for group in ("sampler", "loss", "reweight") for option in options(group)]
)
def test_quick_leaves_the_methods_as_they_are(group: str, option: str) -> None:
    chosen = composed("experiment=quick", f"{group}={option}")
    plain = composed(f"{group}={option}")
    assert all(chosen[name] == plain[name] for name in ("sampler", "loss", "reweight", "reduction", "imbalance"))


@pytest.mark.parametrize("sampler", options("sampler"))
@pytest.mark.parametrize("loss", options("loss"))
def test_quick_trains_with_every_sampler_and_loss(sampler: str, loss: str, cli: Cli, run_dir: Path) -> None:
    outcome = cli(
        "experiment=quick", f"sampler={sampler}", f"loss={loss}", "reweight=none", "trainer=debug",
        f"hydra.run.dir={run_dir}",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
