"""What is watched during training."""

import io
import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from torch import Tensor, nn
from torch.optim import SGD

from longtail.augment import Normalize
from longtail.datasets import digits
from longtail.imbalance import exponential
from longtail.losses import Softmax
from longtail.methods import Criterion, Method
from longtail.models import SmallCNN
from longtail.samplers import Random
from longtail.schedulers import cosine
from longtail.training import checkpoints
from longtail.training.callbacks import Curves, ProgressBar, StopOnNonFiniteLoss, shares_drawn
from longtail.training.data import LongTailData
from longtail.training.evaluation import Classification, Outcome
from longtail.training.fit import fit
from longtail.training.module import TrainingModule

BAD = [float("nan"), float("inf"), -float("inf")]


def trainer(step: int, **facts: Any) -> Any:
    return SimpleNamespace(global_step=step, current_epoch=0, accumulate_grad_batches=1, **facts)


def some_module(*losses: float) -> TrainingModule:
    """A module that has had these losses in the epoch so far."""
    linear, counts = nn.Linear(1, 2), torch.tensor([30, 5])
    linear.head = nn.Linear(1, 2)
    criterion = Criterion(nn.Identity(), torch.ones(2))
    method, evaluation = Method(linear, criterion, counts), Classification(counts, criterion.losses)
    module = TrainingModule(method, evaluation, nn.Identity(), None, SGD, lambda *_: None)
    for loss in losses:
        module.losses.add(torch.tensor(loss))
    return module


@pytest.mark.parametrize("value", BAD)
def test_a_broken_loss_is_found_now_and_then_but_named_exactly(value: float) -> None:
    guard = StopOnNonFiniteLoss(every_n_steps=3)
    guard.on_train_batch_end(trainer(101), some_module(1.0))
    guard.on_train_batch_end(trainer(102), some_module(1.0, value))
    with pytest.raises(FloatingPointError, match=r"not finite at step 102 "):
        guard.on_train_batch_end(trainer(103), some_module(1.0, value, value))


def test_a_broken_loss_is_found_at_the_epochs_end_at_the_latest() -> None:
    guard = StopOnNonFiniteLoss()
    guard.on_train_batch_end(trainer(1), some_module(math.nan))
    with pytest.raises(FloatingPointError, match=r"not finite at step 1 "):
        guard.on_train_epoch_end(trainer(1), some_module(math.nan))


def test_a_broken_loss_is_found_before_a_validation() -> None:
    guard = StopOnNonFiniteLoss()
    guard.on_validation_start(trainer(0), some_module())  # before the first step
    with pytest.raises(FloatingPointError, match=r"not finite at step 2 "):
        guard.on_validation_start(trainer(2), some_module(1.0, math.nan))


def test_broken_parameters_are_found_before_the_epochs_checkpoint() -> None:
    module = some_module(1.0)

    guard = StopOnNonFiniteLoss()
    guard.on_train_epoch_end(trainer(5), module)
    nn.init.constant_(module.get_parameter("method.model.head.weight"), float("nan"))
    with pytest.raises(FloatingPointError, match=r"parameter method.model.head.weight is not finite after step 5"):
        guard.on_train_epoch_end(trainer(5), module)


def test_without_a_terminal_progress_is_ten_lines() -> None:
    output = io.StringIO()
    bar = ProgressBar(output=Console(file=output, width=200))
    facts: dict[str, Any] = {"max_epochs": 30, "num_training_batches": 2}
    module = some_module(1.0, 2.0)
    bar.on_train_start(trainer(0, **facts), module)
    for epoch in range(30):
        now = trainer(2 * epoch, **facts)
        now.current_epoch = epoch
        module.outcome = Outcome({"accuracy": 0.5, "accuracy_std": 0.25}, [], [])
        bar.on_train_batch_end(now, module, None, None, 1)
        bar.on_train_epoch_end(now, module)
    bar.on_train_end(trainer(60, **facts), module)
    lines = output.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[-1] == "epoch 30/30  loss 1.5000  val accuracy 0.500  std 0.250"


def test_in_a_terminal_progress_shows_epoch_loss_and_validation() -> None:
    output = io.StringIO()
    bar = ProgressBar(output=Console(file=output, width=120, force_terminal=True))
    facts: dict[str, Any] = {"max_epochs": 3, "num_training_batches": 2}
    module = some_module(0.5, 1.0)
    bar.on_train_start(trainer(0, **facts), module)
    now = trainer(2, **facts)
    module.outcome = Outcome({"accuracy": 0.875, "accuracy_std": 0.125}, [], [])
    bar.on_train_batch_end(now, module, None, None, 1)
    bar.on_train_epoch_end(now, module)
    bar.on_train_end(now, module)
    assert "epoch 1/3" in output.getvalue()
    assert "loss 0.7500  val accuracy 0.875  std 0.125" in output.getvalue()


