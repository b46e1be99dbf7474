"""A run that is about to be trained or evaluated, of whatever is to be recognised."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from longtail.errors import InputError, setting
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
        """The number of parameters of the model that is evaluated, frozen ones included."""
        return sum(p.numel() for p in self.module.method.model.parameters())

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
            f" {float(weights.min()):.4g} to {float(weights.max()):.4g}{self.like_inverse_frequency(weights)}"
        )

    def like_inverse_frequency(self, weights: Tensor) -> str:
        """Say so if weights are those of inverse frequency, to 5 %, though another option was chosen.

        Class-balanced weights of few images are: beta = 0.9999 levels off at 10,000 images of a class.
        """
        counts = self.data.class_counts.double()
        share = float((weights * counts / (weights * counts).mean() - 1).abs().max())
        if self.options["reweight"] == "inverse_frequency" or share > 0.05 or bool((counts == counts[0]).all()):
            return ""
        return f", those of inverse frequency within {share:.1%}"

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


def check_schedule(parts: Parts, method: Method, steps: int, settings: Settings) -> None:
    """Try the optimizer and the schedule of each stage of a run of so many steps.

    Raises:
        InputError: a setting of theirs does not fit.
    """
    for stage in method.stages():
        with setting("method.optimizer" if stage.optimizer else "optimizer"):
            optimizer = (stage.optimizer or parts["optimizer"])(method.parameter_groups())
        with setting("method.scheduler" if stage.scheduler else "scheduler"):
            (stage.scheduler or parts["scheduler"])(optimizer, total_steps=max(steps, 1))
        if getattr(optimizer, "takes_two_passes", False):
            check_passes(settings["trainer"])


def check_passes(trainer: Mapping[str, Any]) -> None:
    """Reject settings under which Lightning lets no optimizer compute the gradients of a step again.

    Raises:
        InputError: with the setting.
    """
    if (batches := trainer.get("accumulate_grad_batches", 1)) not in (1, None):
        raise InputError(
            f"trainer.accumulate_grad_batches={batches}: must be 1 for an optimizer with two passes a step"
        )
    if str(precision := trainer["precision"]) in ("16", "16-mixed"):
        raise InputError(f"trainer.precision={precision}: must be another for an optimizer with two passes a step")
