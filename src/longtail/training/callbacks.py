"""What is watched during training: progress in the terminal, a loss that breaks, curves for W&B.

The module keeps the losses of an epoch's steps on the device. The callbacks look at them a few times a second or
every `log_every_n_steps` steps, because each look waits for the device.
"""

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from longtail.errors import console
from longtail.metrics import OLTR, Shots, groups
from longtail.ranges import check_whole
from longtail.runs import safe_names
from longtail.training.evaluation import MAX_CONFUSION_CLASSES
from longtail.training.module import TrainingModule

SECONDS_BETWEEN_LOOKS = 0.25


class ProgressBar(Callback):
    """One bar for the whole run: epoch, mean loss of the epoch, validation score and its deviation over classes.

    Where the output is no terminal, some lines instead.

    Args:
        lines: how many lines to print where there is no terminal.
        output: where to write; None for the run's own console.
    """

    def __init__(self, lines: int = 10, output: Console | None = None) -> None:
        check_whole("lines", lines, 0)
        self.console, self.lines = output or console, lines
        self.loss = self.validation = ""
        self.read_at = 0.0
        self.bar: Progress | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the bar; a further stage of the run goes on in it."""
        if self.bar is not None:
            return
        columns = (TextColumn("{task.description}"), BarColumn(None), TextColumn("{task.fields[scores]}"))
        self.bar = Progress(
            *columns,
            TimeRemainingColumn(),
            console=self.console,
            refresh_per_second=4,
            disable=not self.console.is_terminal,
        )
        self.total_epochs = _module(pl_module).epochs or trainer.max_epochs or 1
        self.task = self.bar.add_task("", total=self.total_epochs, scores="")
        self.bar.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Now and then read the loss."""
        if self.console.is_terminal and time.monotonic() - self.read_at > SECONDS_BETWEEN_LOOKS:
            self.read_at = time.monotonic()
            self._show(trainer, pl_module, (batch_idx + 1) / trainer.num_training_batches)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the epoch; without a terminal print a line for it if it is one of the ten."""
        scores, task = _module(pl_module).scores, _module(pl_module).evaluation.task
        if scores:
            primary, spread = (scores[name] for name in task.compared)
            self.validation = f"  val {task.primary} {primary:.3f}  std {spread:.3f}"
        epoch = trainer.current_epoch + 1
        milestone = epoch * self.lines // self.total_epochs > (epoch - 1) * self.lines // self.total_epochs
        if self.console.is_terminal or milestone:
            self._show(trainer, pl_module, 1.0)
        if not self.console.is_terminal and milestone:
            self.console.print(f"epoch {epoch}/{self.total_epochs}  {self.loss}{self.validation}", soft_wrap=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the finished bar once the run ends."""
        if self.bar is not None and _module(pl_module).in_last_stage(trainer):
            self.bar.stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        if self.bar is not None:
            self.bar.stop()

    def _show(self, trainer: L.Trainer, pl_module: L.LightningModule, part_of_epoch: float) -> None:
        assert self.bar is not None
        self.loss = f"loss {float(_module(pl_module).losses.so_far().mean()):.4f}"
        self.bar.update(
            self.task,
            completed=trainer.current_epoch + part_of_epoch,
            description=f"epoch {trainer.current_epoch + 1}/{self.total_epochs}",
            scores=self.loss + self.validation,
        )


class StopOnNonFiniteLoss(Callback):
    """End the run when the loss, or at an epoch's end a parameter, is NaN or infinite.

    It comes before the checkpoint of the epoch, so the last checkpoint is the last good one. The losses are looked at
    every `every_n_steps` steps, before a validation and at an epoch's end; the step named is exact.

    Raises:
        FloatingPointError: with the step and the epoch.
    """

    def __init__(self, every_n_steps: int = 50) -> None:
        check_whole("every_n_steps", every_n_steps)
        self.every_n_steps, self.steps = every_n_steps, 0

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Look at the losses now and then."""
        self.steps += 1
        if self.steps % self.every_n_steps == 0:
            self._check(trainer, pl_module)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look before the epoch's validation, which may find nothing to predict."""
        self.on_train_epoch_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the parameters too: the last step of the epoch may have broken them."""
        self._check(trainer, pl_module)
        for name, parameter in pl_module.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                raise FloatingPointError(
                    f"parameter {name} is not finite after step {trainer.global_step}"
                    f" (epoch {trainer.current_epoch + 1}); a lower optimizer.lr may help"
                )

    def _check(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        losses, batches = _module(pl_module).losses.so_far(), trainer.accumulate_grad_batches
        broken = (~losses.isfinite()).nonzero()
        if len(broken):
            step = trainer.global_step - len(losses) // batches + int(broken[0]) // batches + 1
            raise FloatingPointError(
                f"train/loss is not finite at step {step} (epoch {trainer.current_epoch + 1});"
                " a lower optimizer.lr may help"
            )


class EarlierHandler(Callback):
    """Leave SIGTERM to the handler before Lightning's, which waits for the other processes for ever."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Look at the handler before Lightning replaces it."""
        self.handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put it back."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.handler)

    on_sanity_check_start = on_test_start = on_train_start


