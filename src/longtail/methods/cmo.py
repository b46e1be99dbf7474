"""Context-rich minority oversampling: rare images on ordinary backgrounds (Park et al. 2022, CMO)."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from longtail.methods.criterion import Criterion
from longtail.methods.cutmix import CutMix
from longtail.methods.method import Augment, Stage
from longtail.ranges import check_start


class ContextRichOversampling(CutMix):
    """Paste a box of an image from a second sampler into each image of a batch, as CutMix does.

    The backgrounds are the run's ordinary batches. The second sampler draws each image with weight 1 / n of its class
    (Park et al. 2022, algorithm 1), which is the distribution of `ClassBalanced`: a class uniformly, then one of its
    images. The loss is lambda L(background) + (1 - lambda) L(pasted). A batch counts as its backgrounds alone in
    `images_seen` and in what was drawn of each class.

    The authors' code mixes in epochs 4 to E - 4 of E = 200, from 0. Fractions keep that window in runs of any length:
    their defaults are 4 / 200 and 197 / 200.

    Args:
        model: see `Method`.
        criterion: see `Method`.
        class_counts: see `Method`.
        sampler: of the images that are pasted.
        alpha: see `Mixup`.
        probability: of a batch being mixed at all, in [0, 1]; 0 for ordinary training.
        start: fraction of the run before the first mixed batch, in [0, 1).
        end: fraction of the run before the last epochs without one, in (start, 1].

    Raises:
        ValueError: a setting is outside its range.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        class_counts: Tensor,
        sampler: Callable[..., Any],
        alpha: float = 1.0,
        probability: float = 0.5,
        start: float = 0.02,
        end: float = 0.985,
    ) -> None:
        check_start("start", start)
        if not (type(end) in (int, float) and start < end <= 1):
            raise ValueError(f"end={end}: must be a fraction of the run in (start, 1], start={start}")
        super().__init__(model, criterion, class_counts, alpha, probability)
        self.second, self.start, self.end, self.is_time = sampler, start, end, False

    def stages(self) -> Sequence[Stage]:
        """One, with the second sampler beside the run's own."""
        return [Stage(beside=self.second)]

    def at(self, progress: float) -> None:
        """Note whether batches are mixed in this epoch."""
        super().at(progress)
        self.is_time = self.start <= progress < self.end

    def drawn(self, targets: Tensor) -> Tensor:
        """Return the targets of the backgrounds, (B,)."""
        return targets.chunk(2)[0]

    def transform(self, images: Tensor, targets: Tensor, augment: Augment) -> Any:
        """Augment backgrounds and what is pasted, the halves of the batch, each image on its own; then mix."""
        (images, pasted), (targets, others) = images.chunk(2), targets.chunk(2)
        images = augment(images)  # first, as in CutMix
        if not (self.is_time and self.mixes_this_batch()):
            return images, targets
        mixed, share = self.mix(images, augment(pasted), float(self.share.sample()))
        return mixed, [(targets, share), (others, 1 - share)]
