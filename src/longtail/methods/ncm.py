"""Nearest class mean: features of any training, classified by the means of the classes (Kang et al. 2020)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD

from longtail.methods.criterion import Criterion, mean_over_processes
from longtail.methods.following import Following
from longtail.methods.method import Augment, Method, Stage
from longtail.models import width
from longtail.posthoc import nearest_mean

SHARE = 1e-6  # of the epochs: the least there is, one
TINY = torch.finfo(torch.float32).tiny


class NearestClassMean(Following):
    """Train as another method does, then predict the class whose mean is nearest to an image's features.

    z_j = -|h' - m_j|, h' = (h - m) / |h - m|, with m the mean of the features h over the training images, and m_j
    that of h' over those of class j (Kang et al. 2020, "Decoupling representation and classifier", section 4, and
    their code, which calls it cl2n). The last two epochs of the run find first m, then the m_j: they go through the
    training images in evaluation mode, without augmentation, and train nothing.

    Args:
        model: see `Method`.
        criterion: see `Method`.
        class_counts: see `Method`.
        sampler: of those two epochs, which should draw each image once; None for the run's own.
        first: (model, criterion, class_counts=) -> the method of the training; None for ordinary training.

    Raises:
        ValueError: the head does not say how many features it takes, or a part is no function.
    """

    balances_classes = True
    harm_of_averaging = "averages the class means while they are found, so that the first batches count the most"
    total: Tensor
    images: Tensor
    sums: Tensor
    counts: Tensor

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        class_counts: Tensor,
        sampler: Callable[..., Any] | None = None,
        first: Callable[..., Method] | None = None,
    ) -> None:
        super().__init__(model, criterion, class_counts, first)
        shapes = {"total": (width(model),), "images": (), "sums": (len(class_counts), width(model))}
        for name, shape in (shapes | {"counts": (len(class_counts),)}).items():
            self.register_buffer(name, torch.zeros(shape))
        head: Any = model.head
        # The head is what an optimizer can hold, at a rate of 0.
        optimizer: Any = partial(SGD, lr=0.0)
        self.further = [Stage(SHARE, sampler, trained=head, optimizer=optimizer) for _ in range(2)]

    def begin(self, stage: Stage) -> None:
        """Forget what the stage is to find."""
        super().begin(stage)
        for found in ((), (self.total, self.images), (self.sums, self.counts))[self.reached]:
            found.zero_()

    def transform(self, images: Tensor, targets: Tensor, augment: Augment) -> Any:
        """Augment as the first method does, or not at all."""
        if self.reached:
            return augment(images, nn.Identity()), targets
        return super().transform(images, targets, augment)

    def loss(self, batch: Any) -> Tensor:
        """Return the first method's loss; after it, collect means."""
        if not self.reached:
            return super().loss(batch)
        images, targets = batch
        features: Tensor = self.model.features(images)  # type: ignore[operator]
        self.collect(features.detach().float(), targets)
        loss: Tensor = self.criterion(self.model.head(features), targets, features)  # type: ignore[operator]
        return loss

    def collect(self, features: Tensor, targets: Tensor) -> None:
        """Add the features (B, F) of a batch, of all processes alike, to what the stage finds."""
        if self.reached == 1:
            self.total += mean_over_processes(features.sum(0))
            self.images += mean_over_processes(features.new_full((), len(features)))
        else:
            sums, counts = torch.zeros_like(self.sums), torch.zeros_like(self.counts)
            sums.index_add_(0, targets, F.normalize(features - self.centre))
            counts.index_add_(0, targets, torch.ones_like(targets, dtype=counts.dtype))
            self.sums += mean_over_processes(sums)
            self.counts += mean_over_processes(counts)

    @property
    def centre(self) -> Tensor:
        """The mean of all features, (F,)."""
        return self.total / self.images.clamp_min(TINY)

    def predict(self, images: Tensor) -> Tensor:
        """Return minus the distances (B, C) to the class means; before there are any, the first method's logits."""
        if self.reached < 2:
            return self.first.predict(images)
        features: Tensor = self.model.features(images)  # type: ignore[operator]
        with torch.autocast(images.device.type, enabled=False):
            means = self.sums / self.counts.clamp_min(TINY)[:, None]
            return nearest_mean(features.float(), means, self.centre)
