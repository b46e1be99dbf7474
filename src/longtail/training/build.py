"""From the parts of a run to its data and its Lightning module, with all settings checked against each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor

from longtail import models
from longtail.augment import Normalize
from longtail.errors import setting
from longtail.methods import Criterion, Method
from longtail.training.data import LongTailData
from longtail.training.evaluation import Classification
from longtail.training.fit import ends
from longtail.training.module import TrainingModule

Parts = Mapping[str, Callable[..., Any]]  # of each config group, called as its contract says
Settings = Mapping[str, Any]  # the resolved config


@dataclass(frozen=True)
class Training:
    """A run that is about to be trained or evaluated.

    Attributes:
        settings: the resolved config.
        options: the option of each config group, by name.
        data: its images.
        module: its Lightning module.
        parameters: the number of trainable parameters; a stage may freeze some.
    """

    settings: Settings
    options: Mapping[str, str]
    data: LongTailData
    module: TrainingModule
    parameters: int

    @property
    def weights(self) -> Tensor:
        """The class weights of the last epoch, (C,)."""
        epochs = self.settings["trainer"]["max_epochs"]
        return self.module.method.criterion.weights_at((epochs - 1) / epochs)


def build(parts: Parts, settings: Settings, options: Mapping[str, str]) -> Training:
    """Make the data and the module of a run.

    Raises:
        InputError: a setting does not fit; nothing has been trained or written then.
    """
    data = make_data(parts, settings)
    criterion = make_criterion(parts, settings, data)
    # From here on the seed decides, however the images came to be.
    L.seed_everything(settings["seed"], workers=True, verbose=False)
    with setting("model"):
        model = parts["model"](in_channels=data.data.image_shape[0], num_classes=data.num_classes)
        models.check(model, data.data.image_shape, data.num_classes)
        if getattr(criterion.loss, "takes_cosines", False):
            models.check_cosines(model)
    with setting("method"):
        method = parts["method"](model, criterion, class_counts=data.class_counts)
        if not isinstance(method, Method):
            raise ValueError(f"must be a longtail.methods.Method, not {type(method).__name__}")
    steps = check_stages(method, data, settings)
    with setting("optimizer"):
        optimizer = parts["optimizer"](method.parameter_groups())
    with setting("scheduler"):
        parts["scheduler"](optimizer, total_steps=max(steps, 1))
    module = TrainingModule(
        method,
        Classification(data.class_counts, criterion.losses),
        Normalize(*data.data.channel_stats()),
        data.data.augment,
        parts["optimizer"],
        parts["scheduler"],
    )
    trainable = sum(p.numel() for p in method.parameters() if p.requires_grad)
    return Training(settings, options, data, module, trainable)


def check_stages(method: Method, data: LongTailData, settings: Settings) -> int:
    """Try the sampler of each stage; return the number of training batches of the run."""
    batches = first = 0
    with setting("method"):
        stages = method.stages()
        lasts = ends(stages, settings["trainer"]["max_epochs"])
        for stage, last in zip(stages, lasts, strict=True):
            data.begin(stage.sampler)
            batches, first = batches + len(data.sampler) * (last - first), last
            if min(map(len, data.sampler), default=0) == 1:
                models.check_single(method.model, data.data.image_shape, settings["batch_size"])
        data.begin(stages[0].sampler)
    return batches


def make_data(parts: Parts, settings: Settings) -> LongTailData:
    """Read the dataset, hold out its validation images, and thin out the rest."""
    images = parts["dataset"]()
    with setting(""):
        return LongTailData(
            images,
            lambda available: torch.as_tensor(parts["imbalance"](available)),
            parts["sampler"],
            validation_per_class=settings["validation_per_class"],
            subset_seed=settings["subset_seed"],
            seed=settings["seed"],
            eval_batch_size=settings["eval_batch_size"],
        )


def make_criterion(parts: Parts, settings: Settings, data: LongTailData) -> Criterion:
    """Make the loss and the weights, and try them on the classes."""
    weights, loss = parts["reweight"](data.class_counts), parts["loss"](data.class_counts)
    with setting("reweight"):
        criterion = Criterion(loss, weights, settings["reduction"])
        if criterion.weights.shape != data.class_counts.shape:
            raise ValueError(f"must give a weight for each of {data.num_classes} classes")
    with setting("loss"):
        losses = loss(torch.zeros(2, data.num_classes), torch.tensor([0, 1]))
        if losses.shape != (2,):
            raise ValueError(f"must give a loss per image, not reduced: (2,) for 2 images, not {tuple(losses.shape)}")
    return criterion
