"""Longtail as a command: from its start to its first step, the answers that need no training, and sweeps."""

import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from longtail.benchmark.report import Comparison, Goal, Measured, Settings, UnavailableError, compare

LONGTAIL = [sys.executable, "-m", "longtail"]
JOBS, EPOCHS = 4, 400  # a job trains for about ten seconds
# The least that takes a step of the same network on the same images with a config from Hydra.
BARE_STEP = """
import hydra
from hydra.core.config_store import ConfigStore

ConfigStore.instance().store("bare", {"lr": 0.1, "batch_size": 128, "seed": 0})


def step(cfg):
    import torch
    from sklearn.datasets import load_digits
    from torch import nn

    def block(inputs, outputs):
        return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)

    torch.manual_seed(cfg.seed)
    digits = load_digits()
    images = torch.from_numpy(digits.images / 16).float()[:, None]
    images = (images - images.mean()) / images.std()
    chosen = torch.randperm(len(images))[: cfg.batch_size]
    net = nn.Sequential(
        *block(1, 32), *block(32, 32), nn.MaxPool2d(2), *block(32, 64), *block(64, 64),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )
    sgd = torch.optim.SGD(net.parameters(), lr=cfg.lr, momentum=0.9)
    loss = nn.functional.cross_entropy(net(images[chosen]), torch.from_numpy(digits.target)[chosen])
    sgd.zero_grad()
    loss.backward()
    sgd.step()
    print("step done, loss", loss.item(), "parameters", sum(p.numel() for p in net.parameters()), flush=True)


hydra.main(version_base="1.3", config_name="bare", config_path=None)(step)()
"""
BARE = [sys.executable, "-c", BARE_STEP, "hydra.output_subdir=null"]


def seconds(command: Sequence[str], says: str, environment: Mapping[str, str] | None = None) -> float:
    """Return the seconds until a command has ended; it must succeed and print `says`.

    Raises:
        UnavailableError: it fails.
    """
    started = time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})}
    )
    elapsed = time.perf_counter() - started
    if done.returncode or says not in done.stdout:
        raise _failed(done.stderr, done.returncode)
    return elapsed


def seconds_to_line(command: Sequence[str], start: str) -> float:
    """Return the seconds until a command prints a line that begins with `start`, and kill it then.

    Raises:
        UnavailableError: it ends without such a line.
    """
    started, said = time.perf_counter(), ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(start):
                elapsed = time.perf_counter() - started
                process.kill()
                return elapsed
            said += line
    raise _failed(said, process.returncode)


def _failed(said: str, code: int) -> UnavailableError:
    lines = said.strip().splitlines() or [f"exit code {code}"]
    return UnavailableError(f"the command failed: {lines[-1]}")


def first_step(settings: Settings) -> Measured:
    """Return the seconds to the end of the first training step; ours prints its epoch of one step then."""
    with tempfile.TemporaryDirectory() as directory:
        one_step = ["epochs=1", "trainer.limit_train_batches=1", "validation_per_class=0", "logger=none"]
        ours = [*LONGTAIL, *one_step, f"hydra.run.dir={directory}/longtail"]
        bare = [*BARE, f"hydra.run.dir={directory}/bare"]
        return compare(
            lambda: seconds_to_line(ours, "epoch 1/1"), lambda: seconds_to_line(bare, "step done"), settings
        )


def composed_config(settings: Settings) -> Measured:
    """Return the seconds of `--cfg job`, of Longtail and of the bare script."""
    ours, theirs = ([*command, "--cfg", "job"] for command in (LONGTAIL, BARE))
    return compare(lambda: seconds(ours, "batch_size: 128"), lambda: seconds(theirs, "lr: 0.1"), settings)


def completion(settings: Settings, line: str, says: str) -> Measured:
    """Return the seconds that the shell waits for the completions of a line."""
    environment = {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    command = [*LONGTAIL, "--shell-completion", "query=bash"]
    return Measured([seconds(command, says, environment) for _ in range(settings.rounds)])


def sweep(seeds: range, epochs: int, directory: Path, *arguments: str) -> float:
    """Return the seconds of one sweep over the seeds, in one command."""
    command = [*LONGTAIL, "-m", f"seed={','.join(map(str, seeds))}", f"epochs={epochs}", "logger=none"]
    return seconds([*command, *arguments, f"hydra.sweep.dir={directory}"], says="accuracy")


def in_turn(seeds: range, epochs: int, directory: Path) -> float:
    """Return the seconds of the same sweep, one job after another in one process."""
    return sweep(seeds, epochs, directory, "hydra/launcher=basic")


def as_commands(seeds: range, epochs: int, directory: Path) -> float:
    """Return the seconds of the same jobs, one command after another."""
    command = [*LONGTAIL, f"epochs={epochs}", "logger=none"]
    return sum(
        seconds([*command, f"seed={seed}", f"hydra.run.dir={directory}/{seed}"], says="test accuracy")
        for seed in seeds
    )


def jobs(settings: Settings, other: Callable[[range, int, Path], float]) -> Measured:
    """Return the seconds per job of a sweep by the default launcher, and by another way to run the same jobs."""
    seeds, epochs = (range(2), 1) if settings.quick else (range(JOBS), EPOCHS)
    with tempfile.TemporaryDirectory() as folder:
        fresh = (Path(folder, str(number)) for number in itertools.count())
        ours, theirs = (lambda way=way: way(seeds, epochs, next(fresh)) for way in (sweep, other))
        return compare(ours, theirs, settings, units=len(seeds), warm_up=False)


COMPARISONS = [
    Comparison(
        "startup/first-step",
        "from the command to the end of the first training step, `longtail logger=none` on the digits, against a bare"
        " script with torch and Hydra (0.8 is 1.25 times its time)",
        "command",
        first_step,
        Goal(0.8),
    ),
    Comparison(
        "startup/cfg-job",
        "`longtail --cfg job`, against the bare script's",
        "command",
        composed_config,
        Goal(0.3, "ours"),
    ),
    Comparison(
        "startup/completion",
        "shell completion of `longtail loss=`",
        "command",
        partial(completion, line="longtail loss=", says="loss=focal"),
        Goal(0.3, "ours"),
    ),
    Comparison(
        "sweep/in-turn",
        f"a sweep of {JOBS} jobs on the digits by the default launcher, against one job after another in one process",
        "job",
        partial(jobs, other=in_turn),
        Goal(1.1),
    ),
    Comparison(
        "sweep/commands", "the same, against each job as its own command", "job", partial(jobs, other=as_commands)
    ),
]
