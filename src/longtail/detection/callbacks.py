"""What is watched while a detector is trained: which anchors its loss is made of."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from longtail import figures, runs
from longtail.detection.criterion import DetectionCriterion
from longtail.training.module import TrainingModule


class LossShares(Callback):
    """Log what the classification loss is made of, and leave it in the run directory as a table and a picture.

    The shares are those of `DetectionCriterion.shares`, of every n-th step.

    Args:
        every_n_steps: how often to look, which waits for the device.

    Raises:
        ValueError: every_n_steps is below 1.
    """

    def __init__(self, every_n_steps: int = 10) -> None:
        if not (type(every_n_steps) is int and every_n_steps >= 1):
            raise ValueError(f"every_n_steps={every_n_steps}: must be a whole number >= 1")
        self.every_n_steps = every_n_steps
        self.rows: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Look at the step, if it is one of those."""
        assert isinstance(pl_module, TrainingModule)
        if trainer.global_step % self.every_n_steps and trainer.global_step > 1:
            return
        criterion = pl_module.method.criterion
        assert isinstance(criterion, DetectionCriterion)
        shares = {name: float(value) for name, value in criterion.shares().items()}
        if shares:
            self.rows.append({"step": trainer.global_step, **shares})
            for logger in trainer.loggers:
                logger.log_metrics({f"train/{name}": v for name, v in shares.items()}, step=trainer.global_step)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write `loss_shares.csv` and its picture."""
        if trainer.is_global_zero and self.rows:
            directory = Path(trainer.default_root_dir)
            columns = {name: [row[name] for row in self.rows] for name in self.rows[0]}
            runs.write_loss_shares(directory, columns)
            (directory / "figures").mkdir(exist_ok=True)
            figures.loss_shares({"this run": columns}).savefig(directory / "figures" / "loss_shares.png", dpi=120)

    def state_dict(self) -> dict[str, Any]:
        """Return what has been seen."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.rows = list(state["rows"])
