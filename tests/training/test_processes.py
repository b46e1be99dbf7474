"""Two processes that train together: they see, learn, count and measure what one does with batches twice as large."""

import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes

from longtail.augment import Normalize
from longtail.datasets import ArrayImages, ImageData
from longtail.losses import InfluenceBalanced, Softmax
from longtail.methods import Criterion, Method, Stage
from longtail.methods.crt import ClassifierRetraining
from longtail.methods.experts import Experts
from longtail.methods.proco import ProCo
from longtail.methods.ride import Ride
from longtail.optimizers import SAM
from longtail.samplers import ClassBalanced, Random, UniformMinibatch
from longtail.schedulers import cosine
from longtail.training.callbacks import StopOnNonFiniteLoss
from longtail.training.data import LongTailData
from longtail.training.evaluation import Classification
from longtail.training.fit import fit
from longtail.training.module import TrainingModule

TARGETS = np.random.default_rng(0).permutation(np.repeat(np.arange(4), [30, 12, 7, 4]))  # 53 images
COUNTS, WEIGHTS = torch.tensor([30, 12, 7, 4]), torch.tensor([0.2, 0.5, 1.1, 2.2])
EPOCHS, TESTED = 3, 7


class Tiny(nn.Module):
    """A classifier without batch norm; it breaks in a step of one process if it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.Tanh()), nn.Linear(6, 4)
        self.breaks = False

    def initialise(self, module: nn.Module) -> None:
        torch.manual_seed(5)
        module.reset_parameters()  # type: ignore[operator]

    def features(self, images: Tensor) -> Tensor:
        features: Tensor = self.body(images)
        return features * torch.nan if self.breaks and self.training else features

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


class Mixed(Method):
    """Mix each image with one of a second sampler, and their classes."""

    def __init__(self, *parts: Any, sampler: Callable[..., Any]) -> None:
        super().__init__(*parts)
        self.beside = sampler

    def stages(self) -> list[Stage]:
        return [Stage(beside=self.beside)]

    def transform(self, images: Tensor, targets: Tensor, augment: Callable[[Tensor], Tensor]) -> Any:
        (first, second), (own, other) = augment(images).chunk(2), targets.chunk(2)
        return 0.7 * first + 0.3 * second, [(own, 0.7), (other, 0.3)]


def proco(model: nn.Module, criterion: Criterion, counts: Tensor) -> ProCo:
    """ProCo without batch norm."""
    method = ProCo(model, criterion, counts, hidden=6, dim=8)
    method.projection[1] = nn.Identity()
    return method


def uniform(batch_size: int, **facts: Any) -> Callable[..., Any]:
    return partial(UniformMinibatch, samples_per_class=batch_size // 4, **facts)


# sampler (batch size of a process) -> ..., reduction, method
CASES: dict[str, tuple[Callable[[int], Any], str, Callable[..., Method]]] = {
    "random": (lambda size: partial(Random, batch_size=size), "batch_mean", Method),
    "weighted": (lambda size: partial(Random, batch_size=size), "weighted_mean", Method),
    "mixed": (lambda size: partial(Random, batch_size=size), "weighted_mean", Mixed),
    "features": (lambda size: partial(Random, batch_size=size), "weighted_mean", Mixed),
    "experts": (lambda size: partial(Random, batch_size=size), "weighted_mean", Experts),
    "ride": (lambda size: partial(Random, batch_size=size), "batch_mean", partial(Ride, late=False)),
    "proco": (lambda size: partial(Random, batch_size=size), "batch_mean", proco),
    "crt": (lambda size: partial(Random, batch_size=size), "batch_mean", ClassifierRetraining),
}


def train(case: str, world_size: int, place: Path, **options: Any) -> dict[str, Any]:
    """Train and test; return what this process has of it."""
    make_sampler, reduction, method = CASES[case]
    size = 8 // world_size
    pixels = np.random.default_rng(1).integers(0, 256, (len(TARGETS), 2, 2, 1), dtype=np.uint8)
    images = ImageData(
        ArrayImages(pixels, TARGETS),
        ArrayImages(pixels[: options.get("tested", TESTED)], TARGETS[: options.get("tested", TESTED)]),
        list("abcd"),
        (1, 2, 2),
    )
    data = LongTailData(images, lambda counts: counts, make_sampler(size), world_size=world_size)
    torch.manual_seed(0)
    loss = InfluenceBalanced(COUNTS, alpha=1) if case == "features" else Softmax(COUNTS)
    model, criterion = Tiny(), Criterion(loss, WEIGHTS, reduction)
    model.breaks = bool(options.get("breaks"))
    settings: dict[Any, dict[str, Any]] = {ClassifierRetraining: {"sampler": uniform(size), "share": 0.4}}
    settings[Mixed] = {"sampler": partial(ClassBalanced, batch_size=size)}
    normalize = Normalize(torch.tensor([0.5]), torch.tensor([0.25]))
    optimizer = partial(SAM, lr=0.5, rho=0.5) if case == "weighted" else partial(torch.optim.SGD, lr=0.5)
    module = TrainingModule(
        method(model, criterion, COUNTS, **settings.get(method, {})),
        Classification(COUNTS, criterion.losses),
        normalize,
        None,
        optimizer,
        cosine,
    )
    losses = Losses()
    trainer = L.Trainer(
        accelerator="cpu",
        devices=world_size,
        strategy="auto" if world_size == 1 else "ddp",
        max_epochs=EPOCHS,
        callbacks=[losses, StopOnNonFiniteLoss()],
        logger=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    announced = len(data.sampler)
    try:
        fit(trainer, module, data)
    except FloatingPointError as error:
        return {"error": str(error)}
    trainer.save_checkpoint(place / f"{case}.ckpt")
    trainer.test(module, datamodule=data, verbose=False)
    assert module.outcome is not None
    return {
        "announced": announced,
        "steps": trainer.global_step,
        "losses": torch.tensor(losses.values),
        "weights": {name: p.detach() for name, p in module.method.named_parameters()},
        "drawn": module.evaluation.drawn,
        "scores": module.outcome.scores,
        "support": module.outcome.support,
    }


class Losses(L.Callback):
    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, TrainingModule)
        self.values.append(float(pl_module.losses.so_far()[-1]))


def work(rank: int, place: Path, port: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    found = {case: train(case, 2, place) for case in CASES}
    found["one image"] = train("random", 2, place, tested=1)
    found["broken"] = train("random", 2, place, breaks=rank == 1)
    torch.save(found, place / f"{rank}.pt")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have left what they found."""
    place = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start_processes(work, (place, port), nprocs=2, start_method="fork")
    return place


