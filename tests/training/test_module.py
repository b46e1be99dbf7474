"""The training step: weights, reductions, prior bias, weight decay; what an evaluation counts."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from longtail.training.classifier import Classifier, Evaluation
from sklearn.metrics import confusion_matrix
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from longtail.augment import Normalize, PadCropFlip
from longtail.datasets import ArrayImages
from longtail.losses import Focal, Sigmoid, Softmax
from longtail.models import SmallCNN
from longtail.schedulers import cosine, warmup_multistep
from longtail.sweeps.pool import Pool
from longtail.training.data import Subset

COUNTS = torch.tensor([200, 60, 20, 5])
WEIGHTS = torch.tensor([0.2, 0.5, 1.1, 2.2])


def make(loss: type[nn.Module] = Softmax, **options: Any) -> Classifier:
    return Classifier(
        SmallCNN(3, 4, width=4),
        loss(COUNTS),
        WEIGHTS,
        COUNTS,
        Normalize(torch.full((3,), 0.5), torch.full((3,), 0.25)),
        options.pop("augment", None),
        partial(torch.optim.SGD, lr=0.1, weight_decay=0.01),
        cosine,
        **options,
    )


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, 3, 8, 8, generator=generator), torch.tensor([0, 0, 0, 1, 1, 2, 3, 3])


@pytest.mark.parametrize("reduction", ["batch_mean", "weighted_mean"])
def test_training_loss_is_the_weighted_reduction(reduction: str, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    classifier, (images, targets) = make(reduction=reduction).eval(), batch
    loss = classifier.training_step(batch, 0)
    logits = classifier(images)
    total = F.cross_entropy(logits, targets, WEIGHTS, reduction="sum")
    expected = {"batch_mean": total / 8, "weighted_mean": F.cross_entropy(logits, targets, WEIGHTS)}[reduction]
    torch.testing.assert_close(loss, expected)


def test_drawn_classes_are_counted(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    classifier = make()
    for _ in range(3):
        classifier.training_step(batch, 0)
    assert classifier.drawn.tolist() == [9, 6, 3, 6]


@pytest.mark.parametrize("loss", [Sigmoid, Focal])
def test_sigmoid_family_starts_at_the_prior_and_does_not_decay_that_bias(loss: type[nn.Module]) -> None:
    classifier = make(loss)
    head: nn.Linear = classifier.model.head  # type: ignore[assignment]
    torch.testing.assert_close(torch.sigmoid(head.bias), torch.full((4,), 0.25))
    classifier.trainer = SimpleNamespace(estimated_stepping_batches=10)  # type: ignore[assignment]
    groups = classifier.configure_optimizers()["optimizer"].param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decay.pop(id(head.bias)) == 0
    assert set(decay.values()) == {0.01}
    assert len(decay) == len(list(classifier.parameters())) - 1


def test_softmax_keeps_its_bias_and_decays_everything() -> None:
    classifier = make()
    assert float(classifier.model.head.bias.detach().std()) > 0  # type: ignore[union-attr, operator]
    classifier.trainer = SimpleNamespace(estimated_stepping_batches=10)  # type: ignore[assignment]
    (group,) = classifier.configure_optimizers()["optimizer"].param_groups
    assert group["weight_decay"] == 0.01


def test_only_training_images_are_augmented() -> None:
    classifier = make(augment=PadCropFlip(pad=2))
    images = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8)
    classifier.trainer = SimpleNamespace(training=False)  # type: ignore[assignment]
    plain, _ = classifier.on_after_batch_transfer((images, COUNTS), 0)
    torch.testing.assert_close(plain, (images.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25)
    classifier.trainer = SimpleNamespace(training=True)  # type: ignore[assignment]
    augmented, _ = classifier.on_after_batch_transfer((images, COUNTS), 0)
    assert augmented.shape == plain.shape
    assert not torch.equal(augmented, plain)


def test_the_model_runs_in_channels_last_memory(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    classifier = make()
    assert all(
        p.is_contiguous(memory_format=torch.channels_last) for p in classifier.model.parameters() if p.ndim == 4
    )


def test_unknown_reduction_and_missing_head_are_refused() -> None:
    with pytest.raises(ValueError, match=r"reduction=sum: must be batch_mean or weighted_mean"):
        make(reduction="sum")
    with pytest.raises(ValueError, match=r"last linear layer"):
        Classifier(nn.Flatten(), Sigmoid(COUNTS), WEIGHTS, COUNTS, nn.Identity(), None, torch.optim.SGD, cosine)


def test_evaluation_counts_over_batches_as_one() -> None:
    logits, targets = torch.randn(50, 4), torch.randint(0, 3, (50,))
    losses = torch.rand(50)
    evaluation = Evaluation(4)
    for part in torch.arange(50).split(17):
        evaluation.update(logits[part], targets[part], losses[part])
    counts = evaluation.compute()
    expected = confusion_matrix(targets, logits.argmax(1), labels=range(4))
    assert counts["confusion"].tolist() == expected.tolist()
    assert counts["hits"].tolist() == expected.diagonal().tolist()
    assert counts["support"].tolist() == targets.bincount(minlength=4).tolist()
    torch.testing.assert_close(float(counts["loss"]), float(losses.double().mean()), rtol=1e-6, atol=0)


def test_many_classes_have_no_confusion_matrix() -> None:
    evaluation = Evaluation(1001)
    evaluation.update(torch.randn(4, 1001), torch.arange(4), torch.zeros(4))
    assert "confusion" not in evaluation.compute()
    assert sum(torch.as_tensor(state).numel() for state in evaluation.metric_state.values()) == 2003


def step_of(device: str) -> Tensor:
    """A training step and an evaluation step on tensors that have shapes but no values."""
    counts = torch.ones(10)
    optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9, fused=True)
    with torch.device(device):
        images = ArrayImages(torch.zeros(50, 8, 8, 3, dtype=torch.uint8), torch.zeros(50, dtype=torch.int64))
        model, loss, normalize = SmallCNN(3, 10, 4), Focal(counts), Normalize(torch.ones(3), torch.ones(3))
        classifier = Classifier(
            model, loss, counts.to(device), counts, normalize, PadCropFlip(2), optimizer, warmup_multistep
        )
        classifier.trainer = SimpleNamespace(training=True, estimated_stepping_batches=9)  # type: ignore[assignment]
        configured = classifier.configure_optimizers()["optimizer"]
        classifier.on_train_epoch_start()
        subset = Subset.__new__(Subset)
        subset.images, subset.indices = images, torch.arange(50)
        batch = classifier.on_after_batch_transfer(subset[[3, 1, 4, 1]], 0)
        with torch.autocast(device, torch.bfloat16):
            result = classifier.training_step(batch, 0)
        if device == "cpu":  # the backward pass of another device needs the device
            result.backward()
            configured.step()
        classifier.test_step(batch, 0)
    return result


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_step_stays_on_the_device_and_waits_for_nothing(device: str) -> None:
    # Without values, whatever reads one back from the device (item, bincount, a mask) raises, and so does mixing
    # devices; that needs no GPU.
    def step(_: int) -> str:
        setattr(SmallCNN, "to", lambda self, **_: self)  # noqa: B010  # layouts cannot change without values
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