class AfterSteps(Callback):
    """Call a function once, after a number of training steps.

    Args:
        steps: how many.
        call: what is called.
    """

    def __init__(self, steps: int, call: Callable[[], object]) -> None:
        self.steps, self.call = steps, call

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Count down."""
        self.steps -= 1
        if self.steps == 0:
            self.call()


class Curves(Callback):
    """Send curves to the loggers: mean loss and learning rate, shares drawn, validation scores per class.

    The loss is the mean since it was last logged, which is every `log_every_n_steps` steps and at an epoch's end.
    What the sampler drew is read once per epoch.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.drawn_before: Tensor | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return what has not been logged yet."""
        return {"steps": self.steps, "drawn_before": self.drawn_before}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.steps, self.drawn_before = state_dict["steps"], state_dict["drawn_before"]

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember what was drawn before the first of this training's epochs."""
        if trainer.loggers and self.drawn_before is None:
            self.drawn_before = _module(pl_module).evaluation.drawn.to("cpu", copy=True)  # counted on, in place

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Count the step, and now and then log the loss."""
        self.steps += 1
        if self.steps >= trainer.log_every_n_steps > 0:  # type: ignore[attr-defined]
            self._log_loss(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log what is left of the epoch, and what was drawn in it."""
        if self.steps:
            self._log_loss(trainer, pl_module)
        if self.drawn_before is not None:
            evaluation = _module(pl_module).evaluation
            drawn = evaluation.drawn.to("cpu", copy=True)
            self._log(trainer, shares_drawn(drawn - self.drawn_before, evaluation.class_counts, evaluation.shots))
            self.drawn_before = drawn

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the score of each class by the logger's own call, much faster than `self.log` for many keys."""
        outcome = _module(pl_module).outcome
        if trainer.loggers and outcome and len(outcome.per_class) <= MAX_CONFUSION_CLASSES:
            names = safe_names(trainer.datamodule.class_names)  # type: ignore[attr-defined]
            scores = zip(names, outcome.per_class, strict=True)
            self._log(trainer, {f"val/class/{name}": score for name, score in scores})

    def _log_loss(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.loggers:
            loss = float(_module(pl_module).losses.so_far()[-self.steps :].mean())
            self._log(trainer, {"train/loss": loss, "train/lr": trainer.optimizers[0].param_groups[0]["lr"]})
        self.steps = 0

    def _log(self, trainer: L.Trainer, metrics: dict[str, float]) -> None:
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.global_step)


def shares_drawn(drawn: Tensor, train_counts: Tensor, shots: Shots = OLTR) -> dict[str, float]:
    """What a sampler made of the tail in an epoch, so that one that is off shows at once.

    Args:
        drawn: how often each class was drawn, (C,) int64, of one process.
        train_counts: training images per class, (C,).
        shots: which classes are many, medium and few.

    Returns:
        `sampler/share_many`, `_medium`, `_few`: the share of the images drawn that are of the group's classes, in
        [0, 1], for the groups that have classes; `sampler/share_std`: the population (ddof 0) standard deviation of
        the shares of the C classes, 0 where all are drawn alike.
    """
    shares = drawn.double() / drawn.sum()
    members = ((name, member) for name, member in groups(train_counts.cpu(), shots) if bool(member.any()))
    logged = {f"sampler/share_{name}": float(shares[member].sum()) for name, member in members}
    return logged | {"sampler/share_std": float(shares.std(correction=0))}


def _module(pl_module: L.LightningModule) -> TrainingModule:
    assert isinstance(pl_module, TrainingModule)
    return pl_module
