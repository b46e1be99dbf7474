"""The experiments of this template: what their heads say, their tables, and that the command line wins over them."""

import re
import shlex
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from longtail.cli.app import CONF
from longtail.cli.groups import COMMANDS
from longtail.cli.parts import part
from longtail.errors import text_of
from longtail.reports import published
from longtail.reports.cells import alike
from longtail.sweeps import arguments

from ..test_conf import options
from ..test_experiments import composed, content_of, jobs, primary_of

JOBS = {  # of the sweep of each experiment
    "baselines_cifar10": 36,
    "baselines_cifar100": 36,
    "baselines_cifar100_quick": 1,
    "baselines_cifar10_quick": 1,
    "bccd": 1,
    "cui2019": 60,
    "cui2019_beta": 40,
    "cui2019_quick": 1,
    "detection_losses": 5,
    "focal_ablation": 15,
    "focal_prior": 8,
    "hong2021": 3,
    "methods": 13,
    "park2022_table1": 6,
    "park2022_table2": 12,
    "quick": 1,
    "strong": 3,
    "strong_quick": 9,
    "uniform": 12,
    "uniform_ablation": 9,
    "uniform_quick": 1,
}
EXPERIMENTS = sorted({*JOBS, *published.experiments()})
FIELDS = ("paper", "purpose", "command", "expected", "time")


def settings(*overrides: str, primary: str | None = None) -> dict[str, Any]:
    """The settings of a run without Hydra's own."""
    return {str(key): value for key, value in composed(*overrides, primary=primary).items() if key != "hydra"}


def chosen(*overrides: str) -> dict[str, str]:
    """The option of each group by name."""
    return dict(composed(*overrides).hydra.runtime.choices)


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
def test_the_commands_of_the_header_compose(option: str) -> None:
    for command in (text for text in header(option).values() if text.startswith("longtail")):
        program, *overrides = shlex.split(command)
        assert program == COMMANDS[primary_of(option)]
        assert f"experiment={option}" in overrides
        job = [re.split(r",(?![^\[]*\])", override)[0] for override in overrides if override != "-m"]
        composed(*job)


PARTS = {
    "train": ("imbalance", "sampler", "loss", "reweight", "method", "model", "scheduler"),
    "detect": ("detection_data", "imbalance", "detection_loss", "reweight", "detector", "scheduler"),
}


def exchanged(*parts: str) -> list[list[str]]:
    """Every option of some parts, in as many runs as the largest group has options."""
    runs = range(max((len(options(part)) for part in parts), default=0))
    return [[f"{part}={options(part)[i % len(options(part))]}" for part in parts] for i in runs]


def set_by(option: str) -> set[str]:
    """The groups of which an experiment, or one that it is made of, changes a setting."""
    content = content_of(option)
    further = [name for name in content.get("defaults", ()) if isinstance(name, str) and name != "_self_"]
    return {str(key) for key in content}.union(*map(set_by, further))


@pytest.mark.parametrize("option", EXPERIMENTS)
def test_an_experiments_settings_fit_every_option_of_a_part(option: str) -> None:
    primary = primary_of(option)
    changed = [group for group in PARTS[primary] if group in set_by(option)]
    for choice in exchanged(*changed):
        own, plain = settings(f"experiment={option}", *choice), settings(*choice, primary=primary)
        assert all(set(own[group]) == set(plain[group]) for group in changed), choice


@pytest.mark.parametrize("option", EXPERIMENTS)
def test_the_command_line_wins_in_either_order(option: str) -> None:
    chosen_part, name, value = {
        "train": ("model=resnet20", "model.depth", 20),
        "detect": ("detector=torchvision", "detector.backbone.name", "resnet50"),
    }[primary_of(option)]
    own = [chosen_part, "scheduler=cosine", "epochs=7", "batch_size=33", "optimizer.lr=0.007"]
    for overrides in ([*own, f"experiment={option}"], [f"experiment={option}", *own]):
        cfg = composed(*overrides)
        assert OmegaConf.select(cfg, name) == value
        assert cfg.scheduler._target_ == "longtail.schedulers.cosine"
        assert (cfg.epochs, cfg.batch_size, cfg.optimizer.lr) == (7, 33, 0.007)
        assert cfg.trainer.max_epochs == 7


OUR_DEVIATIONS = {("uniform", "scheduler.warmup")}
PAPERS = [name for name in published.experiments() if primary_of(name) == "train"]


@pytest.mark.parametrize(("option", "number"), JOBS.items())
def test_a_sweep_has_the_cells_of_its_table_and_each_composes(option: str, number: int) -> None:
    first, *others = jobs(option)
    assert 1 + len(others) == number
    # The jobs that differ from the first one in one option stand for all.
    alone = [job for job in others if sum(mine != its for mine, its in zip(job, first, strict=True)) == 1]
    found = [settings(f"experiment={option}", *job) for job in (first, *alone)]
    assert len({str(cell) for cell in found}) == len(found)


