"""How much of the device a training uses, and how fast it is on a GPU."""

import time
from dataclasses import replace

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from longtail.benchmark.inputs import BATCH, long_tail, noise
from longtail.benchmark.report import Comparison, Measured, Settings, compare
from longtail.benchmark.training import BF16, Task, bare, finish, longtail
from longtail.models import ResNet

GPU_STEPS = 440  # 4 epochs of CIFAR-10 with ratio 50
EPOCHS, MEASURED_EPOCHS = 200, 4


def device() -> str:
    """The GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def flops_of_a_step(task: Task) -> int:
    """Floating-point operations of the forward and the backward pass of a batch of 128."""
    images = torch.zeros(BATCH, *task.data.data.image_shape)
    with FlopCounterMode(display=False) as counter:
        nn.functional.cross_entropy(task.network()(images), torch.zeros(BATCH, dtype=torch.int64)).backward()
    return int(counter.get_total_flops())


def seconds_of_matmul(size: int, device: str, repeats: int = 5) -> float:
    """Seconds of a product of two square bfloat16 matrices, the best of some repeats."""
    a, b = torch.randn(2, size, size, device=device, dtype=torch.bfloat16)
    found = []
    for _ in range(repeats):
        finish(device)
        started = time.perf_counter()
        torch.matmul(a, b)
        finish(device)
        found.append(time.perf_counter() - started)
    return min(found)


def share_of_peak(settings: Settings) -> Measured:
    """Seconds of a step of Longtail in bfloat16, and of its operations at the rate of a large matrix product."""
    on = device()
    steps = settings.steps if on == "cpu" or settings.quick else GPU_STEPS
    size = 512 if settings.quick else 8192 if on == "cuda" else 2048
    data = long_tail(noise(2_000 if settings.quick else 50_000 if on == "cuda" else 10_000, 32, 3))
    task = Task(ResNet, data, steps, precision=BF16, device=on)
    flops = flops_of_a_step(task)
    return compare(
        lambda: longtail(task) / steps, lambda: flops * seconds_of_matmul(size, on) / (2 * size**3), settings
    )


def gpu_task(settings: Settings) -> Task:
    """ResNet-32 in bfloat16 at the size of CIFAR-10 with ratio 50."""
    return Task(ResNet, long_tail(noise(50_000, 32, 3)), GPU_STEPS, precision=BF16, device="cuda")


def image(settings: Settings) -> Measured:
    """Seconds per image by Longtail and by a bare loop."""
    task = gpu_task(settings)
    return compare(lambda: longtail(task), lambda: bare(task), settings, units=GPU_STEPS * BATCH)


def whole_run(settings: Settings) -> Measured:
    """Seconds of 200 epochs by Longtail and by a bare loop, from a few measured ones."""
    task = replace(gpu_task(settings), steps=None, epochs=MEASURED_EPOCHS)
    return compare(lambda: longtail(task), lambda: bare(task), settings, units=MEASURED_EPOCHS / EPOCHS)


COMPARISONS = [
    Comparison(
        "device/peak",
        "a step of ResNet-32 in bfloat16, beside it its operations at the rate of a large bfloat16 matrix product:"
        " the ratio is the share of that rate",
        "step",
        share_of_peak,
    ),
    Comparison(
        "gpu/image",
        "ResNet-32 in bfloat16 on the GPU, against a bare loop",
        "image",
        image,
        needs_gpu=True,
    ),
    Comparison(
        "gpu/run",
        f"{EPOCHS} epochs of CIFAR-10 with ratio 50 on the GPU, from {MEASURED_EPOCHS} measured, against a bare loop",
        "run",
        whole_run,
        needs_gpu=True,
    ),
]
