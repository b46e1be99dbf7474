"""Every experiment composes, trains, gives way to the command line and says what to expect of it."""

import itertools
import re
import shlex
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from longtail.cli.app import CONF

from .conftest import Cli, metrics
from .test_conf import options

EXPERIMENTS = options("experiment")
FIELDS = ("paper", "purpose", "command", "expected", "time")


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


PARTS = [f"{path.parent.name}={path.stem}" for path in sorted((CONF / "experiment").glob("*/*.yaml"))]


@pytest.mark.parametrize("part", PARTS)
def test_each_part_of_a_sweep_trains_two_batches_of_digits(part: str, cli: Cli, run_dir: Path) -> None:
    option = part.partition("=")[0]
    own = [f"experiment={option}", f"+experiment/{part}", "dataset=digits", "trainer=debug"]
    outcome = cli(*own, f"hydra.run.dir={run_dir}")
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


def jobs(option: str) -> list[list[str]]:
    """The overrides of each job of an experiment's sweep."""
    content = OmegaConf.load(CONF / "experiment" / f"{option}.yaml")
    params = OmegaConf.select(content, "hydra.sweeper.params") or {}
    choices = [[f"{name}={value}" for value in str(values).split(",")] for name, values in params.items()]
    return [list(job) for job in itertools.product(*choices)]


def chosen(*overrides: str) -> DictConfig:
    """A composed config with, under `chosen`, the option of each group by name."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", list(overrides), return_hydra_config=True)
    cfg.hydra.runtime.choices = {k: v for k, v in cfg.hydra.runtime.choices.items() if not k.startswith("hydra/")}
    return cfg


OUR_DEVIATIONS = {("uniform", "scheduler.warmup")}
PAPERS = [option for option in EXPERIMENTS if composed(f"experiment={option}").published]


@pytest.mark.parametrize(
    ("option", "number"),
    [("cui2019", 24), ("park2022_table1", 6), ("park2022_table2", 12), ("uniform", 9), ("uniform_ablation", 9)],
)
def test_a_sweep_has_the_cells_of_its_table_and_each_composes(option: str, number: int) -> None:
    found = [composed(f"experiment={option}", *job) for job in jobs(option)]
    assert len(found) == number
    assert len({str(cfg) for cfg in found}) == number


@pytest.mark.parametrize("option", PAPERS)
def test_every_published_figure_is_of_a_job(option: str) -> None:
    settings = []
    for job in jobs(option):
        cfg = chosen(f"experiment={option}", *job)
        settings.append({**cfg.hydra.runtime.choices, "imbalance.ratio": cfg.imbalance.get("ratio")})
        for name, value in cfg.published.setting.items():
            own = cfg.hydra.runtime.choices.get(name, OmegaConf.select(cfg, name))
            assert own in (value, None) or (option, name) in OUR_DEVIATIONS, name
    figures = composed(f"experiment={option}").published.figures
    assert figures
    for figure in figures:
        wanted = {k: v for k, v in figure.items() if not k.startswith("accuracy") and k not in ("over", "best_over")}
        for options_ in (wanted, {**wanted, **figure.get("over", {})}):
            assert any(all(s[k] == v for k, v in options_.items()) for s in settings), options_
        assert any(k.startswith("accuracy") for k in figure)


@pytest.mark.parametrize("option", PAPERS)
def test_a_paper_is_on_cifar10_with_its_network_for_200_epochs(option: str) -> None:
    cfg = chosen(f"experiment={option}")
    assert (cfg.hydra.runtime.choices.dataset, cfg.hydra.runtime.choices.model) == ("cifar10", "resnet32")
    assert (cfg.epochs, cfg.optimizer.lr, cfg.optimizer.momentum, cfg.reduction) == (200, 0.1, 0.9, "batch_mean")
    assert cfg.optimizer.weight_decay == (5e-4 if option == "uniform" else 2e-4)
    assert not cfg.optimizer.nesterov


@pytest.mark.parametrize("epochs", [200, 50])
@pytest.mark.parametrize(("part", "gamma"), [("balanced", 0.1), ("long_tailed", 0.01)])
def test_the_milestones_of_table_1_follow_the_epochs(part: str, gamma: float, epochs: int) -> None:
    name = "park2022_table1"
    cfg = composed(f"experiment={name}", f"+experiment/{name}={part}", f"epochs={epochs}")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=cfg.optimizer.lr)
    scheduler = instantiate(cfg.scheduler)(optimizer, total_steps=cfg.epochs * 10)
    rates = []
    for _ in range(cfg.epochs * 10):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    at = [round(share * epochs * 10) for share in (0.5, 0.8, 0.9)]
    assert [rates[i] for i in at] == pytest.approx([0.1, 0.1 * gamma, 0.1 * gamma**2])
    assert rates[at[1] - 1] == pytest.approx(0.1)


def test_uniform_compares_what_the_paper_compares() -> None:
    found = []
    for part in ("softmax", "cb_softmax", "clipped_uniform"):
        cfg = chosen("experiment=uniform", f"+experiment/uniform={part}")
        found.append((cfg.hydra.runtime.choices.sampler, cfg.hydra.runtime.choices.reweight))
    assert found == [("random", "none"), ("random", "class_balanced"), ("uniform_minibatch", "clipped_inverse")]


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
    quick = composed("experiment=quick", f"{group}={option}")
    plain = composed(f"{group}={option}")
    assert all(quick[name] == plain[name] for name in ("sampler", "loss", "reweight", "reduction", "imbalance"))


@pytest.mark.parametrize("sampler", options("sampler"))
@pytest.mark.parametrize("loss", options("loss"))
def test_quick_trains_with_every_sampler_and_loss(sampler: str, loss: str, cli: Cli, run_dir: Path) -> None:
    outcome = cli(
        "experiment=quick", f"sampler={sampler}", f"loss={loss}", "reweight=none", "trainer=debug",
        f"hydra.run.dir={run_dir}",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
