"""A run that is about to be trained or evaluated, of whatever is to be recognised."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from longtail.training.data import ImageBatches
from longtail.training.evaluation import Outcome
from longtail.training.module import TrainingModule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Settings = Mapping[str, Any]  # the resolved config


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
        """The number of trainable parameters; a stage may freeze some."""
        return sum(p.numel() for p in self.module.method.parameters() if p.requires_grad)

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
        batch = getattr(self.data.sampler, "batch_size", "varying size")
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

    @abstractmethod
    def contents(self) -> str:
        """Describe the images in a line."""

    @abstractmethod
    def mistakes(self) -> Iterator[str]:
        """Return a line for each choice of the settings that is probably a mistake, or does less than it says."""

    @abstractmethod
    def pictures(self, outcome: Outcome) -> dict[str, "Figure"]:
        """Draw what only this kind of run has, by the names of the files."""

    @abstractmethod
    def write(self, directory: Path, outcome: Outcome) -> None:
        """Write the tables that only this kind of run has."""
