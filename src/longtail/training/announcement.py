"""What a run says before it starts, and when it has ended."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from longtail.errors import console, warn
from longtail.runs import relative_path
from longtail.runs.task import GROUPS_OF_CLASSES, Task
from longtail.training.build import Training

PAPER_PAIRS = {("uniform_minibatch", "clipped_inverse")}  # balanced twice because a paper does it


def announce(training: Training) -> None:
    """Say in three lines what is about to be trained, and warn of what is rarely meant."""
    data, settings, options = training.data, training.settings, training.options
    counts, weights = data.class_counts, training.weights
    batch = getattr(data.sampler, "batch_size", "varying size")
    console.print(
        f"[bold]{' x '.join(options.values())}[/bold], seed {settings['seed']}\n"
        f"{int(counts.sum()):,} of {len(data.data.train):,} images in {data.num_classes} classes, "
        f"{int(counts.max()):,} to {int(counts.min()):,} per class (ratio {float(counts.max() / counts.min()):.4g}), "
        f"{len(data.validation_indices):,} held out, {len(data.data.test):,} for the test\n"
        f"{settings['trainer']['max_epochs']} epochs of {len(data.sampler)} batches of {batch}, "
        f"{training.parameters:,} parameters, {settings['trainer']['precision']}, "
        f"class weights {float(weights.min()):.4g} to {float(weights.max()):.4g}",
        soft_wrap=True,
    )
    for line in likely_mistakes(training):
        warn(line)


def likely_mistakes(training: Training) -> Iterator[str]:
    """Return a line for each choice of the settings that is probably a mistake, or does less than it says."""
    data, settings, options = training.data, training.settings, training.options
    counts, weights = data.class_counts, training.weights
    least, most = int(data.available.min()), int(data.available.max())
    if most > 2 * least and options["imbalance"] != "none":
        yield (
            f"imbalance={options['imbalance']}: the classes have {least:,} to {most:,} images to begin with and are"
            " thinned out further, in the order of their names; imbalance=none keeps all images"
        )
    ratio, realised = settings["imbalance"].get("ratio", 1), float(counts.max() / counts.min())
    if realised < ratio and int(counts.min()) == settings["imbalance"].get("at_least"):
        yield (
            f"imbalance.ratio={ratio}: the dataset is too small for it, the smallest classes keep"
            f" imbalance.at_least={int(counts.min())} and the ratio is {realised:.4g}"
        )
    head, loss = training.module.method.heads[0], training.module.method.criterion.loss
    if getattr(head, "gives_cosines", False) and not getattr(loss, "takes_cosines", False):
        yield (
            f"model.head=cosine with loss={options['loss']}: cosines in [-1, 1] hardly learn under this loss, which"
            " does not scale them; loss=ldam does"
        )
    if not torch.equal(weights, training.module.method.criterion.weights_at(math.nextafter(1.0, 0.0))):
        yield f"reweight={options['reweight']}: starts after the last of {settings['trainer']['max_epochs']} epochs"
    balancing = {"sampler": data.sampler, "loss": loss, "method": training.module.method}
    double = [group for group, part in balancing.items() if getattr(part, "balances_classes", False)]
    double += ["reweight"] if bool(weights.max() > weights.min()) else []
    if len(double) > 1 and (options["sampler"], options["reweight"]) not in PAPER_PAIRS:
        chosen = " with ".join(f"{group}={options[group]}" for group in double)
        usual = "reweight=none is the usual choice" if "reweight" in double else "one of them is the usual choice"
        yield f"{chosen}: a double correction, each of them already balances the classes; {usual}"


def say_scores(run_dir: Path, scores: Mapping[str, float], task: Task) -> None:
    """Print the test scores, and where the files are."""
    groups = {name: scores[f"{task.primary}_{name}"] for name in GROUPS_OF_CLASSES}
    shown = "  ".join(f"{name} {score:.3f}" for name, score in groups.items() if score == score)  # not NaN
    primary, spread = (scores[name] for name in task.compared)
    console.print(
        f"[bold]test {task.primary} {primary:.4f}  std over classes {spread:.4f}[/bold]  "
        f"min {scores[f'{task.primary}_min']:.3f}  {shown}\nfiles in {relative_path(run_dir)}",
        soft_wrap=True,
    )
