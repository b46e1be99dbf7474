"""Training on a GPU: a step, a whole run, and the share of the device's peak that a step reaches."""

import torch
from lightning.pytorch.profilers import SimpleProfiler
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from longtail.benchmark.inputs import BATCH, long_tail, noise
from longtail.benchmark.report import Comparison, Measured, Settings, compare, timed
from longtail.benchmark.training import BF16, Task, bare, finish, longtail
from longtail.models import ResNet

GPU_STEPS = 440  # 4 epochs of CIFAR-10 with ratio 50
EPOCHS, MEASURED_EPOCHS = 200, 4


def steps_task(settings: Settings, device: str) -> Task:
    """Make a task of ResNet-32 in bfloat16 at the size of CIFAR-10 with ratio 50."""
    data = long_tail(noise(2_000 if settings.quick else 50_000))
    return Task(ResNet, data, settings.steps if settings.quick else GPU_STEPS, precision=BF16, device=device)


def run_task(settings: Settings, device: str) -> Task:
    """Make the same of whole epochs, each with an evaluation of as many images as CIFAR-10's test set has."""
    data = long_tail(noise(600), held_out=10) if settings.quick else long_tail(noise(60_000), held_out=1_000)
    return Task(ResNet, data, epochs=1 if settings.quick else MEASURED_EPOCHS, precision=BF16, device=device)


class Synchronised(SimpleProfiler):
    """Counts a GPU's work towards the part of the step that asked for it."""

    def stop(self, action_name: str) -> None:
        """Stop when the GPU has done its work."""
        finish("cuda" if torch.cuda.is_available() else "cpu")
        super().stop(action_name)


def flops_of_a_step(task: Task) -> int:
    """Return the floating-point operations of the forward and the backward pass of a batch."""
    images = torch.zeros(BATCH, *task.data.data.image_shape)
    with FlopCounterMode(display=False) as counter:
        nn.functional.cross_entropy(task.network()(images), torch.zeros(BATCH, dtype=torch.int64)).backward()
    return int(counter.get_total_flops())


def seconds_per_flop(size: int, device: str, repeats: int = 5) -> float:
    """Return the seconds per operation of a product of two square bfloat16 matrices, the best of some repeats."""
    a, b = torch.randn(2, size, size, device=device, dtype=torch.bfloat16)

    def product() -> None:
        torch.matmul(a, b)
        finish(device)

    finish(device)
    return min(timed(product)() for _ in range(repeats)) / (2 * size**3)


def step(settings: Settings, device: str = "cuda") -> Measured:
    """Return the seconds of a step by Longtail and by a bare loop."""
    task = steps_task(settings, device)
    return compare(lambda: longtail(task), lambda: bare(task), settings, units=task.steps or 1)


def whole_run(settings: Settings, device: str = "cuda") -> Measured:
    """Return the seconds of a run by Longtail and by a bare loop, from a few of its epochs."""
    task = run_task(settings, device)
    return compare(lambda: longtail(task), lambda: bare(task), settings, units=task.epochs / EPOCHS)


def share_of_peak(settings: Settings, device: str = "cuda") -> Measured:
    """Return the seconds of a step of Longtail, and of its operations at the rate of a large matrix product."""
    task, size = steps_task(settings, device), 512 if settings.quick else 8192
    steps, flops = task.steps or 1, flops_of_a_step(task)
    return compare(lambda: longtail(task) / steps, lambda: flops * seconds_per_flop(size, device), settings)


BARE = "a step of ResNet-32 in bfloat16 on the GPU, against a bare loop"
RUN = (
    f"{EPOCHS} epochs with evaluation at the size of CIFAR-10, ratio 50, from {MEASURED_EPOCHS}, against a bare loop"
)
PEAK = "a step of ResNet-32 in bfloat16, against its operations at the rate of a large product of matrices"
COMPARISONS = [
    Comparison("gpu/resnet32", BARE, "step", step, needs_gpu=True),
    Comparison("gpu/run", RUN, "run", whole_run, needs_gpu=True),
    Comparison("device/peak", PEAK, "step", share_of_peak, needs_gpu=True),
]
