"""cRT: decoupled training, the classifier once more on balanced batches (Kang et al. 2020)."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from longtail.methods.criterion import Criterion
from longtail.methods.decoupled import Decoupled
from longtail.methods.method import Groups, Method, Stage
from longtail.models import Head, make_head, width


class ClassifierRetraining(Decoupled):
    """Train the whole model, then a new head on the frozen features.

    With a class-balanced sampler it is cRT of Kang et al. 2020 ("Decoupling representation and classifier"), section
    4; with a cosine head of scale 30, balanced softmax and the run's own sampler, the last stage of SHIKE (Jin et
    al. 2023). The second stage has no class weights: its sampler or its loss balances the classes.

    Args:
        model: see `Method`.
        criterion: see `Method`.
        class_counts: see `Method`.
        sampler: of the second stage; None for the run's own.
        share: of the epochs that go to the second stage, in (0, 1).
        optimizer: of the second stage; None for the run's own.
        scheduler: of the second stage; None for the run's own, which starts anew.
        update_statistics: whether frozen batch norms use, and update, the statistics of each batch.
        head: of the second stage, as in `models.make_head`; None for one like the model's own.
        loss: (class_counts) -> the loss of the second stage; None for the run's own.
        first: (model, criterion, class_counts=) -> the method of the first stage; None for ordinary training.

    Raises:
        ValueError: share is outside its range, or a part is no function, or does not fit the others.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        class_counts: Tensor,
        sampler: Callable[..., Any] | None = None,
        share: float = 0.2,
        optimizer: Callable[[Groups], Optimizer] | None = None,
        scheduler: Callable[..., Any] | None = None,
        update_statistics: bool = False,
        head: Head | None = None,
        loss: Callable[[Tensor], nn.Module] | None = None,
        first: Callable[..., Method] | None = None,
    ) -> None:
        new: Any = model.head if head is None else make_head(head, width(model), len(class_counts))
        second = Stage(share, sampler, new, new, optimizer, scheduler, update_statistics)
        super().__init__(model, criterion, class_counts, second, new, loss, first)
