"""Methods that go on from another one: learn the features by it, then do something else."""

from collections.abc import Callable, Sequence
from typing import Any

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
        own = model, model.head
        try:
            self.first = (first or Method)(model, criterion, class_counts=class_counts)
        except ValueError as error:
            raise ValueError(f"first.{error}") from error
        if len(self.first.stages()) > 1 or (self.first.model, model.head) != own:
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


def check_makers(**parts: Any) -> None:
    """Check that parts are functions or None.

    Raises:
        ValueError: one is not.
    """
    for name, part in parts.items():
        if part is not None and not callable(part):
            raise ValueError(f"{name}={part}: must be null, or have a _target_ and _partial_: true")
