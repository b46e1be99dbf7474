"""What is watched during training."""

import io
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from rich.console import Console
from torch import nn

from longtail.callbacks import Curves, ProgressBar, StopOnNonFiniteLoss

BAD = [float("nan"), float("inf"), -float("inf")]


def trainer(step: int, **facts: Any) -> Any:
    return SimpleNamespace(global_step=step, current_epoch=0, callback_metrics={}, **facts)


@pytest.mark.parametrize("value", BAD)
def test_a_broken_loss_ends_the_run_at_its_step(value: float) -> None:
    guard, module = StopOnNonFiniteLoss(), L.LightningModule()
    for step in (1, 2, 3):
        guard.on_train_batch_end(trainer(step), module, {"loss": torch.tensor(1.0)})
    with pytest.raises(FloatingPointError, match=r"not finite at step 4 "):
        guard.on_train_batch_end(trainer(4), module, {"loss": torch.tensor(value)})


def test_a_loss_on_a_device_is_looked_at_now_and_then_but_named_exactly() -> None:
    class OnDevice(StopOnNonFiniteLoss):
        def _check(self, trainer: L.Trainer) -> None:
            if trainer.global_step % self.every_n_steps == 0:
                super()._check(trainer)

    guard, module = OnDevice(every_n_steps=5), L.LightningModule()
    guard.on_train_batch_end(trainer(6), module, {"loss": torch.tensor(1.0)})
    guard.on_train_batch_end(trainer(7), module, {"loss": torch.tensor(float("nan"))})
    guard.on_train_batch_end(trainer(8), module, {"loss": torch.tensor(float("nan"))})
    with pytest.raises(FloatingPointError, match=r"step 7 "):
        guard.on_train_batch_end(trainer(10), module, {"loss": torch.tensor(float("inf"))})


def test_broken_parameters_are_found_before_the_epochs_checkpoint() -> None:
    module = L.LightningModule()
    module.layer = nn.Linear(2, 2)
    guard = StopOnNonFiniteLoss()
    guard.on_train_epoch_end(trainer(5), module)
    nn.init.constant_(module.layer.weight, float("nan"))
    with pytest.raises(FloatingPointError, match=r"parameter layer.weight is not finite after step 5"):
        guard.on_train_epoch_end(trainer(5), module)


def test_without_a_terminal_progress_is_ten_lines() -> None:
    output = io.StringIO()
    bar = ProgressBar(Console(file=output, width=200))
    facts: dict[str, Any] = {"max_epochs": 30, "estimated_stepping_batches": 60}
    module = L.LightningModule()
    bar.on_train_start(trainer(0, **facts), module)
    for epoch in range(30):
        now = trainer(2 * epoch, **facts)
        now.current_epoch = epoch
        now.callback_metrics = {"val/accuracy": torch.tensor(0.5), "val/accuracy_std": torch.tensor(0.25)}
        bar.on_train_batch_end(now, module, {"loss": torch.tensor(1.5)})
        bar.on_train_epoch_end(now, module)
    bar.on_train_end(trainer(60, **facts), module)
    lines = output.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[-1] == "epoch 30/30  loss 1.5000  val accuracy 0.500  std 0.250"


def test_in_a_terminal_progress_shows_epoch_loss_and_validation() -> None:
    output = io.StringIO()
    bar = ProgressBar(Console(file=output, width=120, force_terminal=True))
    facts: dict[str, Any] = {"max_epochs": 3, "estimated_stepping_batches": 6}
    module = L.LightningModule()
    bar.on_train_start(trainer(0, **facts), module)
    now = trainer(2, **facts)
    now.callback_metrics = {"val/accuracy": torch.tensor(0.875), "val/accuracy_std": torch.tensor(0.125)}
    bar.on_train_batch_end(now, module, {"loss": torch.tensor(0.75)})
    bar.on_train_epoch_end(now, module)
    bar.on_train_end(now, module)
    assert "epoch 1/3" in output.getvalue()
    assert "loss 0.7500  val accuracy 0.875  std 0.125" in output.getvalue()


def test_curves_log_the_mean_loss_since_the_last_time() -> None:
    logged: list[tuple[dict[str, float], int]] = []
    logger = SimpleNamespace(log_metrics=lambda metrics, step: logged.append((metrics, step)))
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.25}])
    facts: dict[str, Any] = {"loggers": [logger], "optimizers": [optimizer], "log_every_n_steps": 2}
    curves, module = Curves(["a", "b"]), L.LightningModule()
    for step, value in enumerate([1.0, 2.0, 5.0], start=1):
        curves.on_train_batch_end(trainer(step, **facts), module, {"loss": torch.tensor(value)})
    curves.on_train_epoch_end(trainer(3, **facts), module)
    assert logged == [({"train/loss": 1.5, "train/lr": 0.25}, 2), ({"train/loss": 5.0, "train/lr": 0.25}, 3)]
