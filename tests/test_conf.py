"""Every YAML of every group keeps the contract of its group; a new file is tested by being there."""

import copy
import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import get_object, instantiate
from lightning.pytorch.callbacks import Callback
from omegaconf import OmegaConf
from torch import nn

from longtail.augment import SimAugment
from longtail.cli import parts
from longtail.cli.app import CONF
from longtail.errors import InputError
from longtail.losses import InfluenceBalanced, Sigmoid, Softmax
from longtail.methods import Criterion
from longtail.models import SmallCNN
from longtail.sweeps import composition

from .conftest import MakeImages
from .datasets.test_downloads import write_cifar, write_flowers, write_inaturalist, write_svhn
from .datasets.test_formats import write as write_arrays
from .datasets.test_formats import write_parquet

COUNTS = torch.tensor([5000, 800, 120, 100, 20, 19, 7, 1])


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@cache
def part(group: str, option: str, *overrides: str) -> Callable[..., Any]:
    """Compose a part; one with a setting that only its user can give must have a target, and no more."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        primary = "detect" if group in parts.DETECTION_GROUPS and group not in parts.SHARED else "train"
        cfg = compose(primary, [f"{group}={option}", *overrides])
    if lacking := OmegaConf.missing_keys(cfg[group]):
        assert callable(get_object(cfg[group]._target_))
        pytest.skip(f"{group}={option} needs {', '.join(sorted(lacking))}")
    return parts.part(cfg, group)


def cifar(place: Path, images: MakeImages, monkeypatch: pytest.MonkeyPatch, *, classes: int) -> list[str]:
    write_cifar(place, classes, monkeypatch)
    return []


def image_folder(place: Path, images: MakeImages, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return [f"dataset.root={images({'a': 5, 'b': 3}, {'a': 2, 'b': 2})}"]


def arrays(place: Path, images: MakeImages, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return [f"dataset.path={write_arrays(place / 'a.npz')}"]


def huggingface(place: Path, images: MakeImages, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    write_parquet(place / "rows")
    return [f"dataset.path={place / 'rows'}", "dataset.image=img", "dataset.label=fine"]


def lists(place: Path, images: MakeImages, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    root = images({"a": 3, "b": 2}, {"a": 1, "b": 1})
    for name in ("train", "test"):
        files = sorted(path.relative_to(root) for path in root.glob(f"{name}/*/*.png"))
        (root / name).with_suffix(".txt").write_text("".join(f"{p} {p.parts[1] == 'b':d}\n" for p in files))
    names = [
        f"dataset.{part}={'train' if part == 'train' else 'test'}.txt" for part in ("train", "test", "validation")
    ]
    return [f"dataset.root={root}", *names, "dataset.image_size=16"]


# What writes a sample of a dataset as its files are, and returns the settings with which it is read.
SAMPLES: dict[str, Callable[[Path, MakeImages, pytest.MonkeyPatch], list[str] | None]] = {
    "digits": lambda *_: None,
    "cifar10": partial(cifar, classes=10),
    "cifar100": partial(cifar, classes=100),
    "svhn": lambda place, _, monkeypatch: write_svhn(place, monkeypatch),
    "flowers102": lambda place, _, monkeypatch: write_flowers(place, monkeypatch),
    "inaturalist": lambda place, _, monkeypatch: write_inaturalist(place, monkeypatch),
    "image_folder": image_folder,
    "arrays": arrays,
    "huggingface": huggingface,
    **dict.fromkeys(("image_list", "imagenet_lt", "places_lt", "inaturalist2018"), lists),
}


@pytest.mark.parametrize("option", options("dataset"))
def test_dataset(option: str, tmp_path: Path, make_images: MakeImages, monkeypatch: pytest.MonkeyPatch) -> None:
    if option not in SAMPLES:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            assert callable(get_object(compose("train", [f"dataset={option}"]).dataset._target_))
        return
    overrides = SAMPLES[option](tmp_path, make_images, monkeypatch) or []
    data = part("dataset", option, f"data_dir={tmp_path}", *overrides)()
    channels, height, width = data.image_shape
    for images in filter(None, (data.train, data.test, data.validation)):
        assert images.targets.dtype == torch.int64
        assert len(images) == len(images.targets) > 0
        assert 0 <= int(images.targets.min()) <= int(images.targets.max()) < len(data.class_names)
        batch = images.batch([0, len(images) - 1])
        assert batch.dtype == torch.uint8
        assert batch.shape == (2, height, width, channels)
        if data.augment is not None:
            assert data.augment(batch).shape == batch.shape


@pytest.mark.parametrize("option", options("augment"))
def test_augment(option: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        dataset = compose("train", ["dataset=digits", f"augment={option}"]).dataset
    assert set(dataset) == {"_target_", "augment", "many", "few"}
    augment = instantiate(dataset.augment, _convert_="all")
    assert (augment is None) == (option == "none")
    for channels in (1, 3) if augment else ():
        images = torch.randint(0, 256, (40, 8, 9, channels), dtype=torch.uint8)
        torch.manual_seed(0)
        augmented = augment(images)
        assert augmented.shape == images.shape
        assert augmented.dtype == torch.uint8
        if option == "sim":  # the views of methods
            torch.manual_seed(0)
            assert torch.equal(SimAugment()(images), augmented)


@pytest.mark.parametrize("option", options("imbalance"))
@pytest.mark.parametrize("available", [[5000] * 10, [500] * 100, [60, 90, 300, 80], [60, 60]])
def test_imbalance(option: str, available: list[int]) -> None:
    given = torch.tensor(available)
    counts = part("imbalance", option)(given)
    assert counts.dtype == torch.int64
    assert counts.shape == given.shape
    assert bool(((counts >= 1) & (counts <= given)).all())


@pytest.mark.parametrize("option", options("sampler"))
@pytest.mark.parametrize("world_size", [1, 2])
def test_sampler(option: str, world_size: int) -> None:
    targets = torch.arange(8).repeat_interleave(torch.tensor([300, 200, 100, 50, 25, 12, 6, 3])).numpy()
    make = part("sampler", option, "epochs=5")
    ranks = [make(targets, num_classes=8, seed=3, rank=rank, world_size=world_size) for rank in range(world_size)]
    epochs = []
    for epoch in (0, 1, 0, 4):
        for sampler in ranks:
            sampler.set_epoch(epoch)
        epochs.append([list(sampler) for sampler in ranks])
    assert epochs[0] == epochs[2] != epochs[1]
    assert all(len(batches) == len(ranks[0]) > 0 for epoch_batches in epochs for batches in epoch_batches)
    assert all(isinstance(i, int) and 0 <= i < len(targets) for i in epochs[0][0][0])
    assert callable(ranks[0].set_epoch)
    assert epochs[0][0] != [list(make(targets, num_classes=8, seed=4, rank=0, world_size=1))][0]


def features_for(loss: nn.Module, size: int) -> tuple[torch.Tensor, ...]:
    """The features of a batch, for a loss that takes them."""
    return (torch.ones(size, 5),) if getattr(loss, "takes_features", False) else ()


@pytest.mark.parametrize("option", options("loss"))
def test_loss(option: str) -> None:
    loss = part("loss", option)(COUNTS)
    assert isinstance(loss, nn.Module)
    logits = torch.tensor([[100.0, -100.0] * 4, [-100.0, 100.0] * 4, [0.0] * 8], requires_grad=True)
    losses = loss(logits, torch.tensor([0, 0, 7]), *features_for(loss, 3))
    assert losses.shape == (3,)
    losses.sum().backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(losses).all() and torch.isfinite(logits.grad).all())


@pytest.mark.parametrize("option", options("detection_loss"))
def test_detection_loss(option: str) -> None:
    loss = part("detection_loss", option)(COUNTS)
    assert isinstance(loss, nn.Module)
    logits = torch.tensor([100.0, -100.0, 0.0]).repeat(2, 8, 3)[..., :8].requires_grad_()
    positive, valid = torch.eye(8, dtype=torch.bool).expand(2, 8, 8), torch.tensor([[True] * 7 + [False]] * 2)
    terms = loss(logits, positive, valid)
    assert terms.shape == logits.shape
    assert bool((terms >= 0).all() and terms.isfinite().all() and not terms[:, 7].any() and terms[:, 0].any())
    terms.sum().backward()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


@pytest.mark.parametrize("option", options("reweight"))
@pytest.mark.parametrize("counts", [COUNTS, torch.tensor([1, 10_000_000]), torch.tensor([50, 50])])
def test_reweight(option: str, counts: torch.Tensor) -> None:
    given = part("reweight", option)(counts)
    for weights in [given(0.0), given(0.99)] if callable(given) else [given]:
        assert weights.dtype == torch.float32
        assert weights.shape == counts.shape
        assert bool((weights.isfinite() & (weights >= 0)).all())


@pytest.mark.parametrize("option", [option for option in options("loss") if option != "deferred"])
def test_any_loss_can_be_deferred(option: str) -> None:
    first = {"ldam": "ldam", "sigmoid_equalization": "sigmoid"}.get(option, option)
    loss = part("loss", "deferred", f"loss@loss.first={first}", f"loss@loss.then={option}")(COUNTS)
    logits, targets = torch.linspace(-3, 2, 16).reshape(2, 8), torch.tensor([0, 7])
    for progress, chosen in ((0.79, first), (0.8, option)):
        alone = part("loss", chosen)(COUNTS).eval()
        for one in (loss.eval(), alone):
            getattr(one, "at", lambda progress: None)(progress)
        given, of_alone = features_for(loss, 2), features_for(alone, 2)
        assert torch.equal(loss(logits, targets, *given), alone(logits, targets, *of_alone))


@pytest.mark.parametrize("option", options("reweight"))
def test_any_weighting_can_be_deferred_but_a_deferred_one(option: str) -> None:
    if option == "deferred":
        with pytest.raises(InputError, match=r"reweight\.then=function: must give weights"):
            part("reweight", "deferred", "reweight@reweight.then=deferred")(COUNTS)
        return
    weights = part("reweight", "deferred", f"reweight@reweight.then={option}", "reweight.start=0.5")(COUNTS)
    assert weights(0.49).tolist() == [1.0] * len(COUNTS)
    assert torch.equal(weights(0.5), part("reweight", option)(COUNTS))


def test_settings_of_a_deferred_part_are_overridden_in_place() -> None:
    weights = part("reweight", "deferred", "reweight.then.beta=0.9")(COUNTS)
    assert torch.equal(weights(0.9), part("reweight", "class_balanced", "reweight.beta=0.9")(COUNTS))
    overrides = ["sampler@sampler.then=uniform_minibatch", "sampler.then.epoch_length=match_iterations", "epochs=10"]
    overrides += ["sampler.then.samples_per_class=12"]
    targets = torch.arange(8).repeat_interleave(torch.tensor([300, 200, 100, 50, 25, 12, 6, 3])).numpy()
    sampler = part("sampler", "deferred", *overrides)(targets, num_classes=8, seed=0, rank=0, world_size=1)
    sizes = []
    for epoch in (7, 8):
        sampler.set_epoch(epoch)
        sizes.append(len(next(iter(sampler))))
    assert sizes == [128, 96]


@pytest.mark.parametrize("option", options("model"))
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 32), (4, 28)])
def test_model(option: str, channels: int, size: int) -> None:
    model = part("model", option)(in_channels=channels, num_classes=7).eval()
    images = torch.rand(2, channels, size, size)
    features = model.features(images)
    assert features.ndim == 2
    assert len(features) == 2
    assert torch.equal(model(images), model.head(features))
    assert isinstance(model.head, nn.Linear)
    assert model.head.weight.shape == (7, features.shape[1])


@pytest.mark.parametrize("option", options("model"))
def test_model_with_a_cosine_head(option: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [f"model={option}"])
    if "head" not in cfg.model:
        pytest.skip(f"model={option} has one head")
    cfg.model.head = "cosine"
    model = parts.part(cfg, "model")(in_channels=3, num_classes=7)
    logits = model(torch.rand(2, 3, 32, 32))
    assert logits.shape == (2, 7)
    assert float(logits.detach().abs().max()) <= 1 + 1e-6
    logits.sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("option", options("scheduler"))
def test_optimizer_and_scheduler(option: str) -> None:
    weight = nn.Parameter(torch.ones(1))
    for name in options("optimizer"):
        optimizer = part("optimizer", name)([weight])
        scheduler = part("scheduler", option)(optimizer, total_steps=40)
        rates = []
        for _ in range(40):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step(lambda: None)
            scheduler.step()
        assert all(0 <= rate <= optimizer.defaults["lr"] * (1 + 1e-9) for rate in rates)


@pytest.mark.parametrize("option", options("trainer"))
@pytest.mark.parametrize("logger", options("logger"))
@pytest.mark.parametrize("primary", ["train", "detect"])
def test_trainer_and_logger_compose(option: str, logger: str, primary: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(primary, [f"trainer={option}", f"logger={logger}"])
    assert cfg.trainer._target_ == "lightning.pytorch.Trainer"
    others = set(cfg.logger) - {"mode", "project", "entity"}
    assert cfg.logger.get("mode") == {"none": "disabled", "wandb": "auto"}.get(logger)
    assert others == {logger} - {"none", "wandb"}, "each under its own name"
    assert all("_target_" in cfg.logger[name] for name in others)


@pytest.mark.parametrize("overrides", [["logger=[wandb,csv]"], ["+logger=csv"], []])
def test_loggers_stand_beside_each_other(overrides: list[str], tmp_path: Path) -> None:
    if not overrides:  # what belongs to the machine
        (tmp_path / "local").mkdir()
        defaults = "defaults: [{override /logger: [wandb, csv]}]"
        (tmp_path / "local" / "default.yaml").write_text(f"# @package _global_\n{defaults}\n")
        overrides = [f"hydra.searchpath=[file://{tmp_path}]"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides)
        assert compose("train", ["logger=[]"]).logger == {}
    assert (cfg.logger.mode, cfg.logger.csv.name) == ("auto", "csv")


@pytest.mark.parametrize("sweep", sorted((CONF / "wandb").glob("*.yaml")), ids=lambda path: path.stem)
def test_each_value_of_a_wandb_sweep_is_an_override(sweep: Path) -> None:
    content = yaml.safe_load(sweep.read_text())
    shared = [word for word in content["command"] if "=" in word]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for name, parameter in content["parameters"].items():
            ends = [parameter[end] for end in ("min", "max") if end in parameter]
            assert all(isinstance(end, int | float) for end in ends), "1e-5 is a text in YAML"
            for value in [*ends, *parameter.get("values", ())]:
                cfg = compose("train", [*shared, f"{name}={value}"])
                assert OmegaConf.select(cfg, name) is not None
                composition.check_parts(cfg)
        assert compose("train").logger.project == content["project"]
        if content["method"] == "bayes":
            assert (cfg.validation_per_class > 0, content["metric"]["name"]) == (True, "val/accuracy")


@pytest.mark.parametrize("partial", ["", "_partial_: true\n"])
def test_a_lab_adds_a_loss_by_a_file_of_its_own(partial: str, tmp_path: Path) -> None:
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "of_a_lab.yaml").write_text(f"_target_: longtail.losses.Focal\n{partial}gamma: 3.0\n")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [f"hydra.searchpath=[file://{tmp_path}]", "loss=of_a_lab"])
    assert parts.part(cfg, "loss")(COUNTS).gamma == 3


@pytest.mark.parametrize("option", options("method"))
@pytest.mark.parametrize("loss", [Softmax, Sigmoid, InfluenceBalanced])
def test_method(option: str, loss: type[nn.Module]) -> None:
    counts = torch.tensor([40, 12, 6, 2])
    targets = torch.arange(4).repeat_interleave(counts)
    make = part("method", option, "batch_size=16")
    try:
        method = make(SmallCNN(1, 4, width=4), Criterion(loss(counts), torch.ones(4)), class_counts=counts)
    except InputError as error:
        assert loss is InfluenceBalanced, error  # noqa: PT017
        assert re.fullmatch(r"method=\w+: must not be used with a loss that takes the features", str(error))  # noqa: PT017
        return
    stages = method.stages()
    assert sum(stage.share for stage in stages) == pytest.approx(1)
    images = torch.randint(0, 256, (8, 8, 8, 1), dtype=torch.uint8)
    for epoch, stage in enumerate(stages):
        method.begin(stage)
        method.at(epoch / len(stages))
        for make_sampler in filter(None, (stage.sampler, stage.beside)):
            sampler = make_sampler(targets.numpy(), num_classes=4, seed=0, rank=0, world_size=1)
            assert len(sampler) > 0
        before = copy.deepcopy(method.state_dict())
        optimizer = torch.optim.SGD(method.parameter_groups(), lr=0.1)
        batch = method.transform(images, targets[::8], lambda pixels, other=None: pixels.permute(0, 3, 1, 2) / 255)
        minimised = method.loss(batch)
        assert minimised.shape == ()
        minimised.backward()
        optimizer.step()
        assert any(not torch.equal(value, before[name]) for name, value in method.state_dict().items())
    method.eval()
    assert method.predict(torch.rand(3, 1, 8, 8)).shape == (3, 4)


@pytest.mark.parametrize("option", options("callbacks"))
def test_callbacks(option: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        made = parts.callbacks(compose("train", [f"callbacks={option}"]))
    assert bool(made) == (option != "none")
    assert all(isinstance(callback, Callback) for callback in made)
