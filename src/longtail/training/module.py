"""The Lightning module: it drives a method, and knows neither classes nor losses nor methods."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from longtail.methods import Method, Stage
from longtail.methods.criterion import mean_over_processes
from longtail.methods.method import Groups
from longtail.training.data import Batch, seed_draws
from longtail.training.evaluation import Evaluation, Outcome


class StepLosses:
    """The training losses of an epoch, kept on the device until somebody looks."""

    def __init__(self) -> None:
        self.values, self.steps = torch.zeros(1024), 0

    def start(self, device: torch.device) -> None:
        """Start an epoch."""
        self.values, self.steps = self.values.to(device), 0

    def add(self, loss: Tensor) -> None:
        """Keep the loss of a step."""
        if self.steps == len(self.values):
            self.values = torch.cat((self.values, torch.zeros_like(self.values)))
        self.values[self.steps] = loss.detach()
        self.steps += 1

    def so_far(self) -> Tensor:
        """Return the losses of the epoch, (steps,), on the device."""
        return self.values[: self.steps]

    def restore(self, losses: Tensor) -> None:
        """Go on in the middle of an epoch after these losses, (steps,)."""
        self.values, self.steps = torch.cat((losses, torch.zeros(1024))).to(self.values.device), len(losses)


class TrainingModule(L.LightningModule):
    """Train a method with Lightning, and evaluate it.

    During an epoch nothing is read back from the device: losses and counts stay there until somebody looks.

    Args:
        method: what is trained and how.
        evaluation: what is measured.
        normalize: uint8 (B, H, W, channels) -> float (B, channels, H, W).
        augment: uint8 (B, H, W, channels) -> the same, for training batches; None for none.
        optimizer: (parameter groups) -> optimizer.
        scheduler: (optimizer, total_steps=) -> scheduler, stepped every batch.
        seed: of what is drawn in a training step.

    Attributes:
        losses: the training losses of the epoch so far.
        outcome: the last evaluation's.
        stage: the stage of the method that is trained.
        number: of that stage, from 0.
        epochs: of the run; 0 until a stage begins.
    """

    evaluation: Evaluation

    def __init__(
        self,
        method: Method,
        evaluation: Evaluation,
        normalize: nn.Module,
        augment: nn.Module | None,
        optimizer: Callable[[Groups], Optimizer],
        scheduler: Callable[..., Any],
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.method = method.to(memory_format=torch.channels_last)
        self.evaluation, self.normalize, self.augment = evaluation, normalize, augment
        self.make_optimizer, self.make_scheduler, self.seed = optimizer, scheduler, seed
        self.losses = StepLosses()
        self.outcome: Outcome | None = None
        self.stage, self.number, self.first_epoch, self.epochs = Stage(), 0, 0, 0

    @property
    def scores(self) -> dict[str, float]:
        """The scalar metrics of the last evaluation; none before the first."""
        return self.outcome.scores if self.outcome else {}

    def in_last_stage(self, trainer: L.Trainer) -> bool:
        """Return whether the Trainer is at the last stage, whose epochs end with the run's."""
        return not self.epochs or (trainer.max_epochs or 0) >= self.epochs

    def begin(self, stage: Stage, number: int, first_epoch: int, epochs: int) -> None:
        """Prepare for a stage of a run of so many epochs."""
        self.stage, self.number, self.first_epoch, self.epochs = stage, number, first_epoch, epochs
        self._seed_draws(first_epoch)  # of a part that starts anew
        self.method.begin(stage)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Any:
        """Augment, normalise and transform the whole batch where it will be used."""
        images, targets = batch
        if not self.trainer.training:
            return self.normalize(images), targets
        self.evaluation.draw(targets)
        self._seed_draws(self.trainer.current_epoch, self.losses.steps, self.trainer.global_rank)
        return self.method.transform(images, targets, self.prepare)

    def prepare(self, images: Tensor, other: nn.Module | None = None) -> Tensor:
        """Augment and normalise training images; by another augmentation than the dataset's, if there is one."""
        augment = self.augment if other is None else other
        prepared: Tensor = self.normalize(images if augment is None else augment(images))
        return prepared

    def on_train_start(self) -> None:
        """Tell the method how far the run is, which may go on in the middle of an epoch."""
        self.method.at(self.trainer.current_epoch / self.epochs if self.epochs else 0.0)

    def on_train_epoch_start(self) -> None:
        """Tell the method how far the run is."""
        self.losses.start(self.device)
        self.method.at(self.trainer.current_epoch / self.epochs if self.epochs else 0.0)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return what the method minimises, and keep its mean over the processes, which all end if one breaks."""
        loss = self.method.loss(batch)
        self.losses.add(mean_over_processes(loss))
        return loss

    def on_train_epoch_end(self) -> None:
        """Forget the epoch's losses, all of which have been looked at; a checkpoint comes after this."""
        self.losses.start(self.device)

    def on_train_end(self) -> None:
        """Give what the processes drew to the first one, once the run ends."""
        if self.in_last_stage(self.trainer):
            drawn = self.drawn()
            self.evaluation.drawn = drawn if self.trainer.is_global_zero else torch.zeros_like(drawn)

    def drawn(self) -> Tensor:
        """Return how often each class was drawn for training, by all processes, (C,) int64 on the CPU."""
        own = self.evaluation.drawn.to(self.device, copy=True)
        return self.trainer.strategy.reduce(own, reduce_op="sum").cpu()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count a batch of held-out images."""
        self._evaluate(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count a batch of test images."""
        self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        """Log the scores under `val/`."""
        self._finish("val")

    def on_test_epoch_end(self) -> None:
        """Log the scores under `test/`."""
        self._finish("test")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep beside the weights what a run needs to go on: validation scores, classes drawn, stage, losses."""
        checkpoint["scores"], checkpoint["drawn"] = self.scores, self.drawn()
        checkpoint["stage"], checkpoint["losses"] = self.number, self.losses.so_far().cpu()
        checkpoint["precision"] = self.trainer.precision

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there."""
        self.outcome = Outcome(checkpoint["scores"], [], []) if checkpoint["scores"] else None
        drawn = checkpoint["drawn"]  # by all processes
        self.evaluation.drawn = drawn if self.trainer.is_global_zero else torch.zeros_like(drawn)
        self.losses.restore(checkpoint["losses"])
        done = self.losses.steps  # none at an epoch's end
        self.trainer.datamodule.position = (checkpoint["epoch"] + (done == 0), done)  # type: ignore[attr-defined]

    def configure_optimizers(self) -> Any:
        """Make the stage's optimizer, and its schedule, stepped every batch."""
        optimizer = (self.stage.optimizer or self.make_optimizer)(self.method.parameter_groups())
        steps, epochs = int(self.trainer.estimated_stepping_batches), self.trainer.max_epochs
        if self.first_epoch and epochs:  # the Trainer counts from the start of the run
            steps = steps // epochs * (epochs - self.first_epoch)
        scheduler = self.make_scheduler(optimizer, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _seed_draws(self, *moment: int) -> None:
        """Make what is drawn next a function of the seed and the moment of the run, whatever was drawn before."""
        number = seed_draws(self.seed, *moment)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(number)

    def _evaluate(self, batch: Batch) -> None:
        images, targets = batch
        if len(images):  # there may be fewer than processes
            self.evaluation.update(self.method.predict(images), targets)

    def _finish(self, split: str) -> None:
        self.outcome = self.evaluation.outcome()
        self.log_dict({f"{split}/{name}": value for name, value in self.scores.items()}, rank_zero_only=True)