@pytest.fixture(scope="module")
def both(place: Path) -> list[dict[str, dict[str, Any]]]:
    return [torch.load(place / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("case", CASES)
def test_they_train_as_one(case: str, both: list[dict[str, dict[str, Any]]], place: Path, tmp_path: Path) -> None:
    alone = train(case, 1, tmp_path)
    for found in (own[case] for own in both):
        assert found["announced"] == alone["announced"]
        assert found["steps"] == alone["steps"]
        torch.testing.assert_close(found["losses"], alone["losses"])
        torch.testing.assert_close(found["weights"], alone["weights"])
        assert found["scores"] == pytest.approx(alone["scores"], nan_ok=True)
    saved = torch.load(place / f"{case}.ckpt", weights_only=True)
    assert saved["drawn"].tolist() == both[0][case]["drawn"].tolist() == alone["drawn"].tolist()


@pytest.mark.parametrize(("case", "tested"), [("random", TESTED), ("one image", 1)])
def test_each_test_image_counts_once(case: str, tested: int, both: list[dict[str, dict[str, Any]]]) -> None:
    for own in both:
        assert own[case]["support"] == np.bincount(TARGETS[:tested], minlength=4).tolist()


def test_what_breaks_in_one_ends_both(both: list[dict[str, dict[str, Any]]]) -> None:
    for own in both:
        assert own["broken"]["error"].startswith("train/loss is not finite at step 1 (epoch 1)")
