"""Which epochs are kept, and how they are written; loading is tested with the runs that are evaluated."""

import errno
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from longtail.runs import CLASSIFICATION, Task
from longtail.training import checkpoints

from .test_module import make


def test_the_best_epoch_is_one_of_the_last_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    monkeypatch.setattr(
        ModelCheckpoint, "on_train_epoch_end", lambda self, trainer, module: looked.append(trainer.at)
    )
    best = checkpoints.best(tmp_path, CLASSIFICATION)
    module = make()
    module.begin(module.stage, 0, 0, 10)
    for epoch in range(10):
        trainer: Any = SimpleNamespace(max_epochs=8 if epoch < 8 else 10, at=epoch)
        best.on_train_epoch_end(trainer, module)
    assert looked == [8, 9]


@pytest.mark.parametrize(("task", "mode"), [(CLASSIFICATION, "max"), (Task("error", "error", ("error",)), "min")])
def test_the_best_epoch_is_that_of_the_primary_metric(task: Task, mode: str, tmp_path: Path) -> None:
    best = checkpoints.best(tmp_path, task)
    assert (best.monitor, best.mode) == (f"val/{task.primary}", mode)


@pytest.mark.parametrize("broken", ["write", "fsync", "replace"])
def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, files = tmp_path / "checkpoints" / "last.ckpt", checkpoints.WholeFiles()
    files.save_checkpoint({"epoch": 1}, path)

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if broken == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    elif broken == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    else:
        monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(OSError, match=r"No space left on device: .*last\.ckpt"):
        files.save_checkpoint({"epoch": 2}, path)
    monkeypatch.undo()
    assert files.load_checkpoint(path) == {"epoch": 1}
    assert [left.name for left in path.parent.iterdir()] == ["last.ckpt"]


def test_a_checkpoint_is_complete_on_the_disk_before_it_replaces_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, order = tmp_path / "last.ckpt", list[str]()
    fsync, replace = os.fsync, Path.replace

    def flush(file: int) -> None:
        order.append("flushed")
        fsync(file)

    def rename(part: Path, to: Path) -> Path:
        order.append("replaced")
        return replace(part, to)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "replace", rename)
    checkpoints.WholeFiles().save_checkpoint({"values": torch.ones(3)}, path)
    assert order == ["flushed", "replaced"]
    assert torch.equal(torch.load(path, weights_only=True)["values"], torch.ones(3))


class Steps:
    """A Trainer that saves nothing and counts."""

    world_size, accumulate_grad_batches, num_training_batches = 1, 1, 10

    def __init__(self) -> None:
        self.saved = 0

    def save_checkpoint(self, path: Path) -> None:
        self.saved += 1


def test_a_signal_waits_for_the_end_of_a_step_and_a_second_one_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    try:
        last, trainer, module = checkpoints.LastCheckpoint(tmp_path / "last.ckpt", minutes=60), Steps(), make()
        given: Any = (trainer, module)
        module.losses.add(torch.tensor(1.0))
        last.on_train_start(*given)
        last.on_train_batch_end(*given)
        assert (trainer.saved, heard) == (0, [])
        os.kill(os.getpid(), signal.SIGUSR1)
        assert heard == []
        last.on_train_batch_end(*given)
        assert (trainer.saved, heard) == (1, [signal.SIGUSR1])
        last.on_train_start(*given)
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert (trainer.saved, len(heard)) == (1, 2)
        last.on_exception(trainer, module, KeyboardInterrupt())  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGUSR1)
        assert len(heard) == 3
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_within_an_epoch_checkpoints_follow_the_clock_and_spare_its_last_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    last, trainer, module = checkpoints.LastCheckpoint(tmp_path / "last.ckpt", minutes=2), Steps(), make()
    given: Any = (trainer, module)
    last.on_train_start(*given)
    saved = []
    for step in range(1, 11):
        now = 60.0 * step
        module.losses.add(torch.tensor(1.0))
        last.on_train_batch_end(*given)
        saved.append(trainer.saved)
    assert saved == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3]
    last.on_train_epoch_end(*given)
    assert trainer.saved == 4
    last.on_train_end(*given)
