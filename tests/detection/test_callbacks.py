"""What is left of the losses of a detector's training, whether it ends well or not."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD

from longtail import runs
from longtail.detection.callbacks import LossShares
from longtail.detection.criterion import DetectionCriterion
from longtail.detection.evaluation import AveragePrecision
from longtail.detection.losses import Focal
from longtail.detection.method import Detection
from longtail.training.module import TrainingModule

pytestmark = pytest.mark.usefixtures("sketched")


def train(directory: Path, losses: list[float], before: int = 0) -> tuple[LossShares, Any, TrainingModule]:
    """Show the callback steps with these losses, the epoch's first after so many others."""
    counts = torch.tensor([3])
    criterion = DetectionCriterion(Focal(counts), torch.ones(1))
    criterion(torch.zeros(1, 2, 1), torch.tensor([[0, -1]]), torch.ones(1, 2))
    module = TrainingModule(
        Detection(nn.Linear(1, 1), criterion, counts, False),
        *(AveragePrecision(counts), nn.Identity(), None, SGD, lambda *_: None),
    )
    trainer: Any = SimpleNamespace(
        accumulate_grad_batches=1, loggers=[], is_global_zero=True, default_root_dir=directory, global_step=before
    )
    watch = LossShares()
    for loss in losses:
        module.losses.add(torch.tensor(loss))
        trainer.global_step += 1
        watch.on_train_batch_end(trainer, module)
    return watch, trainer, module


def test_the_first_steps_and_every_tenth_are_left_with_their_loss(tmp_path: Path) -> None:
    watch, trainer, module = train(tmp_path, [float(step) for step in range(1, 46)])
    watch.on_test_start(trainer, module)
    shares = runs.read_loss_shares(tmp_path)
    assert shares["step"] == shares["loss"] == [*range(1, 21), 30, 40]
    assert {"easy_negatives", "foreground", "positives"} <= shares.keys()
    assert (tmp_path / "figures/loss_shares.png").is_file()


@pytest.mark.parametrize("before", [0, 200])
@pytest.mark.parametrize(("broken", "value"), [(6, math.nan), (34, math.inf)])
def test_a_run_that_diverged_ends_with_the_step_that_broke_it(
    tmp_path: Path, before: int, broken: int, value: float
) -> None:
    losses = [1.0] * (broken - 1) + [value] + [math.nan] * (50 - broken)
    watch, trainer, module = train(tmp_path, losses, before)
    watch.on_exception(trainer, module, FloatingPointError())
    shares = runs.read_loss_shares(tmp_path)
    assert shares["step"][-2:] == [before + broken - 1, before + broken]
    assert shares["loss"][-2:] == pytest.approx([1.0, value], nan_ok=True)
    assert all(map(math.isfinite, shares["loss"][:-1]))
