"""Which epochs are kept; loading is tested with the runs that are evaluated."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from longtail.runs import CLASSIFICATION, Task
from longtail.training import checkpoints

from .test_module import make


def test_the_best_epoch_is_one_of_the_last_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    monkeypatch.setattr(
        ModelCheckpoint, "on_train_epoch_end", lambda self, trainer, module: looked.append(trainer.at)
    )
    best, last = checkpoints.callbacks(tmp_path, "best_validation", CLASSIFICATION)
    module = make()
    module.begin(module.stage, 0, 10)
    for epoch in range(10):
        trainer: Any = SimpleNamespace(max_epochs=8 if epoch < 8 else 10, at=epoch)
        best.on_train_epoch_end(trainer, module)
    assert looked == [8, 9]
    last.on_train_epoch_end(SimpleNamespace(max_epochs=8, at=0), module)  # type: ignore[arg-type]
    assert looked == [8, 9, 0]


@pytest.mark.parametrize(("task", "mode"), [(CLASSIFICATION, "max"), (Task("error", "error", ("error",)), "min")])
def test_the_best_epoch_is_that_of_the_primary_metric(task: Task, mode: str, tmp_path: Path) -> None:
    best, _ = checkpoints.callbacks(tmp_path, "best_validation", task)
    assert (best.monitor, best.mode) == (f"val/{task.primary}", mode)
    assert len(checkpoints.callbacks(tmp_path, "last", task)) == 1
