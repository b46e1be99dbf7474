"""The Lightning module: what a step does, what is kept of it, and that it stays on the device."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from longtail.augment import Normalize, PadCropFlip
from longtail.datasets import ArrayImages
from longtail.losses import Focal, Sigmoid, Softmax
from longtail.methods import Criterion, Method, Stage
from longtail.models import SmallCNN
from longtail.schedulers import cosine, warmup_multistep
from longtail.sweeps.pool import Pool
from longtail.training.data import Step, Subset
from longtail.training.evaluation import Classification
from longtail.training.module import TrainingModule

COUNTS = torch.tensor([200, 60, 20, 5])
TARGETS = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3])
WEIGHTS = torch.tensor([0.2, 0.5, 1.1, 2.2])


def make(loss: type[nn.Module] = Softmax, augment: nn.Module | None = None, **options: Any) -> TrainingModule:
    criterion = Criterion(loss(COUNTS), WEIGHTS, **options)
    return TrainingModule(
        Method(SmallCNN(3, 4, width=4), criterion, COUNTS),
        Classification(COUNTS, criterion.losses),
        Normalize(torch.full((3,), 0.5), torch.full((3,), 0.25)),
        augment,
        partial(torch.optim.SGD, lr=0.1, weight_decay=0.01),
        cosine,
    )


def with_trainer(module: TrainingModule, **facts: Any) -> TrainingModule:
    module.trainer = SimpleNamespace(**{"max_epochs": 1, "current_epoch": 0, "global_rank": 0} | facts)  # type: ignore[assignment]
    return module


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)), TARGETS


def test_drawn_classes_are_counted_in_training_alone() -> None:
    module, images = make(), torch.zeros(8, 8, 8, 3, dtype=torch.uint8)
    for training in (True, False, True):
        with_trainer(module, training=training).on_after_batch_transfer((images, TARGETS), 0)
    assert module.evaluation.drawn.tolist() == [6, 4, 2, 4]


def test_the_losses_of_an_epoch_are_kept(batch: tuple[Tensor, Tensor]) -> None:
    module = make()
    losses = [module.training_step(batch, step).item() for step in range(3)]
    assert module.losses.so_far().tolist() == losses
    module.losses.start(torch.device("cpu"))
    assert len(module.losses.so_far()) == 0


@pytest.mark.parametrize("loss", [Sigmoid, Focal])
def test_sigmoid_family_starts_at_the_prior_and_does_not_decay_that_bias(loss: type[nn.Module]) -> None:
    module = with_trainer(make(loss), estimated_stepping_batches=10)
    head: nn.Linear = module.method.model.head  # type: ignore[assignment]
    torch.testing.assert_close(torch.sigmoid(head.bias), torch.full((4,), 0.25))
    groups = module.configure_optimizers()["optimizer"].param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decay.pop(id(head.bias)) == 0
    assert set(decay.values()) == {0.01}
    assert len(decay) == len(list(module.parameters())) - 1


def test_softmax_keeps_its_bias_and_decays_everything() -> None:
    module = with_trainer(make(), estimated_stepping_batches=10)
    assert float(module.method.model.head.bias.detach().std()) > 0  # type: ignore[union-attr, operator]
    (group,) = module.configure_optimizers()["optimizer"].param_groups
    assert group["weight_decay"] == 0.01


def test_a_stage_and_a_group_of_parameters_have_rates_of_their_own() -> None:
    module = with_trainer(make(), estimated_stepping_batches=10)
    first, *rest = module.method.parameters()
    module.method.parameter_groups = lambda: [{"params": [first]}, {"params": rest, "lr_factor": 0.5}]  # type: ignore[method-assign]
    halve = partial(warmup_multistep, warmup=0, milestones=[0.1], gamma=0.5)
    module.stage = Stage(optimizer=partial(torch.optim.SGD, lr=2.0), scheduler=halve)
    configured = module.configure_optimizers()
    for expected in ([2, 1], [1, 0.5]):
        assert [group["lr"] for group in configured["optimizer"].param_groups] == expected
        configured["optimizer"].step()
        configured["lr_scheduler"]["scheduler"].step()


def test_only_training_images_are_augmented() -> None:
    module = make(augment=PadCropFlip(pad=2))
    images = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8)
    plain, _ = with_trainer(module, training=False).on_after_batch_transfer((images, TARGETS[4:]), 0)
    torch.testing.assert_close(plain, (images.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25)
    augmented, _ = with_trainer(module, training=True).on_after_batch_transfer((images, TARGETS[4:]), 0)
    assert augmented.shape == plain.shape
    assert not torch.equal(augmented, plain)


def test_a_method_may_augment_views_in_another_way() -> None:
    module, images = make(augment=PadCropFlip(pad=2)), torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8)
    torch.testing.assert_close(module.prepare(images, nn.Identity()), make().prepare(images))
    assert not torch.equal(module.prepare(images), make().prepare(images))


def test_the_model_runs_in_channels_last_memory() -> None:
    parameters = make().method.model.parameters()
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in parameters if p.ndim == 4)


def step_of(device: str) -> Tensor:
    """A training step and an evaluation step on tensors that have shapes but no values."""
    counts = torch.ones(10)
    optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9, fused=True)
    with torch.device(device):
        images = ArrayImages(torch.zeros(50, 8, 8, 3, dtype=torch.uint8), torch.zeros(50, dtype=torch.int64))
        model, loss, normalize = SmallCNN(3, 10, 4), Focal(counts), Normalize(torch.ones(3), torch.ones(3))
        criterion = Criterion.__new__(Criterion)  # whose checks read the weights
        nn.Module.__init__(criterion)
        criterion.loss, criterion.reduction, criterion.weights = loss, "batch_mean", counts.to(device)
        criterion.at = lambda progress: None  # type: ignore[method-assign]
        evaluation, method = Classification(counts, criterion.losses), Method(model, criterion, counts)
        module = TrainingModule(method, evaluation, normalize, PadCropFlip(2), optimizer, warmup_multistep)
        with_trainer(module, training=True, estimated_stepping_batches=9, current_epoch=0)
        configured = module.configure_optimizers()["optimizer"]
        module.on_train_epoch_start()
        subset = Subset.__new__(Subset)
        subset.images, subset.indices = images, torch.arange(50)
        batch = module.on_after_batch_transfer(subset[Step([3, 1, 4, 1], 0, 0)], 0)
        with torch.autocast(device, torch.bfloat16):
            result = module.training_step(batch, 0)
        if device == "cpu":  # the backward pass of another device needs the device
            result.backward()
            configured.step()
        module.test_step(batch, 0)
    return result


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_step_stays_on_the_device_and_waits_for_nothing(device: str) -> None:
    # Without values, whatever reads one back from the device (item, bincount, a mask) raises, and so does mixing
    # devices; that needs no GPU.
    def step(_: int) -> str:
        setattr(Method, "to", lambda self, **_: self)  # noqa: B010  # layouts cannot change without values
        with FakeTensorMode():
            with pytest.raises(DataDependentOutputException):
                torch.zeros(2).sum().item()
            try:
                return step_of(device).device.type
            except RuntimeError as error:
                if "CUDA driver" in str(error):  # PyTorch 2.6 wants one even for tensors without values
                    return "no driver"
                raise

    # In a process of its own: PyTorch remembers the device that is not there.
    ((_, found),) = Pool(step, threads=1).run(1)
    if found == "no driver":
        pytest.skip("this version of PyTorch needs a GPU's driver for it")
    assert found == device
