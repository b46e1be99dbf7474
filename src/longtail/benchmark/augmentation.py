"""Augmentation of a whole batch, against torchvision's image by image, and beside a training step."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from PIL import Image
from torch import nn
from torchvision import transforms

from longtail.augment import AutoAugment, Chain, Cutout, PadCropFlip, Rotate, SimAugment
from longtail.benchmark.inputs import BATCH, long_tail, noise
from longtail.benchmark.report import Comparison, Goal, Measured, Settings, compare, timed
from longtail.benchmark.training import BF16, Model, Task, bare
from longtail.models import FastCNN, ResNet

Transform = Callable[[Image.Image], Image.Image]
CROP_FLIP = (transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip())
JITTER = transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8)
PAIRS: dict[str, tuple[str, nn.Module, Transform]] = {
    "auto": (
        "crop, flip and AutoAugment",
        Chain(crop_flip=PadCropFlip(), auto=AutoAugment()),
        transforms.Compose([*CROP_FLIP, transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10)]),
    ),
    "sim": (
        "resized crop, flip, colour jitter and grey",
        SimAugment(),
        transforms.Compose(
            [
                transforms.RandomResizedCrop(32, scale=(0.2, 1.0)),
                transforms.RandomHorizontalFlip(),
                JITTER,
                transforms.RandomGrayscale(0.2),
            ]
        ),
    ),
    "rotate": (
        "crop, flip and rotation",
        Chain(crop_flip=PadCropFlip(), rotate=Rotate()),
        transforms.Compose([*CROP_FLIP, transforms.RandomRotation(15)]),
    ),
}


def of_images(settings: Settings, name: str) -> Measured:
    """Return the seconds of a batch, ours and torchvision's, on one core."""
    _, ours, theirs = PAIRS[name]
    images = noise(BATCH).train.batch(range(BATCH))
    singles = [Image.fromarray(image) for image in images.numpy()]
    threads, batches = torch.get_num_threads(), 1 if settings.quick else 10
    torch.set_num_threads(1)
    try:
        return compare(
            timed(lambda: [ours(images) for _ in range(batches)]),
            timed(lambda: [theirs(image) for _ in range(batches) for image in singles]),
            settings,
            units=batches,
        )
    finally:
        torch.set_num_threads(threads)


def beside_step(settings: Settings, augment: nn.Module, model: Model) -> Measured:
    """Return the seconds of augmenting a batch, and of a training step without augmentation."""
    data = replace(noise(2_000 if settings.quick else 10_000), augment=None)
    task = Task(model, long_tail(data), settings.steps, precision=BF16)
    images = data.train.batch(range(BATCH))
    steps = settings.steps
    augmented = timed(lambda: [augment(images) for _ in range(steps)])
    return compare(augmented, lambda: bare(task), settings, units=steps)


STRONG = Chain(crop_flip=PadCropFlip(), auto=AutoAugment(), cutout=Cutout())
COMPARISONS = [
    *(
        Comparison(
            f"augment/{name}",
            f"{what} of a batch of {BATCH} on one core, against torchvision and PIL image by image",
            "batch",
            partial(of_images, name=name),
            Goal(1),
        )
        for name, (what, _, _) in PAIRS.items()
    ),
    *(
        Comparison(
            f"augment/{name}-{short}",
            f"{what} of a batch of {BATCH}, against a training step of {words} in bfloat16 without them",
            "batch",
            partial(beside_step, augment=augment, model=model),
            Goal(1),
        )
        for name, what, augment in (
            ("strong", "crop, flip, AutoAugment and Cutout", STRONG),
            ("sim", *PAIRS["sim"][:2]),
        )
        for short, words, model in (("fast_cnn", "the fast CNN", FastCNN), ("resnet32", "ResNet-32", ResNet))
    ),
]
