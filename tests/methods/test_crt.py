"""cRT: two stages in one run."""

from functools import partial
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from longtail.datasets import digits
from longtail.imbalance import exponential
from longtail.losses import Softmax
from longtail.methods import Criterion
from longtail.methods.crt import ClassifierRetraining
from longtail.models import SmallCNN
from longtail.samplers import ClassBalanced, Random
from longtail.schedulers import cosine
from longtail.training.data import LongTailData
from longtail.training.evaluation import Classification
from longtail.training.fit import fit
from longtail.training.module import TrainingModule


class Watch(Callback):
    """Notes, each epoch, the head, the rest, the learning rate, the class weights and what was drawn."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.note(trainer, pl_module, "start")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.note(trainer, pl_module, "end")

    def note(self, trainer: L.Trainer, module: Any, moment: str) -> None:
        model = module.method.model
        self.seen.append({
            "epoch": trainer.current_epoch,
            "moment": moment,
            "step": trainer.global_step,
            "head": model.head.weight.detach().clone(),
            "body": [value.clone() for name, value in model.state_dict().items() if not name.startswith("head")],
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "weights": module.method.criterion.weights.tolist(),
            "drawn": module.evaluation.drawn.clone(),
        })  # fmt: skip


@pytest.fixture(scope="module")
def seen() -> list[dict[str, Any]]:
    L.seed_everything(0, verbose=False)
    data = LongTailData(digits(), partial(exponential, ratio=20), partial(Random, batch_size=64))
    criterion = Criterion(Softmax(data.class_counts), torch.full((10,), 2.0))
    sampler = partial(ClassBalanced, batch_size=64)
    method = ClassifierRetraining(SmallCNN(1, 10, width=4), criterion, data.class_counts, sampler, share=0.5)
    normalize: Any = torch.nn.Module()
    normalize.forward = lambda images: images.permute(0, 3, 1, 2) / 255
    optimizer = partial(torch.optim.SGD, lr=0.1)
    evaluation = Classification(data.class_counts, criterion.losses)
    module = TrainingModule(method, evaluation, normalize, None, optimizer, cosine)
    watch = Watch()
    settings: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=4, callbacks=[watch], enable_model_summary=False,
        use_distributed_sampler=False, **settings,
    )  # fmt: skip
    fit(trainer, module, data)
    return watch.seen


def test_the_stages_are_one_run(seen: list[dict[str, Any]]) -> None:
    assert [(note["epoch"], note["moment"]) for note in seen] == [(e, m) for e in range(4) for m in ("start", "end")]
    steps = seen[1]["step"]
    assert [note["step"] for note in seen[1::2]] == [steps, 2 * steps, 3 * steps, 4 * steps]


def test_the_second_stage_trains_a_new_head_alone(seen: list[dict[str, Any]]) -> None:
    before, start, end = seen[3], seen[4], seen[7]
    assert not torch.equal(before["head"], start["head"])
    assert not torch.equal(start["head"], end["head"])
    assert all(torch.equal(a, b) for a, b in zip(before["body"], end["body"], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(seen[0]["body"], before["body"], strict=True))


def test_the_schedule_starts_anew(seen: list[dict[str, Any]]) -> None:
    assert seen[0]["lr"] == seen[4]["lr"] == 0.1
    assert seen[3]["lr"] < 0.01
    assert seen[7]["lr"] < 0.01


def test_the_second_stage_is_balanced_by_its_sampler_instead_of_weights(seen: list[dict[str, Any]]) -> None:
    assert seen[3]["weights"] == [2.0] * 10
    assert seen[7]["weights"] == [1.0] * 10
    first, second = seen[3]["drawn"].double(), (seen[7]["drawn"] - seen[3]["drawn"]).double()
    assert float(first.max() / first.min()) > 10
    assert float(second.max() / second.min()) < 4


@pytest.mark.parametrize("share", [0, 1, -0.1, float("nan"), "half"])
def test_a_bad_share_is_refused(share: float) -> None:
    criterion = Criterion(Softmax(torch.ones(10)), torch.ones(10))
    with pytest.raises(ValueError, match=rf"^share={share}: must be a number in \(0, 1\)"):
        ClassifierRetraining(SmallCNN(1, 10, width=4), criterion, torch.ones(10), Random, share)