@pytest.mark.parametrize("option", published.experiments())
def test_every_published_figure_is_of_a_job(option: str) -> None:
    paper, cells = published.of_experiment(option), []
    for job in jobs(option):
        cfg, choices = composed(f"experiment={option}", *job), chosen(f"experiment={option}", *job)
        cells.append({**choices, "imbalance.ratio": cfg.imbalance.get("ratio")})
        swept = {override.partition("=")[0] for override in job}  # a figure is of the paper's value alone
        for name, value in paper.get("setting", {}).items() if len(cells) == 1 else ():
            own = choices.get(name, OmegaConf.select(cfg, name))
            same = own is None or alike(text_of(list(own) if OmegaConf.is_list(own) else own), text_of(value))
            assert same or name in swept or (option, name) in OUR_DEVIATIONS, name
    figures = paper["figures"]
    assert figures
    for figure in figures:
        others = ("over", "best_over", "setting")
        scores = [k for k in figure if k.startswith(("accuracy", "mAP"))]
        wanted = {k: v for k, v in figure.items() if k not in (*scores, *others)}
        for options_ in (wanted, {**wanted, **figure.get("over", {})}):
            assert any(all(alike(text_of(cell[k]), v) for k, v in options_.items()) for cell in cells), options_
        assert scores


@pytest.mark.parametrize("option", PAPERS)
def test_a_paper_is_on_cifar_with_its_network_for_200_epochs(option: str) -> None:
    cfg, choices = composed(f"experiment={option}"), chosen(f"experiment={option}")
    assert (choices["dataset"] in ("cifar10", "cifar100"), choices["model"]) == (True, "resnet32")
    assert (cfg.epochs, cfg.optimizer.lr, cfg.optimizer.momentum, cfg.reduction) == (200, 0.1, 0.9, "batch_mean")
    assert cfg.optimizer.weight_decay == (5e-4 if option == "uniform" else 2e-4)
    assert not cfg.optimizer.nesterov


@pytest.mark.parametrize("epochs", [200, 50])
@pytest.mark.parametrize(("cell", "gamma"), [("balanced", 0.1), ("long_tailed", 0.01)])
def test_the_milestones_of_table_1_follow_the_epochs(cell: str, gamma: float, epochs: int) -> None:
    name = "park2022_table1"
    cfg = composed(f"experiment={name}", f"experiment/{name}={cell}", f"epochs={epochs}")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=cfg.optimizer.lr)
    scheduler = part(cfg, "scheduler")(optimizer, total_steps=cfg.epochs * 10)
    rates = []
    for _ in range(cfg.epochs * 10):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    at = [round(share * epochs * 10) for share in (0.5, 0.8, 0.9)]
    assert [rates[i] for i in at] == pytest.approx([0.1, 0.1 * gamma, 0.1 * gamma**2])
    assert rates[at[1] - 1] == pytest.approx(0.1)


def test_uniform_compares_what_the_paper_compares() -> None:
    found = [chosen("experiment=uniform", *job) for job in jobs("uniform") if "imbalance.ratio=100" in job]
    assert {cell["experiment/uniform"]: (cell["sampler"], cell["reweight"]) for cell in found} == {
        "softmax": ("random", "none"),
        "cb_softmax": ("random", "class_balanced"),
        "clipped_uniform": ("uniform_minibatch", "clipped_inverse"),
    }


def test_a_named_cell_gives_way_to_an_option_on_the_command_line() -> None:
    cell = chosen("sampler=class_balanced", "experiment=uniform", "experiment/uniform=clipped_uniform")
    assert (cell["sampler"], cell["reweight"]) == ("class_balanced", "clipped_inverse")


def test_quick_takes_every_dataset() -> None:
    assert "dataset" not in set_by("quick")
    for option in ("cifar100", "image_folder"):  # which stand for all
        cfg = composed("experiment=quick", f"dataset={option}")
        assert cfg.dataset == composed(f"dataset={option}").dataset
        assert cfg.model._target_ == "longtail.models.FastCNN"
        assert cfg.scheduler._target_ == "longtail.schedulers.one_cycle"


METHODS = ["imbalance", "sampler", "loss", "reweight", "method", "reduction"]


@pytest.mark.parametrize("choice", exchanged(*PARTS["train"]))
def test_quick_leaves_the_methods_as_they_are(choice: list[str]) -> None:
    runs = (composed("experiment=quick", *choice), composed(*choice))
    quick, plain = (OmegaConf.to_yaml(OmegaConf.masked_copy(run, METHODS)) for run in runs)
    assert quick == plain


@pytest.mark.parametrize("option", EXPERIMENTS)
def test_another_optimizer_is_one_word(option: str) -> None:
    optimizer = composed(f"experiment={option}", "optimizer=adamw").optimizer
    arguments.check("optimizer", OmegaConf.to_container(optimizer))
    if option in ("quick", "strong", "strong_quick"):  # others set a learning rate for every optimizer
        assert optimizer == composed("optimizer=adamw").optimizer
