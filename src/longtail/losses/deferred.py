"""A loss that takes over from another during the run."""

from collections.abc import Callable, Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from longtail.ranges import check_start

MakeLoss = Callable[[Tensor | Sequence[int]], nn.Module]


class Deferred(nn.Module):
    """One loss, then another for the rest of the run.

    `then` takes over at the first epoch with epoch / epochs >= start, as in `samplers.Deferred` and
    `reweight.deferred`. Both work on the same head, so that either both take cosines or neither, and either both
    start its bias at a prior, which is the first one's, or neither.

    Args:
        class_counts: training images per class, (C,).
        first: (class_counts) -> loss, used before `start`.
        then: the same, used from `start` on.
        start: fraction of the run, in [0, 1).

    Attributes:
        takes_cosines: whether both losses do.
        takes_features: whether either loss does.
        balances_classes: whether either loss does.
        initial_bias: the first loss's.

    Raises:
        ValueError: start or a setting of either loss, named `then.gamma` and the like, is outside its range, or the
            two need different heads.
    """

    def __init__(
        self, class_counts: Tensor | Sequence[int], first: MakeLoss, then: MakeLoss, start: float = 0.8
    ) -> None:
        super().__init__()
        check_start("start", start)
        self.first, self.then = (_make(name, make, class_counts) for name, make in (("first", first), ("then", then)))
        self.takes_cosines = self._agree("takes_cosines", "take cosines")
        self._agree("initial_bias", "start the head's bias at a prior")
        self.initial_bias: float | None = getattr(self.first, "initial_bias", None)
        self.takes_features, self.balances_classes = (
            any(getattr(loss, name, False) for loss in (self.first, self.then))
            for name in ("takes_features", "balances_classes")
        )
        self.start = start
        self.at(0.0)

    @property
    def present(self) -> nn.Module:
        """The loss of this moment of the run."""
        return self.then if self.has_begun else self.first

    def at(self, progress: float) -> None:
        """Select the loss of this moment of the run, progress in [0, 1)."""
        self.has_begun = progress >= self.start
        if callable(at := getattr(self.present, "at", None)):
            at(progress)

    def forward(self, logits: Tensor, targets: Tensor, features: Tensor | None = None) -> Tensor:
        """Logits (B, C), targets (B,) int64, features (B, F) if they are taken -> loss (B,)."""
        given = (features,) if getattr(self.present, "takes_features", False) else ()
        losses: Tensor = self.present(logits, targets, *given)
        return losses

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Logits (B, C) -> logarithms of probabilities (B, C), as the present loss understands them."""
        of_loss = getattr(self.present, "log_probabilities", None)
        log_p: Tensor = of_loss(logits) if of_loss else F.log_softmax(logits, 1)
        return log_p

    def remarks(self, epochs: int) -> Iterator[str]:
        """Say so if a run of so many epochs ends before the second loss begins."""
        if self.start > (epochs - 1) / epochs:
            yield f"its second loss starts after the last of {epochs} epochs"

    def _agree(self, name: str, need: str) -> bool:
        """Return whether both losses have a need; raise if only one of them has."""
        first, then = (getattr(loss, name, None) not in (None, False) for loss in (self.first, self.then))
        if first != then:
            later, earlier = (type(loss).__name__ for loss in (self.then, self.first))
            must, does = ("must", "does") if first else ("must not", "does not")
            raise ValueError(f"then={later}: {must} {need}, for first={earlier} {does}")
        return first


def _make(name: str, make: MakeLoss, class_counts: Tensor | Sequence[int]) -> nn.Module:
    try:
        return make(class_counts)
    except ValueError as error:
        raise ValueError(f"{name}.{error}") from error
