"""What a training minimises: a loss, class weights and a reduction, none of which knows of the others."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

REDUCTIONS = ("batch_mean", "weighted_mean")
TINY = torch.finfo(torch.float32).tiny  # a batch of classes without weight has no loss

Schedule = Callable[[float], Tensor]  # progress of the run in [0, 1) -> weights (C,)
Mixed = Sequence[tuple[Tensor, Tensor | float]]  # (targets (B,), share in [0, 1], a number or (B,)), shares sum to 1
Targets = Tensor | Mixed


class Weighted(nn.Module):
    """A loss, and class weights for it, which may follow the run.

    Args:
        loss: what is weighted.
        weights: of the classes, (C,), finite and >= 0; or a function of the run's progress that returns them.

    Attributes:
        weights: at the present moment of the run, (C,); no buffer, so that averaging a model leaves them alone.

    Raises:
        ValueError: weights are not finite, negative, or not (C,) throughout.
    """

    def __init__(self, loss: nn.Module, weights: Tensor | Schedule) -> None:
        super().__init__()
        self.loss = loss
        self.schedule: Schedule = (lambda progress: weights) if isinstance(weights, Tensor) else weights
        self.weights = self.weights_at(0.0)
        later = self.weights_at(math.nextafter(1.0, 0.0))
        if later.shape != self.weights.shape:
            shapes = f"{tuple(self.weights.shape)} and {tuple(later.shape)}"
            raise ValueError(f"must be weights (C,) throughout, not {shapes}")

    @property
    def initial_bias(self) -> float | None:
        """The bias that a head starts with for this loss, if it asks for one."""
        bias: float | None = getattr(self.loss, "initial_bias", None)
        return bias

    @property
    def takes_features(self) -> bool:
        """Whether the loss takes the features beside the logits."""
        return bool(getattr(self.loss, "takes_features", False))

    def at(self, progress: float) -> None:
        """Set the loss and the weights of this moment of the run, progress in [0, 1)."""
        if callable(at := getattr(self.loss, "at", None)):
            at(progress)
        self.weights = self.weights_at(progress).to(self.weights.device)

    def weights_at(self, progress: float) -> Tensor:
        """Return the weights (C,) at some progress of the run in [0, 1).

        Raises:
            ValueError: they are not finite, negative, or not (C,).
        """
        weights = torch.as_tensor(self.schedule(progress), dtype=torch.float32)
        if weights.ndim != 1 or not bool((weights.isfinite() & (weights >= 0)).all()):
            raise ValueError("must be weights (C,), finite and >= 0")
        return weights.clone()

    def weights_on(self, device: torch.device) -> Tensor:
        """Return the present weights (C,), moved to a device once."""
        if self.weights.device != device:
            self.weights = self.weights.to(device)
        return self.weights


class Criterion(Weighted):
    """Weight the loss of each image by its class and reduce to a scalar.

    With weights w and losses L of a batch of B images:

        batch_mean     sum_b w_b L_b / B            (the papers')
        weighted_mean  sum_b w_b L_b / sum_b w_b    (PyTorch's)

    The divisor is the mean over the processes that train together, so that the mean of their gradients is that of all
    images, however many each process has.

    Mixed targets are pairs (targets, share): each pair contributes share * w * L, and share * w to the sum of the
    weights, so that every loss and weighting works under mixing.

    Args:
        loss: logits (B, C), targets (B,) -> losses (B,); one with `takes_features` is also given features (B, F).
        weights: of the classes, (C,), finite and >= 0; or a function of the run's progress that returns them.
        reduction: "batch_mean" or "weighted_mean".

    Raises:
        ValueError: the reduction is unknown, or weights are not finite, negative, or not (C,) throughout.
    """

    def __init__(self, loss: nn.Module, weights: Tensor | Schedule, reduction: str = "batch_mean") -> None:
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction={reduction}: must be {' or '.join(REDUCTIONS)}")
        super().__init__(loss, weights)
        self.reduction = reduction

    def losses(self, logits: Tensor, targets: Tensor, features: Tensor | None = None) -> Tensor:
        """Return the losses (B,) of logits (B, C), unweighted; without features a loss that takes them is plain."""
        given = (features.float(),) if self.takes_features and features is not None else ()
        losses: Tensor = self.loss(logits.float(), targets, *given)
        return losses

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Return what logits (B, C) say of the classes, (B, C): by the loss if it defines it, else log softmax."""
        of_loss = getattr(self.loss, "log_probabilities", None)
        found: Tensor = of_loss(logits.float()) if of_loss else logits.float().log_softmax(1)
        return found

    def forward(self, logits: Tensor, targets: Targets, features: Tensor | None = None) -> Tensor:
        """Return what is minimised, a scalar.

        Args:
            logits: (B, C).
            targets: (B,), or pairs of them with their shares.
            features: (B, F), for a loss that takes them.

        Raises:
            ValueError: a loss that takes features is given none.
        """
        if self.takes_features and features is None:
            raise ValueError(f"must be given the features that {type(self.loss).__name__} takes")
        of_class = self.weights_on(logits.device)
        pairs: Mixed = [(targets, 1.0)] if isinstance(targets, Tensor) else targets
        weights = [of_class[classes] * share for classes, share in pairs]
        losses = [self.losses(logits, classes, features) for classes, _ in pairs]
        total = torch.stack([(w * loss).sum() for w, loss in zip(weights, losses, strict=True)]).sum()
        if self.reduction == "batch_mean":
            return total / mean_over_processes(total.new_full((), len(logits)))
        return total / mean_over_processes(torch.stack([w.sum() for w in weights]).sum(), least=TINY)


def mean_over_processes(value: Tensor, least: float | None = None) -> Tensor:
    """Return the mean of a scalar over the processes that train together.

    Args:
        value: of this process.
        least: what the sum over the processes counts as if it is less; None for no bound.
    """
    total, processes = value.detach(), 1
    if dist.is_available() and dist.is_initialized():
        total, processes = total.to(torch.float32, copy=True), dist.get_world_size()
        dist.all_reduce(total)
    total = total if least is None else total.clamp_min(least)
    return total / processes if processes > 1 else total
