"""Checkpoints: which are kept, how they are written, and how one is loaded."""

import io
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from longtail.errors import InputError
from longtail.models.weights import BROKEN
from longtail.runs import LAST, replacing
from longtail.runs.task import Task
from longtail.signals import REQUEUE, STOP
from longtail.training.module import TrainingModule

RECORDED = {"epoch": int, "global_step": int, "drawn": torch.Tensor, "scores": dict}  # beside the weights
FILES = {"last": LAST, "best_validation": "checkpoints/best.ckpt"}  # of each `selection`
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "64-true", "bf16-true", "16-true")  # as Lightning names them


class WholeFiles(TorchCheckpointIO):
    """Write a checkpoint beside the one it replaces, so that there always is a whole one; run no code of one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write the file, flush it to the disk, and only then give it its name.

        Raises:
            OSError: it cannot be written; the one before it is untouched.
        """
        target, content = Path(path), io.BytesIO()
        torch.save(checkpoint, content)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as part, part.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(target)) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = lambda storage, _: storage, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read tensors and plain values alone."""
        return dict(torch.load(path, map_location=map_location, weights_only=True))


class LastCheckpoint(Checkpoint):
    """Keep the last state of a run: of each epoch's end, of every so many minutes, and of when it is told to stop.

    A signal during training is kept until the step has ended, and the checkpoint been written; then it goes to the
    handler that was there before. Signals without one, and a second signal, act at once.

    Args:
        path: of the file.
        minutes: from one checkpoint to the next within an epoch.

    Attributes:
        record: what is kept beside Lightning's own state.
    """

    def __init__(self, path: Path, minutes: float) -> None:
        self.path, self.minutes = path, minutes
        self.record: dict[str, Any] = {}
        self.told = 0  # the number of a signal
        self.before: dict[int, Any] = {}

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the record."""
        checkpoint.update(self.record)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the clock, and take the signals."""
        self.saved_at, self.told = time.monotonic(), 0
        if threading.current_thread() is threading.main_thread():
            self.before = {number: old for number in (*STOP, *REQUEUE) if callable(old := signal.getsignal(number))}
            for number in self.before:
                signal.signal(number, self._tell)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Save if it is time or the run was told to stop; an epoch's last step leaves that to its end."""
        assert isinstance(pl_module, TrainingModule)
        done = pl_module.losses.steps
        if done % trainer.accumulate_grad_batches or done >= trainer.num_training_batches:
            return
        due = [self.told, int(time.monotonic() - self.saved_at > 60 * self.minutes)]
        if trainer.world_size > 1:  # all processes save, and stop, or none does
            due = trainer.strategy.reduce(torch.tensor(due, device=pl_module.device), reduce_op="max").tolist()
        told, late = due
        if told or late:
            self._save(trainer, told)  # a signal that comes meanwhile is for the next step

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save."""
        self._save(trainer, self.told)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the signals back, one that came during the last save too."""
        self._give_back()
        if self.told:
            signal.raise_signal(self.told)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self._give_back()

    def _save(self, trainer: L.Trainer, told: int) -> None:
        trainer.save_checkpoint(self.path)
        self.saved_at = time.monotonic()
        if told:
            self._give_back()
            signal.raise_signal(told)

    def _tell(self, number: int, frame: Any) -> None:
        if self.told:
            self._give_back()
            signal.raise_signal(number)
        self.told = number

    def _give_back(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}


class BestOfLastStage(ModelCheckpoint):
    """Keep the best epoch of the last stage: an earlier one has trained something else."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the epoch if it is one of the last stage."""
        assert isinstance(pl_module, TrainingModule)
        if pl_module.in_last_stage(trainer):
            super().on_train_epoch_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return the best score; which file has it follows from the run."""
        return {"best_model_score": self.best_model_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best score alone: Lightning would delete the files that a checkpoint names."""
        if torch.is_tensor(score := state_dict.get("best_model_score")):
            file = self.format_checkpoint_name({})
            self.best_model_score = self.kth_value = score
            self.best_model_path = self.kth_best_model_path = file
            self.best_k_models = {file: score}


def path(run_dir: Path, selection: str) -> Path:
    """Return the checkpoint that a run is tested with."""
    return run_dir / FILES[selection]


def best(run_dir: Path, task: Task) -> BestOfLastStage:
    """Keep the best epoch on held-out images."""
    file = path(run_dir, "best_validation")
    return BestOfLastStage(
        dirpath=file.parent,
        filename=file.stem,
        monitor=f"val/{task.primary}",
        mode="min" if task.primary in task.lower_is_better else "max",
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )


def read(file: Path) -> dict[str, Any]:
    """Read a checkpoint of a run, tensors and plain values alone.

    Raises:
        InputError: it is missing, broken, or no checkpoint of a run.
    """
    try:
        if file.exists() and not file.is_file():
            raise InputError(f"checkpoint={file}: must be a file")  # a pipe may be waited for without end
        saved = torch.load(file, map_location="cpu", weights_only=True)
        if wrong := [name for name, kind in RECORDED.items() if not isinstance(saved.get(name), kind)]:
            raise InputError(f"checkpoint={file}: must be one of a run: its {wrong[0]} is missing or wrong")
        if (precision := saved.get("precision", "32-true")) not in PRECISIONS:
            raise InputError(f"checkpoint={file}: must be one of a run: its precision is {precision!r}")
    except FileNotFoundError as error:
        raise InputError(f"checkpoint={file}: no such file") from error
    except BROKEN as error:
        reason = f"it cannot be read as a checkpoint ({type(error).__name__})"
        raise InputError(f"checkpoint={file}: must be one of this run's model: {reason}") from error
    return dict(saved)


def load(module: TrainingModule, file: Path) -> dict[str, Any]:
    """Load a checkpoint's weights, safely; return the whole checkpoint, with the validation scores of its epoch.

    Its method is put into the stage that the checkpoint is of.

    Raises:
        InputError: it is missing, broken, or of another shape than the module.
    """
    saved, stages = read(file), module.method.stages()
    if saved.get("stage") in range(len(stages) - 1):  # an interrupted run's
        module.method.begin(stages[saved["stage"]])
    try:
        module.load_state_dict(present_names(saved["state_dict"]))
    except BROKEN as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        mismatch = len(lines) > 1 and "Error(s) in loading" in lines[0]
        reason = lines[1] if mismatch else f"it cannot be read as a checkpoint ({type(error).__name__})"
        raise InputError(f"checkpoint={file}: must be one of this run's model: {reason}") from error
    return saved


def present_names(state: dict[str, Any]) -> dict[str, Any]:
    """Rename the entries of a checkpoint from before there were methods, which held the class weights too."""
    kept = {name: value for name, value in state.items() if name != "weights"}
    return {f"method.{name}" if name.startswith("model.") else name: value for name, value in kept.items()}
