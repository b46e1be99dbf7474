"""Where the time of a training step goes: in the usual loop, and in Longtail."""

from typing import Any

from lightning.pytorch.profilers import SimpleProfiler
from rich.table import Table

from longtail.benchmark.report import Settings
from longtail.benchmark.training import BF16, FP32, Task, longtail
from longtail.benchmark.usual import PARTS, loader, loop, usual_task

# Lightning's names of its hooks; that of the optimizer has the forward and the backward pass in it.
HOOKS = {
    "input": "[_TrainingEpochLoop].train_dataloader_next",
    "augment": "[Strategy]SingleDeviceStrategy.batch_to_device",
    "forward": "[Strategy]SingleDeviceStrategy.training_step",
    "backward": "[Strategy]SingleDeviceStrategy.backward",
    "optimizer": "[LightningModule]Classifier.optimizer_step",
}
LABELS = {
    "input": "waiting for a batch",
    "augment": "augment and normalise",
    "forward": "forward and loss",
    "backward": "backward",
    "optimizer": "optimizer",
    "rest": "the rest",
}


def of_usual_loop(task: Task) -> dict[str, float]:
    """Seconds per step of each part; augmentation is done by the workers."""
    watch, losses = loop(task, loader(task))
    return {part: watch.seconds[part] / len(losses) for part in PARTS}


def of_longtail(task: Task) -> dict[str, float]:
    """Seconds per step of each part, by Lightning's profiler."""
    profiler = SimpleProfiler()
    total = longtail(task, profiler=profiler)
    recorded = profiler.recorded_durations
    steps = len(recorded[HOOKS["forward"]])
    parts = {part: sum(recorded[hook]) / steps for part, hook in HOOKS.items()}
    parts["optimizer"] -= parts["forward"] + parts["backward"]
    parts["rest"] = total / steps - sum(parts.values())
    return parts


def profile(settings: Settings) -> dict[str, dict[str, float]]:
    """Seconds per step of each part, of the usual loop in float32 and of Longtail in bfloat16."""
    before, after = usual_task(settings, FP32), usual_task(settings, BF16)
    if not settings.quick:
        of_usual_loop(before), of_longtail(after)
    return {"usual fp32": of_usual_loop(before), "Longtail bf16": of_longtail(after)}


def table(profiles: dict[str, Any]) -> Table:
    """Milliseconds per step."""
    printed = Table("ms per step", title="where a training step of ResNet-32 goes", pad_edge=False)
    for name in profiles:
        printed.add_column(name, justify="right")
    for part in PARTS:
        printed.add_row(LABELS[part], *(f"{parts[part] * 1e3:.2f}" for parts in profiles.values()))
    printed.add_section()
    printed.add_row("together", *(f"{sum(parts.values()) * 1e3:.2f}" for parts in profiles.values()))
    return printed
