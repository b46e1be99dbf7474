"""The benchmark compares like with like and reports all of it; its speed is not tested."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from longtail import benchmark
from longtail.benchmark import (
    accelerators,
    augmentation,
    commands,
    inputs,
    metrics,
    profiles,
    report,
    samplers,
    training,
)
from longtail.benchmark.report import Comparison, Goal, Measured, Settings
from longtail.models import SmallCNN
from longtail.schedulers import warmup_multistep

from ..conftest import MakeImages

QUICK = Settings(rounds=1, steps=2, quick=True)
ROW = {"name", "compares", "quantity", "unit", "ours", "theirs", "ratio", "difference", "goal", "met", "problem"}


@pytest.fixture
def forwards() -> list[tuple[object, ...]]:
    """What went into the network: shape, training or not, autocast or not."""
    return []


@pytest.fixture
def counted(forwards: list[tuple[object, ...]]) -> type[SmallCNN]:
    class Counted(SmallCNN):
        def __init__(self, in_channels: int, num_classes: int) -> None:
            super().__init__(in_channels, num_classes, width=4)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            forwards.append((tuple(images.shape), self.training, torch.is_autocast_enabled("cpu")))
            return super().forward(images)

    return Counted


@pytest.mark.parametrize("precision", [training.FP32, training.BF16])
def test_both_sides_of_a_training_do_the_same_steps(
    forwards: list[tuple[object, ...]], counted: type[SmallCNN], precision: str
) -> None:
    task = training.Task(counted, inputs.long_tail(inputs.noise(600, 8, 1)), steps=4, precision=precision)
    assert training.longtail(task) > 0
    by_longtail = forwards.copy()
    forwards.clear()
    assert training.bare(task) > 0
    assert forwards == by_longtail
    assert len(forwards) == 4
    assert all(autocast == (precision == training.BF16) for _, _, autocast in forwards)


def test_both_sides_of_an_epoch_train_and_evaluate_the_same_images(
    forwards: list[tuple[object, ...]], counted: type[SmallCNN]
) -> None:
    task = training.Task(counted, inputs.long_tail(inputs.noise(1200, 8, 1), held_out=60), epochs=2)
    assert training.longtail(task) > 0
    by_longtail = forwards.copy()
    forwards.clear()
    assert training.bare(task) > 0
    assert forwards == by_longtail
    assert [shape[0] for shape, train, _ in forwards if not train and isinstance(shape, tuple)] == [512, 88] * 2


class Losses(Callback):
    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        self.losses.append(float(outputs["loss"]))


@pytest.mark.parametrize("name", list(augmentation.PAIRS))
def test_both_sides_of_an_augmentation_are_timed(name: str) -> None:
    measured = augmentation.of_images(QUICK, name)
    assert min(*measured.ours, *measured.theirs) > 0


def test_an_augmentation_is_timed_beside_a_step_without_one(
    forwards: list[tuple[object, ...]], counted: type[SmallCNN]
) -> None:
    measured = augmentation.beside_step(QUICK, augmentation.STRONG, counted)
    assert min(*measured.ours, *measured.theirs) > 0
    assert [shape for shape, *_ in forwards] == [(128, 3, 32, 32)] * 2


def test_the_usual_loop_has_the_losses_of_longtail() -> None:
    data = inputs.long_tail(replace(inputs.noise(1800, 8, 1), augment=None))
    constant = partial(warmup_multistep, warmup=0, milestones=())
    task = training.Task(SmallCNN, data, steps=3, scheduler=constant)
    by_longtail = Losses()
    training.longtail(task, by_longtail)
    same_order: DataLoader[Any] = DataLoader(inputs.PerImage(data, augment=False), batch_sampler=data.sampler)
    _, losses = training.usual(task, same_order)
    assert len(losses) == 3
    assert losses == pytest.approx(by_longtail.losses, rel=1e-4)
    assert len(set(losses)) == 3


def test_an_epoch_has_enough_steps_for_the_usual_loop() -> None:
    assert len(training.epoch_task(QUICK, training.FP32).data.sampler) >= QUICK.steps


def test_top_k_counts_the_k_largest() -> None:
    logits = torch.tensor([[5.0, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5]])
    assert [float(share) for share in training.top_k(logits, torch.tensor([0, 1]))] == [50, 100]
    assert [float(share) for share in training.top_k(logits, torch.tensor([1, 0]))] == [0, 50]


def test_both_inputs_give_an_epoch_of_the_same_images() -> None:
    data = inputs.long_tail(inputs.noise(600, 32, 3))
    ours, theirs = list(inputs.batches_of_longtail(data)), list(inputs.batches_per_image(data, 0))
    assert [images.shape for images, _ in ours] == [images.shape for images, _ in theirs]
    assert sum(len(images) for images, _ in ours) == len(data.train.indices)
    assert {images.dtype for images, _ in ours} == {images.dtype for images, _ in theirs} == {torch.float32}
    targets = [torch.cat([targets for _, targets in side]).bincount().tolist() for side in (ours, theirs)]
    assert targets[0] == targets[1] == data.class_counts.tolist()


def test_streamed_images_are_measured_on_a_folder(make_images: MakeImages, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_images({"a": 5, "b": 3}, {"a": 1, "b": 1})
    seen: list[list[Any]] = []

    def compare(ours: report.Timing, theirs: report.Timing, settings: Settings) -> Measured:
        seen.append([ours(), theirs()])
        return Measured(*([value] for value in seen[0]))

    monkeypatch.setattr(inputs, "compare", compare)
    assert inputs.stream(replace(QUICK, root=str(root / "train")), 0, size=16).ours == seen[0][:1]
    [(images, targets)] = inputs.streamed(ImageFolder(str(root / "train")), 0, 16).train_dataloader()
    assert images.shape == (8, 16, 16, 3)
    assert targets.bincount().tolist() == [5, 3]
    with pytest.raises(report.UnavailableError, match="needs --root=DIR"):
        inputs.stream(QUICK, 0)


@pytest.mark.parametrize("name", list(samplers.SIZES))
def test_the_sizes_of_the_samplers_are_as_said(name: str) -> None:
    size = samplers.SIZES[name]
    counts = np.bincount(size.targets())
    assert (counts.sum(), len(counts), counts.min() >= 2) == (size.images, size.classes, True)
    assert counts.max() == size.largest


@pytest.mark.parametrize(
    ("sides", "package"), [(samplers.uniform, "pytorch_metric_learning"), (samplers.balanced, "torchsampler")]
)
def test_both_samplers_draw_as_many_images_in_batches_of_the_same_size(
    sides: Callable[..., tuple[samplers.Batches, samplers.Batches]], package: str
) -> None:
    pytest.importorskip(package)
    size = samplers.Size(1000, 20, 300, batch_size=40, samples_per_class=4)
    targets = size.targets()
    ours, theirs = ([len(batch) for batch in make()] for make in sides(size, targets))
    assert ours == theirs
    assert sum(ours) == 1000


def test_unevenness_is_counted() -> None:
    targets = np.array([0, 0, 1, 1])
    assert samplers.use_counts_differ_by([[0, 0, 0, 2, 3]], targets) == 3
    assert samplers.use_counts_differ_by([[0, 1], [2, 3]], targets) == 0
    assert samplers.batches_with_a_class_twice([[0, 1], [0, 2], [2, 3]], targets, 1) == 2


def test_uniform_mini_batches_keep_what_they_promise() -> None:
    pytest.importorskip("pytorch_metric_learning")
    size = samplers.Size(1000, 20, 300, batch_size=40, samples_per_class=4)
    assert samplers.count(QUICK, size, samplers.use_counts_differ_by).ours[0] <= 1
    assert samplers.count(QUICK, size, samplers.batches_with_a_class_twice).ours[0] == 0


@pytest.mark.parametrize(
    ("row", "module"),
    [
        ("samplers/uniform-cifar10", "pytorch_metric_learning.samplers"),
        ("samplers/balanced-cifar10", "torchsampler"),
    ],
)
def test_a_missing_package_is_named(
    row: str, module: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    benchmark.main(["--quick", "--only", row, "--json", str(tmp_path / "out.json")])
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert {row["problem"] for row in rows} == {"not installed: pip install 'longtail[benchmark]'"}
    assert all(row["ours"] is row["ratio"] is None for row in rows)
    assert "longtail[benchmark]" in "".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("num_classes", [10, 300])
def test_both_ways_to_count_agree(num_classes: int) -> None:
    logits, targets = metrics.scored(num_classes)
    ours = metrics.longtail_accuracy(num_classes, logits, targets, 2)
    theirs = metrics.torchmetrics_accuracy(num_classes, logits, targets, 2)
    torch.testing.assert_close(ours.nan_to_num(0).float(), theirs)
    confusion = metrics.longtail_evaluation(num_classes, logits, targets, 2)["confusion"]
    assert torch.equal(confusion, metrics.torchmetrics_evaluation(num_classes, logits, targets, 2)[1])


def test_the_bare_script_steps_the_same_network(capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, Any] = {}
    exec(commands.BARE_STEP.rpartition("hydra.main")[0], namespace)
    namespace["step"](SimpleNamespace(lr=0.1, batch_size=128, seed=0))
    said = capsys.readouterr().out
    assert said.startswith("step done")
    assert int(said.split()[-1]) == sum(p.numel() for p in SmallCNN(1, 10).parameters())


def test_a_sweep_is_the_same_jobs_each_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran: list[list[str]] = []

    def seconds(command: list[str], **_: object) -> float:
        ran.append(command[len(commands.LONGTAIL) :])
        return 1.0

    monkeypatch.setattr(commands, "seconds", seconds)
    assert commands.sweep(range(3), 7, tmp_path) == commands.in_turn(range(3), 7, tmp_path) == 1
    assert commands.as_commands(range(3), 7, tmp_path) == 3
    default, basic, *single = ran
    assert set(basic) - set(default) == {"hydra/launcher=basic"}
    assert {"-m", "seed=0,1,2", "epochs=7"} <= set(default)
    assert [seed for job in single for seed in job if seed.startswith("seed=")] == ["seed=0", "seed=1", "seed=2"]
    assert all("epochs=7" in job for job in single)


def test_commands_are_timed_and_their_failures_told() -> None:
    script = "import sys, time; print('ready', flush=True); time.sleep(60)"
    assert 0 < commands.seconds_to_line([sys.executable, "-c", script], "ready") < 60
    assert commands.seconds([sys.executable, "-c", "print('said')"], says="said") > 0
    fails = [sys.executable, "-c", "import sys; sys.exit('that was wrong')"]
    with pytest.raises(report.UnavailableError, match="that was wrong"):
        commands.seconds(fails, says="said")
    with pytest.raises(report.UnavailableError, match="that was wrong"):
        commands.seconds_to_line(fails, "ready")


def test_a_profile_divides_a_whole_step() -> None:
    task = training.Task(SmallCNN, inputs.long_tail(inputs.noise(900, 8, 1)), steps=2)
    usual = profiles.of_usual(task, DataLoader(inputs.PerImage(task.data), inputs.BATCH))
    by_longtail = profiles.of_longtail(task)
    for name, parts in {"usual": usual, "longtail": by_longtail}.items():
        assert set(parts) == {*profiles.HOOKS, "rest", "whole"}, name
        assert min(parts.values()) >= 0, name
        assert sum(parts[part] for part in profiles.HOOKS) <= parts["whole"], name
    assert all(by_longtail[part] > 0 for part in profiles.HOOKS)
    assert report.profile_table({"usual": usual, "longtail": by_longtail}).row_count == len(usual)


def test_operations_of_a_step_are_counted() -> None:
    task = training.Task(SmallCNN, inputs.long_tail(inputs.noise(600, 8, 1)))
    first, others = 9 * 1 * 32 * 64, 9 * 32 * 32 * 64 + 9 * 32 * 64 * 16 + 9 * 64 * 64 * 16 + 64 * 10
    # Multiply and add; backward once for the weights, and once for the input of all but the first layer.
    assert accelerators.flops_of_a_step(task) == 128 * 2 * (2 * first + 3 * others)


@pytest.mark.parametrize("measure", [accelerators.step, accelerators.whole_run, accelerators.share_of_peak])
def test_what_is_measured_on_a_gpu_runs_anywhere(
    measure: Callable[..., Measured], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerators, "ResNet", SmallCNN)
    measured = measure(QUICK, device="cpu")
    assert len(measured.ours) == len(measured.theirs) == 1
    assert min(*measured.ours, *measured.theirs) > 0


def test_compare_takes_rounds_in_turn() -> None:
    order: list[str] = []
    values = {"ours": iter([9.0, 1.0, 2.0, 4.0]), "theirs": iter([9.0, 10.0, 30.0, 20.0])}

    def timing(name: str) -> report.Timing:
        def run() -> float:
            order.append(name)
            return next(values[name])

        return run

    measured = report.compare(timing("ours"), timing("theirs"), Settings(rounds=3), units=2)
    assert order == ["ours", "theirs"] * 4
    assert measured == Measured([0.5, 1, 2], [5, 15, 10])
    row = Comparison("a/b", "what with what", "step", lambda settings: measured).row(Settings())
    assert row["ratio"] == {"median": 10, "min": 5, "max": 15, "rounds": 3}
    assert row["difference"] == -8


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        (Goal(4), True),
        (Goal(6), False),
        (Goal(-4, "difference"), True),
        (Goal(-5, "difference"), False),
        (Goal(1, "ours"), True),
        (Goal(0, "ours"), False),
        (None, None),
    ],
)
def test_a_goal_is_judged(goal: Goal | None, met: bool | None) -> None:
    comparison = Comparison("a/b", "what with what", "step", lambda settings: Measured([1.0], [5.0]), goal)
    assert comparison.row(Settings(rounds=1))["met"] is met
    assert comparison.row(QUICK)["met"] is None


def test_the_json_is_complete(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.json"
    benchmark.main(["--quick", "--only", "metrics/accuracy-10", "--json", str(path)])
    content = json.loads(path.read_text())
    assert {"machine", "versions", "rounds", "steps", "quick", "root", "command", "rows"} == set(content)
    assert {"cpu", "cores", "threads", "gpu", "system"} == set(content["machine"])
    assert {"python", "torch", "lightning"} <= set(content["versions"])
    [row] = content["rows"]
    assert set(row) == ROW
    assert set(row["ratio"]) == set(row["ours"]) == set(row["theirs"]) == {"median", "min", "max", "rounds"}
    assert row["ratio"]["median"] == pytest.approx(row["theirs"]["median"] / row["ours"]["median"])
    assert row["goal"] == {"of": "ratio", "bound": 5}
    assert "metrics/accuracy-10" in capsys.readouterr().out


def test_rows_are_chosen_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    names = [comparison.name for comparison in benchmark.COMPARISONS]
    assert len(set(names)) == len(names)
    assert [c.name for c in benchmark.select("metrics/accuracy")] == ["metrics/accuracy-10", "metrics/accuracy-8142"]
    assert [c.name for c in benchmark.select("*-8142")] == ["metrics/accuracy-8142"]
    assert len(benchmark.select("*")) == len([c for c in benchmark.COMPARISONS if not c.needs_gpu]) or (
        torch.cuda.is_available()
    )
    gpu = {c.name for c in benchmark.COMPARISONS if c.needs_gpu}
    assert gpu == {"gpu/resnet32", "gpu/run", "device/peak"}
    with pytest.raises(SystemExit):
        benchmark.main(["--only", "nothing"])
    assert "metrics/accuracy-10" in capsys.readouterr().err


def test_every_row_can_be_printed() -> None:
    measured = iter([Measured([1.0], [5.0]), Measured([1e-3], [2e-5]), Measured([2e-6]), Measured([])])
    rows = [
        replace(comparison, measure=lambda settings: next(measured, Measured([1], [3]))).row(Settings())
        for comparison in benchmark.COMPARISONS
    ]
    shown = report.table(report.report(Settings(), rows))
    assert shown.row_count == len(benchmark.COMPARISONS)
    assert [report.duration(s) for s in (1234, 12.34, 0.0123, 8.1e-6)] == ["1,234 s", "12.3 s", "12.3 ms", "8.1 µs"]
