"""Decoupled training: learn the features by one method, then go on from them with another classifier."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from longtail.methods.criterion import Criterion
from longtail.methods.method import Augment, Method, Stage


class Following(Method):
    """Train as another method does, then go on.

    The base of whatever follows an ordinary or a mixing training. A subclass appends its stages to `further`.

    Args:
        model: see `Method`.
        criterion: see `Method`.
        class_counts: see `Method`.
        first: (model, criterion, class_counts=) -> the method that comes first, of one stage and one head; None for
            ordinary training.

    Raises:
        ValueError: the first method does not fit, or a setting of it, named `first.alpha` and the like.

    Attributes:
        further: the stages after that of the first method; their shares are taken from it.
        reached: the one of them that the run has reached, from 1; 0 during the first method's.
    """

    def __init__(
        self, model: nn.Module, criterion: Criterion, class_counts: Tensor, first: Callable[..., Method] | None = None
    ) -> None:
        check_makers(first=first)
        super().__init__(model, criterion, class_counts)
        head = model.head
        try:
            self.first = (first or Method)(model, criterion, class_counts=class_counts)
        except ValueError as error:
            raise ValueError(f"first.{error}") from error
        if len(self.first.stages()) > 1 or self.first.model is not model or model.head is not head:
            raise ValueError(f"first={type(self.first).__name__}: must be a method of one stage and one head")
        for shared in ("model", "criterion"):  # whose state is this method's
            self.first.__dict__[shared] = self.first._modules.pop(shared)
        self.balances_classes = self.balances_classes or self.first.balances_classes
        self.further: list[Stage] = []
        self.reached = 0

    def stages(self) -> Sequence[Stage]:
        """The first method's, then the further ones."""
        [stage] = self.first.stages()
        return [stage._replace(share=1 - sum(further.share for further in self.further)), *self.further]

    def begin(self, stage: Stage) -> None:
        """Note which stage it is."""
        self.reached = sum(number for number, further in enumerate(self.further, 1) if stage is further)
        super().begin(stage)

    def at(self, progress: float) -> None:
        """Leave it to the first method, or do as in ordinary training."""
        at = super().at if self.reached else self.first.at
        at(progress)

    def transform(self, images: Tensor, targets: Tensor, augment: Augment) -> Any:
        """Leave it to the first method, or do as in ordinary training."""
        transform = super().transform if self.reached else self.first.transform
        return transform(images, targets, augment)

    def drawn(self, targets: Any) -> Any:
        """Leave it to the first method, or do as in ordinary training."""
        return super().drawn(targets) if self.reached else self.first.drawn(targets)

    def loss(self, batch: Any) -> Tensor:
        """Leave it to the first method, or do as in ordinary training."""
        return super().loss(batch) if self.reached else self.first.loss(batch)

    def predict(self, images: Tensor) -> Tensor:
        """Leave it to the first method, or do as in ordinary training."""
        return super().predict(images) if self.reached else self.first.predict(images)


class Decoupled(Following):
    """Train as another method does, then a classifier on the frozen features.

    The second stage has no class weights: its sampler or its loss balances the classes.

    Args:
        model: see `Method`.
        criterion: see `Method`.
        class_counts: see `Method`.
        second: the second stage; what it trains belongs to the head.
        head: of the second stage, features (B, F) -> logits (B, C); its parameters may be those of the model's own.
        loss: (class_counts) -> the loss of the second stage; None for the run's own.
        first: see `Following`.

    Raises:
        ValueError: the share is outside its range, or a part is no function, or does not fit the others.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        class_counts: Tensor,
        second: Stage,
        head: nn.Module,
        loss: Callable[[Tensor], nn.Module] | None = None,
        first: Callable[..., Method] | None = None,
    ) -> None:
        share = second.share
        if not (isinstance(share, int | float) and 0 < share < 1):
            raise ValueError(f"share={share}: must be a number in (0, 1)")
        check_makers(sampler=second.sampler, optimizer=second.optimizer, scheduler=second.scheduler, loss=loss)
        super().__init__(model, criterion, class_counts, first)
        try:
            late = loss(class_counts) if loss else criterion.loss
        except ValueError as error:
            raise ValueError(f"loss.{error}") from error
        if loss or head is not model.head:
            check_fit(head, late)
        self.further = [second]
        # Each as it is used, so that a checkpoint holds neither the head that is not in use nor one of them twice.
        self.parts = (model.head, criterion.loss), (head, late)

    def begin(self, stage: Stage) -> None:
        """Take the head and the loss of the stage."""
        self.model.head, self.criterion.loss = self.parts[stage is self.further[0]]
        super().begin(stage)

    def at(self, progress: float) -> None:
        """Drop the class weights in the second stage."""
        super().at(progress)
        if self.reached:
            self.criterion.weights = torch.ones_like(self.criterion.weights)


def check_makers(**parts: Any) -> None:
    """Check that parts are functions or None.

    Raises:
        ValueError: one is not.
    """
    for name, part in parts.items():
        if part is not None and not callable(part):
            raise ValueError(f"{name}={part}: must be null, or have a _target_ and _partial_: true")


def check_fit(head: nn.Module, loss: nn.Module) -> None:
    """Check that a head gives what a loss takes.

    Raises:
        ValueError: it does not.
    """
    name, kind = type(loss).__name__, type(head).__name__
    if getattr(loss, "takes_cosines", False) and not getattr(head, "gives_cosines", False):
        raise ValueError(f"head={kind}: must be cosine, of scale 1, for {name}, which scales cosines itself")
    if getattr(loss, "initial_bias", None) is not None and getattr(head, "bias", None) is None:
        raise ValueError(f"head={kind}: must be linear for {name}, whose bias starts at the prior")


def width(model: nn.Module) -> int:
    """Return the number of features that a model's head takes.

    Raises:
        ValueError: it has no weight (C, F).
    """
    weight = getattr(model.head, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        raise ValueError(f"must have a linear or cosine head, not {type(model.head).__name__}")
    return weight.shape[1]
