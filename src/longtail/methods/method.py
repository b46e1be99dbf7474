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
        scheduler: (optimizer, total_steps=) -> scheduler; None for the run's own.
        update_statistics: whether batch norms that are frozen use, and update, the statistics of each batch.
        beside: a second sampler, called like the first; None for none. A batch then has (2B, ...) images and targets:
            B from the first sampler, followed by as many from this one, for `transform` to take apart.
    """

    share: float = 1.0
    sampler: Callable[..., Any] | None = None
    trained: nn.Module | None = None
    fresh: nn.Module | None = None
    optimizer: Callable[[Groups], Optimizer] | None = None
    scheduler: Callable[..., Any] | None = None
    update_statistics: bool = False
    beside: Callable[..., Any] | None = None


class Method(nn.Module):
    """Ordinary training; a method overrides only what differs.

    State that a method keeps from step to step belongs into buffers, so that checkpoints hold it.

    Args:
        model: images (B, channels, H, W) -> logits (B, C), by `features` (B, F) and `head`.
        criterion: logits (B, C), targets -> scalar.
        class_counts: training images per class, (C,).

    Raises:
        InputError: the loss starts at a prior, which takes a head with a bias, or takes the features from a method
            that does not give them.

    Attributes:
        balances_classes: whether the method corrects for the class counts itself.
        gives_features: whether `loss` gives the features to a criterion that takes them, as `outputs` does.
        harm_of_averaging: what averaged weights do to what the method keeps; empty for no harm.
    """

    balances_classes = False
    gives_features = True
    harm_of_averaging = ""

    def __init__(self, model: nn.Module, criterion: Weighted, class_counts: Tensor) -> None:
        super().__init__()
        self.model, self.criterion = model, criterion
        self.class_counts = class_counts
        self._frozen: list[nn.Parameter] = []
        if criterion.takes_features and not self.gives_features:
            raise InputError(f"method={type(self).__name__}: must not be used with a loss that takes the features")
        self._start_at_prior(self)

    # What a method may change

    def at(self, progress: float) -> None:
        """Set what changes over time; called at the start of each epoch with the run's progress in [0, 1)."""
        self.criterion.at(progress)

    def transform(self, images: Tensor, targets: Any, augment: Augment) -> Any:
        """Make a batch of images uint8 (B, H, W, channels) and targets (B,): what `loss` takes."""
        return augment(images), targets

    def drawn(self, targets: Any) -> Any:
        """Return the targets of a batch that count as drawn: one for each image that the model sees."""
        return targets

    def loss(self, batch: Any) -> Tensor:
        """Return what is minimised, a scalar."""
        images, targets = batch
        logits, features = self.outputs(images)
        loss: Tensor = self.criterion(logits, targets, features)
        return loss

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return logits (B, C) and, if the loss takes them, features (B, F), for which the model is not compiled."""
        if not self.criterion.takes_features:
            return self.model(images), None
        features: Tensor = self.model.features(images)  # type: ignore[operator]
        return self.model.head(features), features  # type: ignore[operator]

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

    # What follows from it

    def begin(self, stage: Stage) -> None:
        """Prepare for a stage: renew what starts anew, freeze what is not trained."""
        if stage.fresh is not None:
            initialise(self.model, stage.fresh)
            self._start_at_prior(stage.fresh)
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
            self.criterion.train()
            if stage.update_statistics:
                for part in (p for p in self.modules() if hasattr(p, "running_mean")):
                    part.train()
            stage.trained.train()

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return what is trained; a bias that starts at a prior has no weight decay.

        A group may have an `lr_factor`, its learning rate as a multiple of the optimizer's.
        """
        biases = [] if self.criterion.initial_bias is None else [self._bias(head) for head in self.heads]
        spared = [bias for bias in biases if bias.requires_grad]
        known = {id(bias) for bias in spared}
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.parameters() if p.requires_grad and id(p) not in known]}
        ]
        if spared:
            groups.append({"params": spared, "weight_decay": 0.0})
        return groups

    def _start_at_prior(self, fresh: nn.Module) -> None:
        if self.criterion.initial_bias is not None:
            for head in {*self.heads} & {*fresh.modules()}:
                nn.init.constant_(self._bias(head), self.criterion.initial_bias)

    def _bias(self, head: nn.Module) -> nn.Parameter:
        bias = getattr(head, "bias", None)
        if not isinstance(bias, nn.Parameter):
            loss, kind = type(self.criterion.loss).__name__, type(head).__name__
            raise InputError(f"model.head: must be linear, not {kind}, for {loss}, whose bias starts at the prior")
        return bias
