"""From the parts of a detection run to its data and its Lightning module, with all settings checked."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from longtail import runs
from longtail.augment import Normalize
from longtail.datasets import channel_stats
from longtail.detection import anchors, pictures
from longtail.detection.callbacks import LossShares
from longtail.detection.criterion import DetectionCriterion
from longtail.detection.evaluation import AveragePrecision, DetectionOutcome
from longtail.detection.losses import Focal
from longtail.detection.method import Detection
from longtail.detection.scenes import Scenes, check
from longtail.errors import InputError, setting
from longtail.samplers import Random
from longtail.training.data import ImageBatches, Split
from longtail.training.evaluation import Outcome
from longtail.training.module import TrainingModule
from longtail.training.training import Parts, Settings, Training, check_schedule, check_weights, seed, world_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENOUGH_RECALL = 0.95  # of the anchors: what they do not cover is hardly learned, whatever the loss


class SceneBatches(ImageBatches):
    """Serve whole batches of images with boxes; an image has no class of its own."""

    @property
    def train_targets(self) -> Tensor:
        """0 for each of the training images, (N,): the sampler has no classes to go by."""
        return torch.zeros(len(self.train.indices), dtype=torch.int64)


@dataclass(frozen=True)
class DetectionTraining(Training):
    """The training of a detector."""

    @property
    def scenes(self) -> Scenes:
        """The images and their boxes, as found."""
        assert isinstance(self.data.data, Scenes)
        return self.data.data

    @property
    def anchors(self) -> Tensor | None:
        """The anchors of an image, (A, 4); None for a detector without."""
        found: Any = self.module.method.model.anchors
        return found if isinstance(found, Tensor) else None

    @cached_property
    def recall(self) -> float | None:
        """The share of the training boxes that an anchor covers with IoU >= 0.5; None without anchors."""
        return None if self.anchors is None else anchors.recall(self.anchors, self.scenes.train.targets)

    def facts(self, steps: int, seen: int) -> dict[str, Any]:
        """Add the boxes, and how they are used."""
        objects = self.scenes.train.targets
        return {
            "train_boxes_sha256": runs.digest(objects.boxes.numpy(), objects.labels.numpy()),
            **super().facts(steps, seen),
            "anchors": None if self.anchors is None else len(self.anchors),
            "boxes_seen": seen,
            "image_shape": list(self.scenes.image_shape),
            "augmentation": {"flip": self.scenes.flip},
            "box_weight": self.settings["box_weight"],
        }

    def callbacks(self) -> list[LossShares]:
        """Watch what the loss is made of."""
        return [LossShares()]

    def contents(self) -> str:
        """Describe the images, their boxes and the anchors."""
        data, (_, height, width) = self.data, self.scenes.image_shape
        covered = ""
        if self.anchors is not None:
            covered = (
                f"\n{len(self.anchors):,} anchors an image of {height} x {width}, anchor recall at IoU 0.5:"
                f" {self.recall:.3f}"
            )
        return (
            f"{int(data.class_counts.sum()):,} boxes in {len(data.data.train):,} images, {self.classes()},"
            f" {len(data.held_out.indices):,} images held out, {len(data.data.test):,} for the test{covered}"
        )

    def mistakes(self) -> Iterator[str]:
        """Yield what was mended in the data, and a warning of anchors that do not fit the boxes."""
        yield from self.scenes.notes
        if self.recall is not None and self.recall < ENOUGH_RECALL:
            yield (
                f"detector={self.options['detector']}: its anchors cover only {self.recall:.3f} of the training boxes"
                f" at IoU 0.5; above {ENOUGH_RECALL} is usual, by other sizes, octaves or aspects"
            )

    def pictures(self, outcome: Outcome) -> dict[str, "Figure"]:
        """Draw some test images, the precision over the recall, and which negatives the loss is made of."""
        assert isinstance(outcome, DetectionOutcome)
        return pictures.of_run(self.module, self.scenes, outcome)

    def write(self, directory: Path, outcome: Outcome) -> None:
        """Write the precision over the recall."""
        assert isinstance(outcome, DetectionOutcome)
        runs.write_precision_recall(directory, pictures.RECALLS, pictures.by_class(self.data.class_names, outcome))


def build(parts: Parts, settings: Settings, options: Mapping[str, str]) -> DetectionTraining:
    """Make the data and the module of a run.

    Raises:
        InputError: a setting does not fit; nothing has been trained or written then.
    """
    scenes = parts["detection_data"](parts["imbalance"])
    with setting("detection_data"):
        check(scenes)
    data = make_data(scenes, settings)
    criterion = make_criterion(parts, settings, data)
    seed(settings)
    module = make_module(parts, scenes.image_shape, data.class_counts, criterion, scenes.flip)
    module.normalize, module.seed = Normalize(*channel_stats(*data.train)), settings["seed"]
    check_schedule(parts, module.method, settings["trainer"]["max_epochs"] * len(data.sampler), settings)
    return DetectionTraining(settings, options, data, module)


def make_module(
    parts: Parts,
    image_shape: Sequence[int],
    class_counts: Tensor,
    criterion: DetectionCriterion | None = None,
    flip: bool = False,
) -> TrainingModule:
    """Make the module of a detector for images of (channels, H, W); without a criterion it is not to be trained.

    Raises:
        InputError: a setting of the detector does not fit.
    """
    channels, height, width = image_shape
    with setting("detector"):
        model = parts["detector"](in_channels=channels, num_classes=len(class_counts), image_size=(height, width))
        if criterion and hasattr(model, "check"):
            model.check(criterion)
    criterion = criterion or DetectionCriterion(Focal(class_counts), torch.ones(len(class_counts)))
    method = Detection(model, criterion, class_counts, flip)
    normalize = Normalize(torch.zeros(channels), torch.ones(channels))
    evaluation = AveragePrecision(class_counts)
    return TrainingModule(method, evaluation, normalize, None, parts["optimizer"], parts["scheduler"])


def make_data(scenes: Scenes, settings: Settings) -> SceneBatches:
    """Put images and their boxes into batches.

    Raises:
        InputError: a setting does not fit.
    """
    if settings["selection"] == "best_validation" and scenes.validation is None:
        raise InputError("selection=best_validation: must have held-out images, set those of detection_data")
    held_out = Split(scenes.train, np.arange(0)) if scenes.validation is None else Split.whole(scenes.validation)
    counts = scenes.train.targets.class_counts(len(scenes.class_names))
    with setting(""):
        sampler = partial(Random, batch_size=settings["batch_size"])
        train = Split.whole(scenes.train)
        seed, size = settings["seed"], settings["eval_batch_size"]
        return SceneBatches(scenes, train, held_out, counts, sampler, seed, size, world_size(settings))


def make_criterion(parts: Parts, settings: Settings, data: SceneBatches) -> DetectionCriterion:
    """Make the loss and the weights, and try them on the classes."""
    weights, loss = parts["reweight"](data.class_counts), parts["detection_loss"](data.class_counts)
    with setting("detection_loss"):
        if not isinstance(loss, torch.nn.Module):
            raise ValueError(f"must be an nn.Module, not {type(loss).__name__}")
    with setting("reweight"):
        criterion = DetectionCriterion(loss, weights, settings["box_weight"])
        check_weights(criterion, data.num_classes)
    with setting("detection_loss"):
        logits, valid = torch.zeros(1, 2, data.num_classes), torch.ones(1, 2, dtype=torch.bool)
        if (shape := loss(logits, logits > 0, valid).shape) != logits.shape:
            raise ValueError(f"must give a term per anchor and class, {tuple(logits.shape)}, not {tuple(shape)}")
    return criterion
