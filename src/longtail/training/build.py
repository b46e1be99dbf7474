"""From the parts of a run to its data and its Lightning module, with all settings checked against each other."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from longtail import figures, models, runs
from longtail.augment import Normalize
from longtail.datasets import channel_stats
from longtail.datasets.images import check as check_images
from longtail.errors import setting
from longtail.methods import Criterion, Method
from longtail.metrics import OLTR, Shots
from longtail.training.data import LongTailData
from longtail.training.evaluation import Classification, Outcome
from longtail.training.fit import ends
from longtail.training.module import TrainingModule
from longtail.training.training import Parts, Settings, Training, check_schedule, check_weights, seed, world_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AVERAGING = "WeightAveraging"  # Lightning's, of any kind, and of all that a method keeps
PAPER_PAIRS = {("uniform_minibatch", "clipped_inverse")}  # balanced twice because a paper does it


@dataclass(frozen=True)
class ClassificationTraining(Training):
    """The training of an image classifier."""

    data: LongTailData

    def facts(self, steps: int, seen: int) -> dict[str, Any]:
        """Add the chosen images, and how their classes are used."""
        own = {name: self.settings[name] for name in ("reduction", "validation_per_class")}
        if not self.data.data.train.in_memory:
            own["streamed"] = self.data.data.image_shape[1:]
        own |= {} if (shots := self.data.data.shots) == OLTR else {"groups": str(shots)}
        return {
            "train_indices_sha256": runs.digest(self.data.train.indices),
            **super().facts(steps, seen),
            "images_seen": seen,
            "image_shape": list(self.data.data.image_shape),
            "augmentation": self.settings["dataset"].get("augment") or {},
            **own,
        }

    def contents(self) -> str:
        """Describe the images."""
        data = self.data
        return (
            f"{int(data.class_counts.sum()):,} of {len(data.data.train):,} images in {self.classes()},"
            f" {len(data.held_out.indices):,} held out, {len(data.data.test):,} for the test"
        )

    def mistakes(self) -> Iterator[str]:
        """Yield a line for each choice of the settings that is probably a mistake, or does less than it says."""
        data, settings, options = self.data, self.settings, self.options
        counts, weights = data.class_counts, self.weights
        least, most = int(data.available.min()), int(data.available.max())
        if most > 2 * least and options["imbalance"] != "none":
            yield (
                f"imbalance={options['imbalance']}: the classes have {least:,} to {most:,} images to begin with and"
                " are thinned out further, in the order of their names; imbalance=none keeps all images"
            )
        ratio, realised = settings["imbalance"].get("ratio", 1), float(counts.max() / counts.min())
        if realised < ratio and int(counts.min()) == settings["imbalance"].get("at_least"):
            yield (
                f"imbalance.ratio={ratio}: the dataset is too small for it, the smallest classes keep"
                f" imbalance.at_least={int(counts.min())} and the ratio is {realised:.4g}"
            )
        of_each, size = getattr(data.sampler, "samples_per_class", 1), settings["batch_size"]
        if of_each > 1 and data.sampler.batch_size > 1.5 * size:
            yield (
                f"sampler.samples_per_class={of_each}: {of_each} images of each class are batches of"
                f" {data.sampler.batch_size:,}, not batch_size={size};"
                f" sampler.classes_per_batch={max(size // of_each, 1)} has fewer classes in each"
            )
        averaged = [name for name, node in (settings["callbacks"] or {}).items() if AVERAGING in str(node)]
        if averaged and (harm := self.module.method.harm_of_averaging):
            yield f"callbacks.{averaged[0]} with method={options['method']}: {harm}; callbacks=default has them exact"
        yield from self._mistakes_of_augmentation()
        yield from self._mistakes_of_loss()
        if not torch.equal(weights, self.module.method.criterion.weights_at(math.nextafter(1.0, 0.0))):
            last = settings["trainer"]["max_epochs"]
            yield f"reweight={options['reweight']}: starts after the last of {last} epochs"
        method = self.module.method
        balancing = {"sampler": data.sampler, "loss": method.criterion.loss, "method": method}
        double = [group for group, part in balancing.items() if getattr(part, "balances_classes", False)]
        double += ["reweight"] if bool(weights.max() > weights.min()) else []
        if len(double) > 1 and (options["sampler"], options["reweight"]) not in PAPER_PAIRS:
            chosen = " with ".join(f"{group}={options[group]}" for group in double)
            usual = "reweight=none is the usual choice" if "reweight" in double else "one of them is the usual choice"
            yield f"{chosen}: a double correction, each of them already balances the classes; {usual}"

    def _mistakes_of_augmentation(self) -> Iterator[str]:
        channels, height, width = self.data.data.image_shape
        with torch.random.fork_rng(devices=[]):
            white = self.module.prepare(torch.full((64, height, width, channels), 255, dtype=torch.uint8))
        if bool((white == self.module.normalize(torch.zeros(1, height, width, channels, dtype=torch.uint8))).all()):
            chosen = f"augment={option}" if (option := self.options.get("augment")) else "dataset.augment"
            yield f"{chosen}: leaves nothing of images of {height} x {width}, they become black"

    def _mistakes_of_loss(self) -> Iterator[str]:
        option, settings = self.options["loss"], self.settings
        head, loss = self.module.method.heads[0], self.module.method.criterion.loss
        if getattr(head, "gives_cosines", False) and not getattr(loss, "takes_cosines", False):
            yield (
                f"model.head=cosine with loss={option}: cosines in [-1, 1] hardly learn under this loss,"
                " which does not scale them; loss=ldam does"
            )
        for remark in getattr(loss, "remarks", lambda epochs: ())(settings["trainer"]["max_epochs"]):
            yield f"loss={option}: {remark}"
        if settings["compile"] and getattr(loss, "takes_features", False):
            yield f"compile={settings['compile']}: speeds up no training with loss={option}, which takes features"

    def pictures(self, outcome: Outcome) -> dict[str, "Figure"]:
        """Draw how reliable the confidences are, and the confusion matrix, if there is one."""
        drawn = {"reliability": figures.reliability(*outcome.confidences)} if outcome.confidences else {}
        if outcome.confusion is not None:
            drawn["confusion"] = figures.confusion(self.data.class_names, np.array(outcome.confusion))
        return drawn

    def write(self, directory: Path, outcome: Outcome) -> None:
        """Write the confusion matrix, if there is one."""
        if outcome.confusion is not None:
            runs.write_confusion(directory, outcome.confusion)


def build(parts: Parts, settings: Settings, options: Mapping[str, str]) -> ClassificationTraining:
    """Make the data and the module of a run.

    Raises:
        InputError: a setting does not fit; nothing has been trained or written then.
    """
    data = make_data(parts, settings)
    criterion = make_criterion(parts, settings["reduction"], data.class_counts)
    seed(settings)
    module = make_module(parts, criterion, data.data.image_shape, data.class_counts, data.data.shots)
    check_schedule(parts, module.method, check_stages(module.method, data, settings), settings)
    module.normalize, module.augment = Normalize(*channel_stats(*data.train)), data.data.augment
    module.seed = settings["seed"]
    return ClassificationTraining(settings, options, data, module)


def make_module(
    parts: Parts,
    criterion: Criterion,
    image_shape: tuple[int, int, int],
    class_counts: torch.Tensor,
    shots: Shots = OLTR,
) -> TrainingModule:
    """Make the module of a classifier for images of (channels, H, W), not normalised or augmented yet.

    Raises:
        InputError: a setting of the model or the method does not fit.
    """
    with setting("model"):
        model = parts["model"](in_channels=image_shape[0], num_classes=len(class_counts))
        models.check(model, image_shape, len(class_counts))
        if getattr(criterion.loss, "takes_cosines", False):
            models.check_cosines(model)
    with setting("method"):
        method = parts["method"](model, criterion, class_counts=class_counts)
        if not isinstance(method, Method):
            raise ValueError(f"must be a longtail.methods.Method, not {type(method).__name__}")
    evaluation = Classification(class_counts, criterion.losses, criterion.log_probabilities, shots)
    normalize = Normalize(torch.zeros(image_shape[0]), torch.ones(image_shape[0]))
    return TrainingModule(method, evaluation, normalize, None, parts["optimizer"], parts["scheduler"])


def check_stages(method: Method, data: LongTailData, settings: Settings) -> int:
    """Try the sampler of each stage; return the number of training batches of the run."""
    batches = first = 0
    with setting("method"):
        stages = method.stages()
        lasts = ends(stages, settings["trainer"]["max_epochs"])
        for stage, last in zip(stages, lasts, strict=True):
            with setting("method.sampler" if stage.sampler or stage.beside else "method"):
                data.begin(stage.sampler, beside=stage.beside)
            batches, first = batches + len(data.sampler) * (last - first), last
            if min(map(len, data.sampler), default=0) == 1:
                models.check_single(method.model, data.data.image_shape, settings["batch_size"])
        data.begin(stages[0].sampler, beside=stages[0].beside)
    return batches


def make_data(parts: Parts, settings: Settings) -> LongTailData:
    """Read the dataset, hold out its validation images, and thin out the rest."""
    images = parts["dataset"]()
    with setting("dataset"):
        check_images(images)
    with setting(""):
        return LongTailData(
            images,
            lambda available: torch.as_tensor(parts["imbalance"](available)),
            parts["sampler"],
            validation_per_class=settings["validation_per_class"],
            subset_seed=settings["subset_seed"],
            seed=settings["seed"],
            eval_batch_size=settings["eval_batch_size"],
            world_size=world_size(settings),
        )


def make_criterion(parts: Parts, reduction: str, class_counts: torch.Tensor) -> Criterion:
    """Make the loss and the weights, and try them on the classes."""
    weights, loss = parts["reweight"](class_counts), parts["loss"](class_counts)
    with setting("reweight"):
        criterion = Criterion(loss, weights, reduction)
        check_weights(criterion, len(class_counts))
    with setting("loss"):
        losses = loss(torch.zeros(2, len(class_counts)), torch.tensor([0, 1]))
        if losses.shape != (2,):
            raise ValueError(f"must give a loss per image, not reduced: (2,) for 2 images, not {tuple(losses.shape)}")
    return criterion
