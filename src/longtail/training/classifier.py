"""The training and evaluation step of a classifier, the same for every loss, weighting and model."""

from collections.abc import Callable, Iterable
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric

from longtail.metrics import count_confusions, count_hits, summarise
from longtail.training.data import Batch

REDUCTIONS = ("batch_mean", "weighted_mean")
MAX_CONFUSION_CLASSES = 1000


class Evaluation(Metric):
    """What an evaluation counts: the loss, and the confusion matrix, or for C > 1000 hits and support per class."""

    full_state_update = False
    hits: Tensor
    support: Tensor
    loss_sum: Tensor
    confusion: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.keeps_confusion = num_classes <= MAX_CONFUSION_CLASSES
        shapes: dict[str, tuple[int, ...]] = {"hits": (num_classes,), "support": (num_classes,)}
        if self.keeps_confusion:
            shapes = {"confusion": (num_classes, num_classes)}
        for name, shape in shapes.items():
            self.add_state(name, torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("loss_sum", torch.zeros(()), dist_reduce_fx="sum")  # not every device has float64

    def update(self, logits: Tensor, targets: Tensor, losses: Tensor) -> None:
        """Count a batch: logits (B, C), targets (B,), unreduced losses (B,)."""
        self.loss_sum += losses.sum()
        if self.keeps_confusion:
            count_confusions(logits, targets, self.confusion)
        else:
            count_hits(logits, targets, (self.hits, self.support))

    def compute(self) -> dict[str, Tensor]:
        """Loss, `hits` (C,), `support` (C,) and for C <= 1000 `confusion` (C, C), of all processes, on the CPU."""
        if self.keeps_confusion:
            confusion = self.confusion.cpu()
            counts = {"hits": confusion.diagonal().clone(), "support": confusion.sum(1), "confusion": confusion}
        else:
            counts = {"hits": self.hits.cpu(), "support": self.support.cpu()}
        return counts | {"loss": self.loss_sum.cpu() / counts["support"].sum()}


class Classifier(L.LightningModule):
    """A model trained with a loss and class weights, and evaluated per class.

    Args:
        model: images (B, channels, H, W) -> logits (B, C), its last linear layer at `.head`.
        loss: logits (B, C), targets (B,) -> (B,).
        weights: of the classes, (C,).
        class_counts: training images per class, (C,).
        normalize: uint8 (B, H, W, channels) -> float (B, channels, H, W).
        augment: uint8 (B, H, W, channels) -> the same, for training batches; None for none.
        optimizer: (parameter groups) -> optimizer.
        scheduler: (optimizer, total_steps=) -> scheduler, stepped every batch.
        reduction: "batch_mean", sum_b w_b L_b / B (the papers'), or "weighted_mean", sum_b w_b L_b / sum_b w_b
            (PyTorch's).

    During an epoch nothing is read back from the device: losses and counts stay there until somebody looks.

    Attributes:
        drawn: how often each class was drawn for training, (C,) int64, over all processes once training has ended.
        counts: the last evaluation's `Evaluation.compute()`.
        scores: the last evaluation's scalar metrics.

    Raises:
        ValueError: the reduction is unknown.
    """

    weights: Tensor
    counts: dict[str, Tensor]
    scores: dict[str, float]

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Module,
        weights: Tensor,
        class_counts: Tensor,
        normalize: nn.Module,
        augment: nn.Module | None,
        optimizer: Callable[[Iterable[dict[str, Any]]], Optimizer],
        scheduler: Callable[..., Any],
        reduction: str = "batch_mean",
    ) -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction={reduction}: must be {' or '.join(REDUCTIONS)}")
        self.model = model.to(memory_format=torch.channels_last)
        self.loss, self.reduction = loss, reduction
        self.normalize, self.augment = normalize, augment
        self.register_buffer("weights", weights)
        # No buffers: those are overwritten by the first process's in distributed training.
        self.drawn = torch.zeros(len(weights), dtype=torch.int64)
        self._losses, self._steps = torch.zeros(1024), 0
        self.class_counts = class_counts
        self.evaluation = Evaluation(len(weights))
        self.counts, self.scores = {}, {}
        self._make_optimizer, self._make_scheduler = optimizer, scheduler
        self.initial_bias: float | None = getattr(loss, "initial_bias", None)
        if self.initial_bias is not None:
            nn.init.constant_(self._head().bias, self.initial_bias)

    def __setattr__(self, name: str, value: Any) -> None:
        """As every module, but faster at Lightning's note of the hook that runs: about fifty notes a step."""
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, channels, H, W) -> logits (B, C)."""
        logits: Tensor = self.model(images)
        return logits

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment and normalise the whole batch where it will be used."""
        images, targets = batch
        if self.augment is not None and self.trainer.training:
            images = self.augment(images)
        return self.normalize(images), targets

    def on_train_epoch_start(self) -> None:
        """Start a new list of losses, on the device."""
        self.drawn, self._losses = self.drawn.to(self.device), self._losses.to(self.device)
        self._steps = 0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The weighted, reduced loss of a batch; keeps it, and counts which classes were drawn."""
        images, targets = batch
        loss = self.reduce(self.loss(self(images).float(), targets), targets)
        self.drawn.index_add_(0, targets, torch.ones_like(targets))
        if self._steps == len(self._losses):
            self._losses = torch.cat((self._losses, torch.zeros_like(self._losses)))
        self._losses[self._steps] = loss.detach()
        self._steps += 1
        return loss

    @property
    def losses(self) -> Tensor:
        """The training losses of the epoch so far, (steps,), on the device."""
        return self._losses[: self._steps]

    def reduce(self, losses: Tensor, targets: Tensor) -> Tensor:
        """Weight the losses (B,) by the class of their target and reduce them to a scalar."""
        weights = self.weights[targets]
        total = (weights * losses).sum()
        return total / (len(losses) if self.reduction == "batch_mean" else weights.sum())

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count a batch of held-out images."""
        self._evaluate(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Count a batch of test images."""
        self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics under `val/`."""
        self._conclude("val")

    def on_train_end(self) -> None:
        """Add up what the processes drew."""
        self.drawn = self.trainer.strategy.reduce(self.drawn, reduce_op="sum").cpu()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the epoch's validation scores, the drawn classes and the precision beside the weights."""
        checkpoint["scores"], checkpoint["drawn"] = self.scores, self.drawn.cpu()
        checkpoint["precision"] = self.trainer.precision

    def on_test_epoch_end(self) -> None:
        """Log the metrics under `test/`."""
        self._conclude("test")

    def configure_optimizers(self) -> Any:
        """The optimizer, without weight decay on a prior bias, and the schedule, stepped every batch."""
        spared = {id(self._head().bias)} if self.initial_bias is not None else set()
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.parameters() if p.requires_grad and id(p) not in spared]}
        ]
        if spared:
            groups.append({"params": [self._head().bias], "weight_decay": 0.0})
        optimizer = self._make_optimizer(groups)
        scheduler = self._make_scheduler(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _evaluate(self, batch: Batch) -> None:
        images, targets = batch
        logits = self(images).float()
        self.evaluation.update(logits, targets, self.loss(logits, targets))

    def _conclude(self, stage: str) -> None:
        self.counts = self.evaluation.compute()
        self.evaluation.reset()
        self.scores = summarise(self.counts["hits"], self.counts["support"], self.class_counts)
        self.scores["loss"] = float(self.counts["loss"])
        self.log_dict({f"{stage}/{name}": value for name, value in self.scores.items()}, rank_zero_only=True)

    def _head(self) -> nn.Linear:
        head = getattr(self.model, "head", None)
        if not isinstance(head, nn.Linear) or head.bias is None:
            raise ValueError(
                f"model={type(self.model).__name__}: must have its last linear layer, with bias, at .head"
            )
        return head
