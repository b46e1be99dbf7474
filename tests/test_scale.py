"""Two million images in thirty thousand classes: nothing grows with C * C or N * C."""

import resource
import subprocess
import sys

import numpy as np
import torch

from longtail import figures, runs
from longtail.datasets import ArrayImages, ImageData
from longtail.imbalance import none
from longtail.reweight import class_balanced, clipped_inverse
from longtail.samplers import ClassBalanced, Random, UniformMinibatch
from longtail.training.data import LongTailData
from longtail.training.evaluation import Classification
from longtail.training.terminal import per_class

BYTES_PER_IMAGE, BYTES_PER_CLASS = 200, 2_000  # of all that is done below together, generously


def long_tail(num_images: int, num_classes: int) -> ImageData:
    """Images of one pixel, n_c proportional to c ** -0.9, in random order."""
    share = np.arange(1, num_classes + 1) ** -0.9
    counts = np.maximum((share / share.sum() * num_images).astype(int), 2)
    counts[0] += num_images - counts.sum()
    targets = np.repeat(np.arange(num_classes), counts)
    np.random.default_rng(0).shuffle(targets)
    images = ArrayImages(np.zeros((num_images, 1, 1, 1), np.uint8), targets)
    test = ArrayImages(np.zeros((num_classes, 1, 1, 1), np.uint8), np.arange(num_classes))
    return ImageData(images, test, [f"class {c}" for c in range(num_classes)], (1, 1, 1))


def run(num_images: int, num_classes: int) -> None:
    """What a run does to the data, the weights and the counts; prints by how many bytes memory grew at most."""
    found = long_tail(num_images, num_classes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for sampler in (Random, ClassBalanced, UniformMinibatch):
        options = {"samples_per_class": 1} if sampler is UniformMinibatch else {}
        data = LongTailData(
            found,
            none,
            lambda *args, sampler=sampler, options=options, **facts: sampler(
                *args, batch_size=256, **options, **facts
            ),
            validation_per_class=1,
        )
        seen = sum(len(batch) for batch in data.sampler)
        assert abs(seen - len(data.train.indices)) <= 256
    for weights in (class_balanced(data.class_counts), clipped_inverse(data.class_counts)):
        assert weights.shape == (num_classes,)
    evaluation = Classification(data.class_counts, lambda logits, targets: torch.zeros(len(targets)))
    targets = torch.arange(16)
    evaluation.update(torch.nn.functional.one_hot(targets, num_classes).float(), targets)
    outcome = evaluation.outcome()
    assert outcome.scores["accuracy"] == 1
    train_counts = data.class_counts.tolist()
    rows = runs.class_rows(found.class_names, train_counts, outcome.support, weights.tolist(), outcome.per_class)
    per_class(rows, runs.CLASSIFICATION)
    runs.safe_names(found.class_names)
    figures.classes(found.class_names, train_counts, outcome.per_class)
    unit = 1 if sys.platform == "darwin" else 1024
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit)


SIZES = [(437_513, 8_142), (2_000_000, 30_000)]  # the first are iNaturalist's; growing, for a peak hides a lower one


def test_memory_grows_with_images_and_classes_alone() -> None:
    command = f"from tests.test_scale import run\nfor size in {SIZES}: run(*size)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for (num_images, num_classes), grown in zip(SIZES, map(int, done.stdout.split()), strict=True):
        most = BYTES_PER_IMAGE * num_images + BYTES_PER_CLASS * num_classes
        assert grown <= most
        assert most < 4 * num_classes**2  # so that it tells
