"""ProCo: probabilistic contrastive learning, with a distribution of features for each class (Du et al. 2024)."""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from longtail import models
from longtail.errors import InputError
from longtail.methods.criterion import Criterion
from longtail.methods.method import Augment, Method
from longtail.ranges import check_finite, check_whole

MOST_KAPPA = 1e5  # of a class whose features are all alike
FIRST_LENGTH = 0.9  # of the mean of a class that has not been seen
MOST_DIM = 1024  # of the features: float64 holds the products of more orders no longer
FURTHER_ORDERS = 32  # at which the recurrence starts, beyond the order that is asked for
MOMENTS = 1_000_000_000  # the progress of a run, as a whole number


class ProCo(Method):
    """Train on a second opinion: how likely each class would make the features of two further views of an image.

    L = L(z(x_1), y) + alpha / 2 [L(g(x_2), y) + L(g(x_3), y)], with z the model's logits and

        g_j(x) = log C(|kappa_j mu_j + f(x) / T|) - log C(kappa_j),   log C(kappa) = log I_v(kappa) - v log kappa,

    v = dim / 2 - 1: the expected contrastive loss where the features of class j follow a von Mises-Fisher
    distribution of mean direction mu_j and concentration kappa_j, see `ClassFeatures` (Du et al. 2024, "Probabilistic
    contrastive learning for long-tailed visual recognition"). f(x) is a unit vector, which two linear layers make of
    the model's features; they serve training alone. Meant for loss=logit_adjustment, without class weights. Views 2
    and 3 have an augmentation of their own. As in the paper's code the three views are one batch, of which all batch
    norms see the whole, those of f too.

    Args:
        model: see `Method`.
        criterion: see `Method`.
        class_counts: see `Method`.
        view: augmentation of views 2 and 3, uint8 (B, H, W, channels) -> the same; None for the dataset's.
        temperature: T, finite and >= 0.01.
        alpha: weight of the second term, finite and >= 0.
        hidden: width of f's first layer, >= 1.
        dim: width of f's second layer, even and in [4, 1024].

    Raises:
        ValueError: a setting is outside its range.
        InputError: the loss takes cosines, or the features.
    """

    gives_features = False
    moment: Tensor

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        class_counts: Tensor,
        view: nn.Module | None = None,
        temperature: float = 0.1,
        alpha: float = 1.0,
        hidden: int = 512,
        dim: int = 128,
    ) -> None:
        check_finite("temperature", temperature, least=0.01)
        check_finite("alpha", alpha)
        check_whole("hidden", hidden)
        if not (type(dim) is int and 4 <= dim <= MOST_DIM and dim % 2 == 0):
            raise ValueError(f"dim={dim}: must be an even number in [4, {MOST_DIM}]")
        if getattr(criterion.loss, "takes_cosines", False):
            raise InputError(f"loss: must not take cosines, as {type(criterion.loss).__name__} does, for ProCo")
        super().__init__(model, criterion, class_counts)
        self.view, self.temperature, self.alpha = view, temperature, alpha
        self.projection = nn.Sequential(
            nn.Linear(models.width(model), hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, dim),
        )
        self.classes = ClassFeatures(len(class_counts), dim)
        self.register_buffer("moment", torch.tensor(-1))

    def at(self, progress: float) -> None:
        """Begin an epoch of the class features, unless it has begun: a run may go on in its middle."""
        super().at(progress)
        moment = round(progress * MOMENTS)
        if moment != int(self.moment):
            self.moment.fill_(moment)
            self.classes.turn()

    def transform(self, images: Tensor, targets: Tensor, augment: Augment) -> Any:
        """Augment three times: images (3B, channels, H, W), targets (B,)."""
        return torch.cat([augment(images), augment(images, self.view), augment(images, self.view)]), targets

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss of the first view's logits and of how likely the classes are for the others."""
        images, targets = batch
        features: Tensor = self.model.features(images)  # type: ignore[operator]
        logits: Tensor = self.heads[0](features[: len(targets)])
        _, second, third = F.normalize(self.projection(features).double()).chunk(3)
        likely = self.log_likelihoods(torch.stack((second, third)), targets)
        further = torch.stack([self.criterion(g.float(), targets) for g in likely])
        loss: Tensor = self.criterion(logits, targets) + self.alpha * further.mean()
        return loss

    def log_likelihoods(self, views: Tensor, targets: Tensor) -> Tensor:
        """Add features to those of their classes, one view after the other, and return g of each, (V, B, C).

        Args:
            views: unit vectors (V, B, dim) float64, which autocast leaves as they are.
            targets: (B,).
        """
        of_image, of_class = [], []
        for features in views:
            self.classes.add(features.detach(), targets)
            kappa, mu = self.classes.estimates()
            cosines = features @ mu.T
            square = kappa**2 + 2 * kappa * cosines / self.temperature + self.temperature**-2
            of_image.append(square.clamp_min(1e-12).sqrt())
            of_class.append(kappa[None])
        kappas = torch.cat((torch.stack(of_image), torch.stack(of_class)), 1)
        values: Tensor = LogC.apply(kappas, self.classes.dim)
        return values[:, :-1] - values[:, -1:]


