"""Seconds from the command to the first finished training step, and to the answers that need no training."""

import sys
import tempfile
from functools import partial

from longtail.benchmark.commands import longtail_command, seconds, seconds_to_line
from longtail.benchmark.report import Comparison, Goal, Measured, Settings, compare

# The least that does a step of the same network on the same images with a config from Hydra.
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


def bare_command(directory: str) -> list[str]:
    """The bare script as a command that leaves nothing but its log in the directory."""
    return [sys.executable, "-c", BARE_STEP, f"hydra.run.dir={directory}/bare", "hydra.output_subdir=null"]


def first_step(settings: Settings) -> Measured:
    """Seconds from the command to the end of the first training step; ours prints its one epoch of one step then."""
    with tempfile.TemporaryDirectory() as directory:
        one_step = ["epochs=1", "trainer.limit_train_batches=1", "validation_per_class=0"]
        command = [*longtail_command(), "logger=none", *one_step, f"hydra.run.dir={directory}/longtail"]
        bare = bare_command(directory)
        return compare(
            lambda: seconds_to_line(command, "epoch 1/1"), lambda: seconds_to_line(bare, "step done"), settings
        )


def settings_of_a_job(settings: Settings) -> Measured:
    """Seconds of `longtail --cfg job`, beside the same of the bare script."""
    ours, theirs = [*longtail_command(), "--cfg", "job"], [*bare_command("unused"), "--cfg", "job"]
    return compare(lambda: seconds(ours, says="batch_size: 128"), lambda: seconds(theirs, says="lr: 0.1"), settings)


def completion(settings: Settings, line: str, says: str) -> Measured:
    """Seconds that the shell waits for the completions of a line."""
    environment = {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    command = [*longtail_command(), "--shell-completion", "query=bash"]
    one_side = partial(seconds, command, environment, says)
    return Measured([one_side() for _ in range(settings.rounds)])


COMPARISONS = [
    Comparison(
        "startup/first-step",
        "from the command to the end of the first training step, `longtail logger=none` on the digits, against a bare"
        " script with torch and Hydra (0.8 is 1.25 times its time)",
        "command",
        first_step,
        Goal(at_least=0.8),
    ),
    Comparison(
        "startup/cfg-job",
        "`longtail --cfg job`, beside it the same of the bare script",
        "command",
        settings_of_a_job,
        Goal("ours", at_most=0.3),
    ),
    Comparison(
        "startup/completion",
        "shell completion of `longtail loss=`",
        "command",
        partial(completion, line="longtail loss=", says="loss=focal"),
        Goal("ours", at_most=0.3),
    ),
]
