"""Where the time of a training step goes: in the usual loop, and in Longtail."""

import itertools
import time
from dataclasses import replace

import torch
from torch.utils.data import DataLoader

from longtail.benchmark.accelerators import Synchronised
from longtail.benchmark.inputs import BATCH, PerImage
from longtail.benchmark.report import Settings
from longtail.benchmark.training import BF16, FP32, WORKERS, Batches, Task, epoch_task, finish, longtail, usual

# Lightning's names of its hooks; that of the optimizer contains the forward and the backward pass.
HOOKS = {
    "input": "[_TrainingEpochLoop].train_dataloader_next",
    "augment": "[Strategy]SingleDeviceStrategy.batch_to_device",
    "forward": "[Strategy]SingleDeviceStrategy.training_step",
    "backward": "[Strategy]SingleDeviceStrategy.backward",
    "optimizer": "[LightningModule]TrainingModule.optimizer_step",
}


def of_usual(task: Task, loader: Batches) -> dict[str, float]:
    """Return the seconds per step of each part and of the whole; the workers of the loader augment."""
    laps: list[tuple[str, float]] = []

    def lap(part: str) -> None:
        finish(task.device)
        laps.append((part, time.perf_counter()))

    whole, losses = usual(task, loader, lap)
    parts = dict.fromkeys([*HOOKS, "rest"], 0.0)
    for (_, started), (part, ended) in itertools.pairwise(laps):
        parts[part] += (ended - started) / len(losses)
    return parts | {"whole": whole / len(losses)}


def of_longtail(task: Task) -> dict[str, float]:
    """Return the seconds per step of each part and of the whole, by Lightning's profiler."""
    profiler = Synchronised()
    whole = longtail(task, profiler=profiler) / (task.steps or 1)
    parts = {part: sum(profiler.recorded_durations[hook]) / (task.steps or 1) for part, hook in HOOKS.items()}
    parts["optimizer"] -= parts["forward"] + parts["backward"]
    return parts | {"rest": whole - sum(parts.values()), "whole": whole}


def profile(settings: Settings) -> dict[str, dict[str, float]]:
    """Return the profiles of the usual loop in float32 and of Longtail in bfloat16, on a GPU if there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    before, after = (replace(epoch_task(settings, p), steps=settings.steps, device=device) for p in (FP32, BF16))
    loader = DataLoader(PerImage(before.data), BATCH, shuffle=True, num_workers=WORKERS)
    if not settings.quick:
        of_usual(before, loader), of_longtail(after)
    return {"usual fp32": of_usual(before, loader), "Longtail bf16": of_longtail(after)}
