"""What is watched while a detector is trained: what its loss is, and which anchors make it."""

import math
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from longtail import figures, runs
from longtail.detection.criterion import DetectionCriterion
from longtail.training.module import TrainingModule

FIRST, EVERY = 20, 10  # the first steps, where a training without a prior diverges, and then every tenth


class LossShares(Callback):
    """Log what the loss is made of, and leave it in the run directory as a table and a picture, even of a failed run.

    The shares are those of `DetectionCriterion.shares`, of the first 20 steps and of every tenth: reading them waits
    for the device. The table of a run that diverged ends with the first step whose loss is not finite.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Read the shares of the first 20 steps and of every tenth."""
        assert isinstance(pl_module, TrainingModule)
        step = trainer.global_step
        if step > FIRST and step % EVERY:
            return
        criterion = pl_module.method.criterion
        assert isinstance(criterion, DetectionCriterion)
        shares = {name: float(value) for name, value in criterion.shares.items()}
        self.rows.append({"step": step, "loss": float(pl_module.losses.so_far()[-1]), **shares})
        for logger in trainer.loggers if shares else ():
            logger.log_metrics({f"train/{name}": v for name, v in shares.items()}, step=step)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write `loss_shares.csv` and its picture."""
        self._write(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Write them too, up to the step that broke the loss, if one did."""
        assert isinstance(pl_module, TrainingModule)
        losses, batches = pl_module.losses.so_far().tolist(), trainer.accumulate_grad_batches
        first = trainer.global_step - len(losses) // batches + 1
        by_step = {first + i // batches: loss for i, loss in enumerate(losses)}
        if broken := next((step for step, loss in by_step.items() if not math.isfinite(loss)), None):
            self.rows = [row for row in self.rows if row["step"] < broken]
            seen = self.rows[-1]["step"] if self.rows else 0
            self.rows += [{"step": step, "loss": by_step[step]} for step in by_step if seen < step <= broken]
        self._write(trainer)

    def _write(self, trainer: L.Trainer) -> None:
        if trainer.is_global_zero and self.rows:
            directory = Path(trainer.default_root_dir)
            columns = {name: [row.get(name, math.nan) for row in self.rows] for name in self.rows[0]}
            runs.write_loss_shares(directory, columns)
            (directory / "figures").mkdir(exist_ok=True)
            figures.loss_shares({"this run": [columns]}).savefig(directory / "figures" / "loss_shares.png", dpi=120)

    def state_dict(self) -> dict[str, Any]:
        """Return what has been seen."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.rows = list(state["rows"])