def test_curves_log_the_mean_loss_since_the_last_time() -> None:
    logged: list[tuple[dict[str, float], int]] = []
    logger = SimpleNamespace(log_metrics=lambda metrics, step: logged.append((metrics, step)))
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.25}])
    facts: dict[str, Any] = {"loggers": [logger], "optimizers": [optimizer], "log_every_n_steps": 2}
    curves, losses = Curves(), [1.0, 2.0, 5.0]
    for step in (1, 2, 3):
        curves.on_train_batch_end(trainer(step, **facts), some_module(*losses[:step]))
    curves.on_train_epoch_end(trainer(3, **facts), some_module(*losses))
    assert logged == [({"train/loss": 1.5, "train/lr": 0.25}, 2), ({"train/loss": 5.0, "train/lr": 0.25}, 3)]


def test_the_shares_drawn_tell_a_balancing_sampler_from_a_plain_one() -> None:
    train_counts = torch.tensor([300, 100, 20, 5])
    plain = shares_drawn(train_counts, train_counts)
    balanced = shares_drawn(torch.tensor([7, 7, 7, 7]), train_counts)
    assert balanced == {
        "sampler/share_many": 0.25,
        "sampler/share_medium": 0.5,
        "sampler/share_few": 0.25,
        "sampler/share_std": 0.0,
    }
    assert plain["sampler/share_many"] == pytest.approx(300 / 425)
    assert plain["sampler/share_few"] == pytest.approx(5 / 425)
    assert plain["sampler/share_std"] == pytest.approx((train_counts / 425).std(correction=0).item())


def test_a_group_without_classes_has_no_share() -> None:
    assert set(shares_drawn(torch.tensor([1, 1]), torch.tensor([5, 5]))) == {"sampler/share_few", "sampler/share_std"}


@pytest.mark.parametrize("with_logger", [True, False])
def test_curves_log_what_was_drawn_in_the_epoch_alone(with_logger: bool) -> None:
    logged: list[dict[str, float]] = []
    logger = SimpleNamespace(log_metrics=lambda metrics, step: logged.append(metrics))
    now = trainer(3, loggers=[logger] if with_logger else [])
    module = some_module()
    module.evaluation.drawn += torch.tensor([9, 1])  # by an earlier training
    curves = Curves()
    for drawn in ([3, 1], [0, 4]):
        curves.on_train_epoch_start(now, module)
        module.evaluation.drawn += torch.tensor(drawn)
        curves.on_train_epoch_end(now, module)
    few = [metrics["sampler/share_few"] for metrics in logged]
    assert few == ([0.25, 1.0] if with_logger else [])


def test_averaged_weights_are_validated_tested_and_saved(tmp_path: Path) -> None:
    # By hand: the mean that decays by 0.5 at each step; the first step's weights are its start.
    averaging = pytest.importorskip("lightning.pytorch.callbacks.weight_averaging")  # of lightning >= 2.6
    seen: dict[str, list[Tensor]] = {"step": [], "val": [], "test": []}

    class Watch(Callback):
        def note(self, kind: str, module: L.LightningModule) -> None:
            seen[kind].append(module.get_parameter("method.model.head.weight").detach().clone())

        def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
            self.note("step", pl_module)

        def on_validation_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
            self.note("val", pl_module)

        def on_test_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
            self.note("test", pl_module)

    data = LongTailData(digits(), partial(exponential, ratio=20), partial(Random, batch_size=128), 5)
    module, last = tiny(data), checkpoints.LastCheckpoint(checkpoints.path(tmp_path, "last"), minutes=60)
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=2, limit_train_batches=2, logger=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False,
        callbacks=[averaging.EMAWeightAveraging(decay=0.5), Watch(), last],
    )  # fmt: skip
    fit(trainer, module, data)
    trainer.test(module, datamodule=data, verbose=False)
    expected = seen["step"][0]
    for weights in seen["step"][1:]:
        expected = 0.5 * expected + 0.5 * weights
    torch.testing.assert_close(seen["test"][0], expected)
    torch.testing.assert_close(seen["val"][-1], expected)
    assert not torch.allclose(seen["step"][-1], expected)
    again = tiny(data)
    checkpoints.load(again, checkpoints.path(tmp_path, "last"))
    torch.testing.assert_close(again.get_parameter("method.model.head.weight").detach(), expected)
    assert torch.equal(module.evaluation.class_counts, data.class_counts)


def tiny(data: LongTailData) -> TrainingModule:
    """A small model on the data."""
    counts = data.class_counts
    criterion = Criterion(Softmax(counts), torch.ones(len(counts)))
    method = Method(SmallCNN(1, len(counts), width=2), criterion, counts)
    normalize, evaluation = Normalize(torch.zeros(1), torch.ones(1)), Classification(counts, criterion.losses)
    return TrainingModule(method, evaluation, normalize, None, partial(SGD, lr=0.1), cosine)
