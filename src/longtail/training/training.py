"""A run that is about to be trained or evaluated, of whatever is to be recognised."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from longtail.errors import setting
from longtail.methods import Method
from longtail.methods.criterion import Weighted
from longtail.training.data import ImageBatches
from longtail.training.evaluation import Outcome
from longtail.training.module import TrainingModule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Settings = Mapping[str, Any]  # the resolved config
Parts = Mapping[str, Callable[..., Any]]  # of each config group, called as its contract says


@dataclass(frozen=True)
class Training(ABC):
    """A run that is about to be trained or evaluated; a kind of run says what only it knows.

    Attributes:
        settings: the resolved config.
        options: the option of each config group, by name.
        data: its images.
        module: its Lightning module.
    """

    settings: Settings
    options: Mapping[str, str]
    data: ImageBatches
    module: TrainingModule

    @property
    def weights(self) -> Tensor:
        """The class weights of the last epoch, (C,)."""
        epochs = self.settings["trainer"]["max_epochs"]
        return self.module.method.criterion.weights_at((epochs - 1) / epochs)

    @property
    def parameters(self) -> int:
        """The number of trainable parameters of what is tested; a stage may freeze some."""
        method = self.module.method
        left_out = {id(p) for part in method.training_only for p in part.parameters()}
        return sum(p.numel() for p in method.parameters() if p.requires_grad and id(p) not in left_out)

    def facts(self, steps: int, seen: int) -> dict[str, Any]:
        """Return what must agree for two runs to be compared, after so many steps on so many images or boxes."""
        return {
            "class_counts": self.data.class_counts.tolist(),
            "parameters": self.parameters,
            "steps": steps,
            "selection": self.settings["selection"],
            "precision": str(self.settings["trainer"]["precision"]),
            "seed": self.settings["seed"],
        }

    def summary(self) -> str:
        """Describe in two lines what is about to be trained, on what."""
        settings, weights = self.settings, self.weights
        batch = f"{getattr(self.data.sampler, 'batch_size', 'varying size')}"
        if self.data.world_size > 1:
            batch = f"{self.data.world_size} x {batch}"
        return (
            f"{self.contents()}\n{settings['trainer']['max_epochs']} epochs of {len(self.data.sampler)} batches of"
            f" {batch}, {self.parameters:,} parameters, {settings['trainer']['precision']}, class weights"
            f" {float(weights.min()):.4g} to {float(weights.max()):.4g}"
        )

    def classes(self) -> str:
        """Say how many classes there are, and how unequal they are."""
        counts = self.data.class_counts
        most, least = int(counts.max()), int(counts.min())
        return f"{len(counts)} classes, {most:,} to {least:,} per class (ratio {most / max(least, 1):.4g})"

    def callbacks(self) -> Sequence[Callback]:
        """Return what watches the training of such a run beside the callbacks of its settings."""
        return ()

    @abstractmethod
    def contents(self) -> str:
        """Describe the images in a line."""

    @abstractmethod
    def mistakes(self) -> Iterator[str]:
        """Yield a line for each choice of the settings that is probably a mistake, or does less than it says."""

    @abstractmethod
    def pictures(self, outcome: Outcome) -> dict[str, "Figure"]:
        """Draw what only this kind of run has, by the names of the files."""

    @abstractmethod
    def write(self, directory: Path, outcome: Outcome) -> None:
        """Write the tables that only this kind of run has."""


def world_size(settings: Settings) -> int:
    """Return the number of processes that train together."""
    trainer = settings["trainer"]
    devices = trainer["devices"]
    on_each: int = len(devices) if isinstance(devices, list) else devices
    return on_each * int(trainer.get("num_nodes", 1))


def seed(settings: Settings) -> None:
    """Seed all random generators: from here on the seed decides, however the images came to be."""
    L.seed_everything(settings["seed"], workers=True, verbose=False)


def check_weights(criterion: Weighted, num_classes: int) -> None:
    """Reject weights that are not those of C classes.

    Raises:
        ValueError: there are more or fewer.
    """
    if criterion.weights.shape != (num_classes,):
        raise ValueError(f"must give a weight for each of {num_classes} classes")


def check_schedule(parts: Parts, method: Method, steps: int) -> None:
    """Try the optimizer and the schedule of a run of so many steps.

    Raises:
        InputError: a setting of theirs does not fit.
    """
    with setting("optimizer"):
        optimizer = parts["optimizer"](method.parameter_groups())
    with setting("scheduler"):
        parts["scheduler"](optimizer, total_steps=max(steps, 1))
