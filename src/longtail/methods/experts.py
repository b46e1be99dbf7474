"""Balanced product of experts: heads that are each adjusted to another prior (Aimar et al. 2023, BalPoE)."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from longtail.methods.criterion import Criterion
from longtail.methods.method import Method
from longtail.models import ImageClassifier, initialise

MOST = 100  # of |tau|; the literature stays below 3


class Heads(nn.ModuleList):
    """A head for each expert, on features of its own or on those of all."""

    def forward(self, features: Tensor) -> Tensor:
        """Features (E, B, F), or (B, F) for all experts -> logits (E, B, C)."""
        own = features if features.ndim == 3 else [features] * len(self)
        return torch.stack([head(each) for head, each in zip(self, own, strict=True)])


class Branches(ImageClassifier):
    """A model whose late part is there once for each expert; the early part is shared.

    Args:
        model: has `split()`; its late part is the first expert's, the others get new ones like it.
        heads: of the experts.

    Raises:
        ValueError: the model cannot be split.
    """

    def __init__(self, model: nn.Module, heads: Heads) -> None:
        super().__init__()
        if not callable(split := getattr(model, "split", None)):
            raise ValueError(f"late=true: must be false for {type(model).__name__}, which has no split()")
        self.early, late = split()
        self.late = nn.ModuleList([late, *(anew(model, late) for _ in heads[1:])])
        self.head = heads
        self.initialise = getattr(model, "initialise", self.initialise)  # type: ignore[method-assign]

    def features(self, images: Tensor) -> Tensor:
        """Images (B, channels, H, W) -> features (E, B, F)."""
        maps = self.early(images)
        return torch.stack([late(maps) for late in self.late])


def anew(model: nn.Module, part: nn.Module) -> nn.Module:
    """Return a part like that of the model, with parameters of its own."""
    other = copy.deepcopy(part)
    initialise(model, other)
    return other


class Experts(Method):
    """Train several heads, expert e with logits shifted by tau_e log pi.

    L = mean_e L(z_e + tau_e log pi, y), pi_j = n_j / N; the prediction is the mean of the z_e (Aimar et al. 2023,
    eq. 8 and 11). It is consistent with the balanced error where the tau_e average 1. Meant for the softmax loss
    without class weights: a loss that shifts logits itself shifts them twice.

    Args:
        model: see `Method`; its head is the first expert's, the others get new ones like it.
        criterion: see `Method`.
        class_counts: see `Method`.
        tau: one number per expert; 0 learns the training prior, 1 a uniform one, 2 an inverse one.
        late: whether each expert has a late part of the network to itself, as in the paper, and not its head alone.

    Raises:
        ValueError: tau is not a list, a number in it is outside its range, or the model cannot be split.
        InputError: the loss takes the features.
    """

    balances_classes = True
    gives_features = False
    shifts: Tensor

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        class_counts: Tensor,
        tau: Sequence[float] = (0.0, 1.0, 2.0),
        late: bool = False,
    ) -> None:
        is_list = isinstance(tau, Sequence) and not isinstance(tau, str) and len(tau) > 0
        if not is_list or not all(type(t) in (int, float) and abs(t) <= MOST for t in tau):
            raise ValueError(f"tau={tau}: must be a list of numbers in [-{MOST}, {MOST}], one for each expert")
        assert isinstance(model.head, nn.Module)
        heads = Heads([model.head, *(anew(model, model.head) for _ in tau[1:])])
        if late:
            model = Branches(model, heads)
        else:
            model.head = heads
        super().__init__(model, criterion, class_counts)
        log_prior = (class_counts.double() / class_counts.sum()).log()
        self.register_buffer("shifts", torch.stack([t * log_prior for t in tau]).float(), persistent=False)

    @property
    def heads(self) -> Sequence[nn.Module]:
        """One for each expert."""
        return list(self.model.head)  # type: ignore[arg-type]

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the mean loss of the experts, each on its shifted logits."""
        images, targets = batch
        shifted = self.model(images).float() + self.shifts[:, None]
        return torch.stack([self.criterion(logits, targets) for logits in shifted]).mean()

    def predict(self, images: Tensor) -> Tensor:
        """Return the mean of the experts' logits, unshifted."""
        logits: Tensor = self.model(images).mean(0)
        return logits
