"""The seam where long-tail papers differ: what is trained, on what, when, and what is evaluated."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.optim import Optimizer

from longtail.errors import InputError
from longtail.methods.criterion import Weighted
from longtail.models import initialise

# augment(images): uint8 (B, H, W, channels) -> augmented and normalised (B, channels, H, W); augment(images, other):
# by another augmentation than the dataset's, uint8 (B, H, W, channels) -> the same.
Augment = Callable[..., Tensor]
Groups = Iterable[dict[str, Any]]


class Stage(NamedTuple):
    """One `fit` of a run.

    Attributes:
        share: of the run's epochs, in (0, 1]; the shares of a method's stages sum to 1.
        sampler: (targets, num_classes=, seed=, rank=, world_size=) -> batch sampler; None for the run's own.
        trained: the module that is trained; everything else is frozen, batch-norm statistics included. None for all.
        fresh: the module that starts anew; None for none.
        optimizer: (parameter groups) -> optimizer; None for the run's own. Its schedule starts anew with the stage.
    """

    share: float = 1.0
    sampler: Callable[..., Any] | None = None
    trained: nn.Module | None = None
    fresh: nn.Module | None = None
    optimizer: Callable[[Groups], Optimizer] | None = None


class Method(nn.Module):
    """Ordinary training; a method overrides only what differs.

    State that a method keeps from step to step belongs into buffers, so that checkpoints hold it.

    Args:
        model: images (B, channels, H, W) -> logits (B, C), by `features` (B, F) and `head`.
        criterion: logits (B, C), targets -> scalar.
        class_counts: training images per class, (C,).

    Raises:
        InputError: the loss starts at a prior, which takes a head with a bias.

    Attributes:
        balances_classes: whether the method corrects for the class counts itself.
    """

    balances_classes = False

    def __init__(self, model: nn.Module, criterion: Weighted, class_counts: Tensor) -> None:
        super().__init__()
        self.model, self.criterion = model, criterion
        self.class_counts = class_counts
        self._frozen: list[nn.Parameter] = []
        self._start_at_prior()

    # What a method may change

    def at(self, progress: float) -> None:
        """Set what changes over time; called at the start of each epoch with the run's progress in [0, 1)."""
        self.criterion.at(progress)

    def transform(self, images: Tensor, targets: Any, augment: Augment) -> Any:
        """Make a batch of images uint8 (B, H, W, channels) and targets (B,): what `loss` takes."""
        return augment(images), targets

    def loss(self, batch: Any) -> Tensor:
        """Return what is minimised, a scalar."""
        images, targets = batch
        loss: Tensor = self.criterion(self.model(images), targets)
        return loss

    def predict(self, images: Tensor) -> Tensor:
        """Return what is evaluated: logits (B, C) of normalised images (B, channels, H, W)."""
        logits: Tensor = self.model(images)
        return logits

    def stages(self) -> Sequence[Stage]:
        """Return the fits of a run, in order."""
        return [Stage()]

    @property
    def heads(self) -> Sequence[nn.Module]:
        """The last layers."""
        return [self.model.head]  # type: ignore[list-item]

    @property
    def training_only(self) -> Sequence[nn.Module]:
        """What is trained beside the model and plays no part in predictions; its parameters are not counted."""
        return []

    # What follows from it

    def begin(self, stage: Stage) -> None:
        """Prepare for a stage: renew what starts anew, freeze what is not trained."""
        if stage.fresh is not None:
            initialise(self.model, stage.fresh)
            self._start_at_prior()
        for parameter in self._frozen:
            parameter.requires_grad_()
        self._frozen = []
        self.train()
        if stage.trained is not None:
            trained = {id(parameter) for parameter in stage.trained.parameters()}
            self._frozen = [p for p in self.parameters() if p.requires_grad and id(p) not in trained]
            for parameter in self._frozen:
                parameter.requires_grad_(False)
            self.eval()
            stage.trained.train()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return what is trained; a bias that starts at a prior has no weight decay."""
        spared = [] if self.criterion.initial_bias is None else [self._bias(head) for head in self.heads]
        known = {id(bias) for bias in spared}
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.parameters() if p.requires_grad and id(p) not in known]}
        ]
        if spared:
            groups.append({"params": spared, "weight_decay": 0.0})
        return groups

    def _start_at_prior(self) -> None:
        if self.criterion.initial_bias is not None:
            for head in self.heads:
                nn.init.constant_(self._bias(head), self.criterion.initial_bias)

    def _bias(self, head: nn.Module) -> nn.Parameter:
        bias = getattr(head, "bias", None)
        if not isinstance(bias, nn.Parameter):
            loss, kind = type(self.criterion.loss).__name__, type(head).__name__
            raise InputError(f"model.head: must be linear, not {kind}, for {loss}, whose bias starts at the prior")
        return bias