class ClassFeatures(nn.Module):
    """The mean of the unit vectors of each class, over the last epoch and this one as far as it has come.

    A class starts with a mean of length 0.9 in a random direction, which the first features replace. There are two
    means, as in the paper's code: [0] is used, [1] takes its place when the next epoch begins, and starts anew.

    Args:
        num_classes: C.
        dim: of the features.
    """

    start: Tensor
    means: Tensor
    counts: Tensor

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("start", FIRST_LENGTH * F.normalize(torch.randn(num_classes, dim)), persistent=False)
        self.register_buffer("means", self.start.repeat(2, 1, 1))
        self.register_buffer("counts", torch.zeros(2, num_classes, 1, dtype=torch.int64))

    def turn(self) -> None:
        """Begin an epoch."""
        self.means.copy_(torch.stack((self.means[1], self.start)))
        self.counts.copy_(torch.stack((self.counts[1], torch.zeros_like(self.counts[1]))))

    def add(self, features: Tensor, targets: Tensor) -> None:
        """Add the features (B, dim) float64, of all processes, to the means of their classes (B,)."""
        members = F.one_hot(targets, self.means.shape[1]).T.to(features.dtype)
        sums = torch.cat((members @ features, members.sum(1, keepdim=True)), 1)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(sums)
        sums, new = sums[:, :-1], sums[:, -1:]
        self.counts += new.long()
        self.means += ((sums - new * self.means) / self.counts.clamp_min(1)).to(self.means.dtype)

    def estimates(self) -> tuple[Tensor, Tensor]:
        """Return kappa_j = dim R / (1 - R^2), (C,), where R = |mean_j|, and mu_j = mean_j / R, (C, dim), float64."""
        means = self.means[0].double()
        length = means.norm(dim=1)
        kappa = self.dim * length / (1 - length**2).clamp_min(1e-12)
        return kappa.clamp_max(MOST_KAPPA), F.normalize(means)


class LogC(torch.autograd.Function):
    """log C(kappa) of the von Mises-Fisher distribution in `dim` dimensions, elementwise, with its derivative."""

    @staticmethod
    def forward(ctx: Any, kappa: Tensor, dim: int) -> Tensor:
        """Take kappa >= 0, float64, of any shape; return log C(kappa)."""
        value, slope = log_c(kappa, dim)
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of kappa."""
        (slope,) = ctx.saved_tensors
        return gradient * slope, None


def log_c(kappa: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return log C(kappa) = log I_v(kappa) - v log kappa, v = dim / 2 - 1, and its derivative I_(v+1) / I_v.

    By Miller's backward recurrence, on the ratios s_n = kappa I_(n+1) / I_n, so that nothing overflows:
    s_(n-1) = kappa^2 / (2n + s_n), begun beyond v, so that the error of the first one shrinks on the way; then
    log C(kappa) = log I_0(kappa) - sum_(n=1..v) log(2n + s_n). Right to 1e-6 for kappa up to 1e5.

    Args:
        kappa: >= 0, float64.
        dim: even, in [4, 1024].
    """
    order = dim // 2 - 1
    first = order + FURTHER_ORDERS
    square = kappa**2
    s = square / (first + 0.5 + (square + (first + 0.5) * (first + 1.5)).sqrt())  # between two bounds of Amos 1974
    for n in range(first, order + 1, -1):
        s = square / (2 * n + s)
    slope = kappa / (2 * (order + 1) + s)
    s = kappa * slope
    most = 2 * order + kappa  # of the factors, so that their product stays in range
    product = torch.ones_like(kappa)
    for n in range(order, 0, -1):
        factor = 2 * n + s
        product *= factor / most
        s = square / factor
    value = torch.special.i0e(kappa).log() + kappa - product.log() - order * most.log()
    return value, slope
