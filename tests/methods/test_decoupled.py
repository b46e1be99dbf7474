"""What follows another method: which of the two does what, and that its last stage can be begun alone."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from longtail.losses import LDAM, BalancedSoftmax, Focal, LogitAdjustment, Softmax
from longtail.methods import Criterion, Method
from longtail.methods.cmo import ContextRichOversampling
from longtail.methods.crt import ClassifierRetraining
from longtail.methods.experts import Experts
from longtail.methods.following import Following
from longtail.methods.lws import LearnableWeightScaling
from longtail.methods.mixup import Mixup
from longtail.methods.ncm import NearestClassMean
from longtail.methods.proco import ProCo
from longtail.methods.tau_norm import TauNormalized
from longtail.models import CosineHead, SmallCNN
from longtail.samplers import ClassBalanced

COUNTS = torch.tensor([200, 60, 20, 5])
TARGETS = torch.arange(8) % 4
IMAGES = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
PIXELS = torch.randint(0, 256, (8, 8, 8, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

WRONG: Any = 3
cosine = partial(CosineHead, scale=30.0)
KINDS: dict[str, Any] = {
    "crt": ClassifierRetraining,
    "late_head": partial(ClassifierRetraining, head=cosine, loss=BalancedSoftmax),
    "lws": LearnableWeightScaling,
    "mislas": partial(LearnableWeightScaling, lr_factor=0.5, first=Mixup, loss=partial(LogitAdjustment, tau=0.5)),
    "tau_norm": TauNormalized,
    "ncm": NearestClassMean,
    "crt after proco": partial(ClassifierRetraining, first=partial(ProCo, hidden=8, dim=8)),
}


def make(kind: Any, head: str = "linear", loss: type[nn.Module] = Softmax) -> Any:
    criterion = Criterion(loss(COUNTS), torch.ones(4))
    return kind(SmallCNN(1, 4, width=4, head=head), criterion, class_counts=COUNTS)


def augment(pixels: Tensor, other: nn.Module | None = None) -> Tensor:
    return pixels.permute(0, 3, 1, 2) / 255


def step(method: Method) -> None:
    optimizer = torch.optim.SGD(method.parameter_groups(), lr=0.1)
    method.loss(method.transform(PIXELS, TARGETS, augment)).backward()
    optimizer.step()


@pytest.mark.parametrize("name", KINDS)
def test_the_last_stage_begins_alone_on_a_new_model(name: str) -> None:
    method, again = make(KINDS[name]), make(KINDS[name])
    for stage in method.stages():
        method.begin(stage)
        method.at(0.5)
        step(method)
    for _ in range(2):
        again.begin(again.stages()[-1])
    again.load_state_dict(method.state_dict())
    assert torch.equal(again.eval().predict(IMAGES), method.eval().predict(IMAGES))
    assert type(again.criterion.loss) is type(method.criterion.loss)


@pytest.mark.parametrize("name", ["crt", "late_head", "lws", "mislas", "tau_norm"])
def test_the_first_stage_is_kept_as_that_of_ordinary_training(name: str) -> None:
    method, ordinary = make(KINDS[name]), make(Method)
    for stage in (method.stages()[0], method.stages()[-1], method.stages()[0]):
        method.begin(stage)
    ordinary.load_state_dict(method.state_dict())
    assert torch.equal(ordinary.eval().predict(IMAGES), ordinary.model(IMAGES))
    assert type(method.criterion.loss) is Softmax
    assert all(p.requires_grad for p in method.parameters())


def test_the_first_method_makes_the_batches_of_its_stage() -> None:
    method = make(partial(ClassifierRetraining, first=Mixup))
    first, second = method.stages()
    for stage, mixed in ((first, True), (second, False), (first, True)):
        method.begin(stage)
        _, targets = method.transform(PIXELS, TARGETS, augment)
        assert isinstance(targets, list) == mixed


def test_a_second_sampler_is_that_of_the_first_stage_alone() -> None:
    sampler = partial(ClassBalanced, batch_size=4)
    method = make(partial(ClassifierRetraining, share=0.25, first=partial(ContextRichOversampling, sampler=sampler)))
    first, second = method.stages()
    assert (first.share, first.beside, second.beside) == (0.75, sampler, None)
    assert len(method.drawn(TARGETS)) == 4
    method.begin(second)
    assert len(method.drawn(TARGETS)) == 8


def test_what_the_first_method_keeps_is_trained_and_saved_once() -> None:
    method = make(KINDS["crt after proco"])
    method.begin(method.stages()[0])
    own = set(method.state_dict()) - set(make(Method).state_dict())
    assert own
    assert all(name.startswith("first.") for name in own)
    assert {id(p) for p in method.first.projection.parameters()} <= {id(p) for p in method.parameters()}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (partial(Following, first=Experts), "first=Experts: must be a method of one stage and one head"),
        (partial(Following, first=partial(Experts, late=True)), "first=Experts: must be a method of one stage"),
        (
            partial(ClassifierRetraining, head=partial(CosineHead, scale=0)),
            "head.scale=0: must be a finite number > 0",
        ),
        (partial(TauNormalized, first=ClassifierRetraining), "first=ClassifierRetraining: must be a method of one"),
        (partial(Following, first=partial(Mixup, alpha=-1)), "first.alpha=-1: must be"),
        (partial(Following, first=WRONG), "first=3: must be null, or have a _target_"),
        (partial(ClassifierRetraining, loss=partial(LogitAdjustment, tau=-1)), "loss.tau=-1: must be"),
        (partial(ClassifierRetraining, loss=LDAM), "head=Linear: must be cosine, of scale 1, for LDAM"),
        (partial(ClassifierRetraining, loss=LDAM, head=cosine), "head=CosineHead: must be cosine, of scale 1"),
        (partial(ClassifierRetraining, loss=Focal, head=cosine), "head=CosineHead: must be linear for Focal"),
        (partial(ClassifierRetraining, scheduler=WRONG), "scheduler=3: must be null, or have a _target_"),
        (partial(ClassifierRetraining, head="round"), "head=round: must be linear or cosine"),
        (partial(LearnableWeightScaling, lr_factor=-1), "lr_factor=-1: must be a finite number >= 0"),
        (partial(TauNormalized, tau=float("nan")), "tau=nan: must be a finite number >= 0"),
    ],
)
def test_what_does_not_fit_is_refused(kind: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make(kind)


def test_a_cosine_head_takes_ldam_in_the_second_stage() -> None:
    method = make(partial(ClassifierRetraining, loss=LDAM, head="cosine"))
    method.begin(method.stages()[-1])
    assert method.criterion.loss.takes_cosines
