"""Checkpoints: which are kept, and how one is loaded."""

import pickle
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from longtail.errors import InputError
from longtail.runs.task import Task
from longtail.training.module import TrainingModule

RECORDED = {"epoch": int, "global_step": int, "drawn": torch.Tensor, "scores": dict}  # beside the weights
FILES = {"last": "last", "best_validation": "best"}  # of each `selection`


class BestOfLastStage(ModelCheckpoint):
    """Keep the best epoch of the last stage: an earlier one has trained something else."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look at the epoch if it is one of the last stage."""
        assert isinstance(pl_module, TrainingModule)
        if pl_module.in_last_stage(trainer):
            super().on_train_epoch_end(trainer, pl_module)


def path(run_dir: Path, selection: str) -> Path:
    """Return the checkpoint that a run is tested with."""
    return run_dir / "checkpoints" / f"{FILES[selection]}.ckpt"


def callbacks(run_dir: Path, selection: str, task: Task) -> list[ModelCheckpoint]:
    """Keep the last epoch, and the best one on held-out images if that is to be tested."""
    common: dict[str, Any] = {
        "dirpath": run_dir / "checkpoints",
        "enable_version_counter": False,
        "save_on_train_epoch_end": True,
    }
    last = ModelCheckpoint(filename=FILES["last"], **common)
    if selection == "last":
        return [last]
    mode = "min" if task.primary in task.lower_is_better else "max"
    best = BestOfLastStage(filename=FILES[selection], monitor=f"val/{task.primary}", mode=mode, **common)
    return [best, last]


def load(module: TrainingModule, checkpoint: Path) -> dict[str, Any]:
    """Load a checkpoint's weights, safely; return the whole checkpoint, with the validation scores of its epoch.

    Raises:
        InputError: it is missing, broken, or of another shape than the module.
    """
    try:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        module.load_state_dict(present_names(saved["state_dict"]))
        if wrong := [name for name, kind in RECORDED.items() if not isinstance(saved.get(name), kind)]:
            raise InputError(f"checkpoint={checkpoint}: must be one of a run: its {wrong[0]} is missing or wrong")
    except FileNotFoundError as error:
        raise InputError(f"checkpoint={checkpoint}: no such file") from error
    except (RuntimeError, KeyError, TypeError, AttributeError, EOFError, OSError, pickle.UnpicklingError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        mismatch = len(lines) > 1 and "Error(s) in loading" in lines[0]
        reason = lines[1] if mismatch else f"it cannot be read as a checkpoint ({type(error).__name__})"
        raise InputError(f"checkpoint={checkpoint}: must be one of this run's model: {reason}") from error
    return dict(saved)


def present_names(state: dict[str, Any]) -> dict[str, Any]:
    """Rename the entries of a checkpoint from before there were methods, which held the class weights too."""
    kept = {name: value for name, value in state.items() if name != "weights"}
    return {f"method.{name}" if name.startswith("model.") else name: value for name, value in kept.items()}
