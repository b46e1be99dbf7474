"""SADE: experts for the long tail, for even classes and for the inverse long tail (Zhang et al. 2022)."""

from torch import Tensor, nn

from longtail.methods.criterion import Criterion
from longtail.methods.experts import Experts
from longtail.ranges import check_finite


class Sade(Experts):
    """Train three experts: L = L(z_1) + L(z_2 + log pi) + L(z_3 + log pi - strength * log pi').

    Zhang et al. 2022 ("Self-supervised aggregation of diverse experts") and their code, with pi_j = n_j / N, and pi'
    the same values in reversed order, the largest for the rarest class. Meant for the softmax loss without class
    weights. The prediction is the mean of the z_e. The paper's aggregation at test time is left out: it learns the
    experts' weights on the test images, so that its accuracy cannot stand beside that of methods that do not.

    Args:
        model: see `Experts`.
        criterion: see `Method`.
        class_counts: see `Method`.
        strength: of the inverse prior, finite and >= 0; 0 makes the third expert like the second.
        late: see `Experts`.

    Raises:
        ValueError: strength is outside its range, or the model cannot be split.
        InputError: the loss takes the features.
    """

    def __init__(
        self, model: nn.Module, criterion: Criterion, class_counts: Tensor, strength: float = 2.0, late: bool = True
    ) -> None:
        check_finite("strength", strength)
        super().__init__(model, criterion, class_counts, (0.0, 1.0, 1.0), late)
        log_prior = (class_counts.double() / class_counts.sum()).log()
        values, classes = log_prior.sort(stable=True)
        reversed_prior = log_prior.scatter(0, classes, values.flip(0))
        self.shifts[2] -= strength * reversed_prior

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the sum of the experts' losses, each on its shifted logits."""
        return len(self.shifts) * super().loss(batch)
