"""What can be told of a sweep's settings before its first job starts."""

import threading
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from longtail.cli.app import CONF
from longtail.errors import InputError
from longtail.sweeps import trials


def config(*overrides: str) -> DictConfig:
    primary = "detect" if any(text.startswith("detect") for text in overrides) else "train"
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(primary, list(overrides))


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["imbalance.ratio=0"], r"imbalance\.ratio=0: must be a finite number >= 1"),
        (["imbalance.at_least=-1"], r"imbalance\.at_least=-1: must be"),
        (["reweight.beta=2"], r"reweight\.beta=2: must be a number in \[0, 1\)"),
        (["reweight=deferred", "reweight.then.beta=2"], r"reweight\.then\.beta=2: must be"),
        (["loss=focal", "loss.gamma=-1"], r"loss\.gamma=-1: must be"),
        (["loss=vs", "loss.gamma=-1"], r"loss\.gamma=-1: must be a finite number >= 0"),
        (["loss=vs", "loss.tau=x"], r"loss\.tau=x: must be a finite number"),
        (["loss=influence_balanced", "loss.then.alpha=0"], r"loss\.then\.alpha=0: must be a finite number > 0"),
        (["loss=deferred", "loss@loss.then=ldam"], r"loss\.then=LDAM: must not take cosines"),
        (["optimizer.lr=abc"], r"optimizer\.lr=abc: must be a finite number >= 0"),
        (["optimizer.nesterov=true", "optimizer.momentum=0"], "optimizer: Nesterov"),
        (["scheduler.warmup=1"], r"scheduler\.warmup=1: must be"),
        (["sampler=uniform_minibatch", "sampler.samples_per_class=0"], r"sampler\.samples_per_class=0: must be"),
        (["model.width=0"], r"model\.width=0: must be"),
        (["model=torchvision", "model.name=resnet"], r"model\.name=resnet: must be"),
        (["method=mixup", "method.alpha=0"], r"method\.alpha=0: must be"),
        (["dataset.augment.pad=-1"], r"dataset\.augment\.pad=-1: must be"),
        (["callbacks.progress_bar.lines=-1"], r"callbacks\.progress_bar\.lines=-1: must be"),
        (["detection_loss.gamma=-1"], r"detection_loss\.gamma=-1: must be"),
        (["detector=small", "detector.anchors.octaves=0"], r"detector\.anchors\.octaves=0: must be"),
        (["detector=small", "detector.prior=1"], r"detector\.prior=1: must be"),
        (["loss._target_=nowhere.Nothing"], r"loss\._target_=nowhere\.Nothing: must be what can be imported"),
        (["~loss._target_"], "loss: must have a _target_"),
        (["loss=focal", "loss.gamma=${nowhere}"], "loss.gamma: Interpolation key 'nowhere' not found"),
    ],
)
def test_what_no_data_could_make_right_is_refused(overrides: list[str], line: str) -> None:
    with pytest.raises(InputError, match=f"^{line}"):
        trials.check([config(), config(*overrides)] if "detect" not in overrides[0] else [config(*overrides)])


@pytest.mark.parametrize(
    "overrides",
    [
        ["batch_size=100000"],
        ["sampler=uniform_minibatch", "sampler.samples_per_class=5000"],
        ["sampler=uniform_minibatch", "sampler.classes_per_batch=300"],
        ["imbalance.ratio=1e6", "imbalance.at_least=0"],
        ["reweight=clipped_inverse", "reweight.low=3"],
        ["sampler=deferred", "sampler@sampler.then=uniform_minibatch"],
        ["model=torchvision", "model.weights=DEFAULT"],
        ["detector=torchvision"],
    ],
)
def test_what_some_data_would_make_right_is_left_to_the_run(overrides: list[str]) -> None:
    trials.check([config(*overrides)])


def test_the_part_of_many_jobs_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, Any]] = []
    monkeypatch.setattr(trials, "attempt", lambda *part: tried.append(part))
    trials.check([config(f"seed={seed}", f"imbalance.ratio={ratio}") for seed in (0, 1, 2) for ratio in (10, 20)])
    groups = [group for group, _ in tried]
    assert groups.count("imbalance") == 2
    assert groups.count("loss") == groups.count("model") == 1


def test_no_thread_is_left_for_the_jobs_to_be_forked_with() -> None:
    tasks = Path("/proc/self/task")
    before = len(list(tasks.iterdir())), threading.active_count()
    trials.check([config()])
    assert (len(list(tasks.iterdir())), threading.active_count()) == before
