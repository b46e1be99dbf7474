"""What can be made of a trained model without training: its predictions, kept once, and adjusted in several ways."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail import posthoc, runs
from longtail.methods import Criterion
from longtail.metrics import (
    OLTR,
    Shots,
    calibration_error,
    count_confidences,
    count_hits,
    per_class_accuracy,
    summarise,
)
from longtail.runs import Line
from longtail.training.build import ClassificationTraining
from longtail.training.data import Batch, LongTailData, Split
from longtail.training.module import TrainingModule

TAUS = [step / 10 for step in range(21)]
RATIOS = (50, 25, 10, 5, 2)
HELD_OUT, TEST, FIXED = "held-out images", "the test set", "fixed"
TOLERANCE = 0.05  # of the largest logit; bfloat16 has 8 bits


@dataclass(frozen=True)
class Predictions:
    """What a model says of N images.

    Attributes:
        logits: (N, C) float32.
        targets: (N,).
        features: what its head is given, (N, F) float32; None where it is not one vector per image.
    """

    logits: Tensor
    targets: Tensor
    features: Tensor | None = None


class Collector(L.LightningModule):
    """Collect the predictions of a module, with the features that its model's head is given.

    Args:
        module: that of the run.
        logits: whether to keep them.
    """

    def __init__(self, module: TrainingModule, logits: bool = True) -> None:
        super().__init__()
        self.module, self.keeps_logits = module, logits

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise the images."""
        images, targets = batch
        return self.module.normalize(images), targets

    def predict_step(self, batch: Batch, batch_idx: int) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """Return logits, targets and features of a batch, on the CPU."""
        images, targets = batch
        with listening(self.module.method.model.head) as heard:  # type: ignore[arg-type]
            logits = self.module.method.predict(images)
        alone = len(heard) == 1 and heard[0].ndim == 2 and len(heard[0]) == len(images)
        features = heard[0].float().cpu() if alone else None
        return logits.float().cpu() if self.keeps_logits else None, targets.cpu(), features


@contextlib.contextmanager
def listening(module: nn.Module) -> Iterator[list[Tensor]]:
    """Give a list that is filled with what the module is given while the block runs."""
    heard: list[Tensor] = []
    hook = module.register_forward_pre_hook(lambda _, given: heard.extend(given[:1]))
    try:
        yield heard
    finally:
        hook.remove()


def collect(trainer: L.Trainer, training: ClassificationTraining) -> dict[str, Tensor]:
    """Return what is to be kept of a model, by name, all on the CPU.

    These are `logits`, `targets` and `features` of the images of `test` and `held_out`, as `test_logits` and so on,
    and `class_means` (C, F) and `centre` (F,) of the training images; without features where there are none.
    """
    data, module = training.data, training.module

    def predicted(split: Split, logits: bool = True) -> list[Tensor | None]:
        collector = Collector(module, logits)
        batches: Any = trainer.predict(collector, dataloaders=data.in_order(split)) if len(split.indices) else []
        columns = zip(*batches, strict=True)
        return [None if any(part is None for part in column) else torch.cat(column) for column in columns]

    kept: dict[str, Tensor | None] = {}
    for name, split in _splits(data):
        parts = predicted(split)
        kept |= dict(zip((f"{name}_logits", f"{name}_targets", f"{name}_features"), parts, strict=False))
    if kept.get("test_features") is not None:
        _, targets, features = predicted(data.train, logits=False)
        if features is not None and targets is not None:
            kept["class_means"], kept["centre"] = posthoc.class_means(features, targets, data.num_classes)
    return {name: tensor for name, tensor in kept.items() if tensor is not None}


def _splits(data: LongTailData) -> tuple[tuple[str, Split], ...]:
    return ("test", Split.whole(data.data.test)), ("held_out", data.held_out)


def source(checkpoint: Path, identity: str, training: ClassificationTraining) -> str:
    """Return a digest of what predictions follow from: a checkpoint, the settings, which images there are."""
    data = training.data
    chosen = runs.digest(data.train.indices, data.held_out.indices, data.data.test.targets.numpy())
    parts = [hashlib.sha256(checkpoint.read_bytes()).hexdigest(), identity, chosen]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def kept(
    directory: Path, digest: str, trainer: L.Trainer, training: ClassificationTraining
) -> tuple[dict[str, Tensor], bool]:
    """Return what is kept in a directory of a model, collected unless it is there and fits; and whether it was."""
    found = runs.read_predictions(directory, digest) or {}
    read = {name: torch.from_numpy(a) for name, a in found.items() if a.dtype in (np.float32, np.int64)}
    if are_of(read, training):
        return read, True
    collected = collect(trainer, training)
    runs.write_predictions(directory, digest, {name: tensor.numpy() for name, tensor in collected.items()})
    return collected, False


def are_of(kept: Mapping[str, Tensor], training: ClassificationTraining) -> bool:
    """Return whether what is kept has the form that `collect` gives it, and the results of the last evaluation.

    The directory of a run is data of whoever made it: its digest says what its predictions should be, no more.
    """
    data, width = training.data, len(kept.get("centre", ()))
    forms: dict[str, tuple[int, ...]] = {}
    for name, split in _splits(data):
        size = len(split.indices)
        forms |= {f"{name}_logits": (size, data.num_classes), f"{name}_targets": (size,)} if size else {}
        forms |= {f"{name}_features": (size, width)} if size and width else {}
    forms |= {"class_means": (data.num_classes, width), "centre": (width,)} if width else {}
    if {name: tuple(tensor.shape) for name, tensor in kept.items()} != forms:
        return False
    if any(tensor.is_floating_point() == name.endswith("targets") for name, tensor in kept.items()):
        return False
    targets = {f"{name}_targets": split.images.targets[split.indices] for name, split in _splits(data)}
    if not all(torch.equal(kept[name], own) for name, own in targets.items() if name in kept):
        return False
    if not all(bool(tensor.isfinite().all()) for tensor in kept.values()):
        return False
    of_class = per_class_accuracy(*count_hits(kept["test_logits"], kept["test_targets"]))
    outcome = training.module.outcome
    known = torch.tensor(outcome.per_class if outcome else [], dtype=torch.float64)
    return torch.equal(of_class.nan_to_num(-1), known.nan_to_num(-1))


def learned_prior(training: ClassificationTraining) -> Tensor:
    """Return the class prior that the last stage has taught the model, (C,), as weights.

    It is uniform where the loss or the method balances the classes. Else the model has learned the classes in the
    proportions in which the sampler draws them, times their weights in the loss.
    """
    method, data = training.module.method, training.data
    data.begin(method.stages()[-1].sampler)
    parts = (method.criterion.loss, method, data.sampler)
    by_loss, by_method, by_sampler = (bool(getattr(part, "balances_classes", False)) for part in parts)
    if by_loss or by_method:
        return torch.ones(data.num_classes)
    drawn = torch.ones(data.num_classes) if by_sampler else data.class_counts
    return drawn * method.criterion.weights.cpu()


@dataclass
class Adjustments:
    """The adjustments of the predictions of one run.

    Attributes:
        kept: as from `collect`.
        training: the run, as after its last epoch.
        notes: what a reader of the tables must know, once they have been made.
    """

    kept: Mapping[str, Tensor]
    training: ClassificationTraining
    notes: list[str] = field(default_factory=list)

    @cached_property
    def counts(self) -> Tensor:
        """Training images per class, (C,)."""
        return self.training.data.class_counts

    @cached_property
    def test(self) -> Predictions:
        """Of the test images, with log probabilities for logits."""
        return self._predictions("test")

    @cached_property
    def tuned_on(self) -> tuple[str, Predictions]:
        """The images on which parameters are chosen, in words, and what the model says of them."""
        return (HELD_OUT, self._predictions("held_out")) if "held_out_logits" in self.kept else (TEST, self.test)

    def lines(self, names: Sequence[str]) -> list[Line]:
        """Return a line per adjustment and choice of its parameter, after that of the model as it was trained."""
        where, images = self.tuned_on
        if {"logit_adjustment", "tau_norm", "temperature"} & set(names):
            each = images.targets.bincount(minlength=len(self.counts)).unique().tolist()
            held_out = f"{len(images.targets):,} images that were held out"
            held_out += f", {each[0]:,} of each class" if len(each) == 1 else ""
            self.notes.append(f"parameters are chosen on {held_out if where == HELD_OUT else 'the test set'}")
        made = [self._line("as trained", self.test.logits)]
        for name in names:
            made += LINES[name](self) if name in LINES else []
        return made

    def logit_adjustment(self) -> Iterator[Line]:
        """Subtract tau log pi."""
        yield from self._over_tau("logit_adjustment", lambda of, tau: posthoc.adjust(of.logits, self.counts, tau))

    def tau_norm(self) -> Iterator[Line]:
        """Divide the rows of the head by their length to the power of tau."""
        weight = self._linear_head()
        if weight is None:
            self.notes.append("tau_norm: left out, the predictions are not those of one linear head on the features")
            return

        def change(of: Predictions, tau: float) -> Tensor:
            assert of.features is not None
            return self._log_probabilities(posthoc.tau_normalised(of.features, weight, tau))

        yield from self._over_tau("tau_norm", change)

    def nearest_mean(self) -> Iterator[Line]:
        """Take the class whose training images are nearest on average."""
        if "class_means" not in self.kept or self.test.features is None:
            self.notes.append("nearest_mean: left out, the head is not given one vector of features per image")
            return
        logits = posthoc.nearest_mean(self.test.features, self.kept["class_means"], self.kept["centre"])
        yield self._line("nearest_mean", logits) | {"ece": float("nan"), "nll": float("nan")}  # no probabilities

    def temperature(self) -> Iterator[Line]:
        """Divide by T."""
        where, images = self.tuned_on
        chosen = posthoc.temperature(images.logits, images.targets)
        yield self._line("temperature", self.test.logits / chosen, chosen, where)

    def prior_shift(self) -> list[Line]:
        """Return a line per class prior of the test: top-1 accuracy, without and with knowledge of that prior."""
        lines: list[Line] = []
        learned = learned_prior(self.training)
        logits, targets = self.test.logits, self.test.targets
        support = targets.bincount(minlength=len(self.counts))
        order = self.counts.argsort(descending=True, stable=True)
        sets = [("forward", ratio, order) for ratio in RATIOS] + [("uniform", 1, order)]
        sets += [("backward", ratio, order.flip(0)) for ratio in reversed(RATIOS)]
        for name, ratio, most_first in sets:
            counts = posthoc.shifted_counts(support, most_first, ratio)
            if bool((counts[support > 0] == 0).any()):
                self.notes.append(f"prior_shift: {name} {ratio} left out, there are too few test images")
                continue
            chosen = posthoc.draw(targets, counts)
            own, true = logits[chosen], targets[chosen]
            known = posthoc.with_prior(own, learned, counts)
            line: Line = {"test_prior": name, "ratio": ratio, "images": len(chosen)}
            for score, z in (("accuracy", own), ("accuracy_known_prior", known)):
                line[score] = float((z.argmax(1) == true).double().mean())
            lines.append(line)
        return lines

    def _over_tau(self, name: str, change: Callable[[Predictions, float], Tensor]) -> Iterator[Line]:
        where, images = self.tuned_on
        hits = [int((change(images, tau).argmax(1) == images.targets).sum()) for tau in TAUS]
        chosen = TAUS[hits.index(max(hits))]
        for tau, how in ((1.0, FIXED), (chosen, where)):
            yield self._line(name, change(self.test, tau), tau, how)

    def _line(self, name: str, logits: Tensor, parameter: float = float("nan"), chosen_on: str = "") -> Line:
        scores = score(logits, self.test.targets, self.counts, self.training.module.evaluation.shots)
        task = self.training.module.evaluation.task
        shown = {name: scores[name] for name in (*task.metrics, "nll") if name != f"{task.primary}_min"}
        return {"adjustment": name, "parameter": parameter, "chosen_on": chosen_on, **shown}

    def _linear_head(self) -> Tensor | None:
        """The weight (C, F) of the head, if the predictions are its logits, on the features."""
        head, features, logits = self.training.module.method.model.head, self.test.features, self.kept["test_logits"]
        weight, bias = (getattr(head, name, None) for name in ("weight", "bias"))
        if features is None or not isinstance(weight, Tensor) or weight.shape != (logits.shape[1], features.shape[1]):
            return None
        weight = weight.detach().float().cpu()
        own = F.linear(features, weight, bias.detach().float().cpu() if isinstance(bias, Tensor) else None)
        return weight if bool((own - logits).abs().max() <= TOLERANCE * logits.abs().max()) else None

    def _predictions(self, name: str) -> Predictions:
        logits = self._log_probabilities(self.kept[f"{name}_logits"])
        return Predictions(logits, self.kept[f"{name}_targets"], self.kept.get(f"{name}_features"))

    def _log_probabilities(self, logits: Tensor) -> Tensor:
        criterion = self.training.module.method.criterion
        assert isinstance(criterion, Criterion)  # a detector's has none
        return criterion.log_probabilities(logits)


LINES: dict[str, Callable[[Adjustments], Iterator[Line]]] = {
    "logit_adjustment": Adjustments.logit_adjustment,
    "tau_norm": Adjustments.tau_norm,
    "nearest_mean": Adjustments.nearest_mean,
    "temperature": Adjustments.temperature,
}


def score(logits: Tensor, targets: Tensor, class_counts: Tensor, shots: Shots = OLTR) -> dict[str, float]:
    """Return all scalar metrics of logits (N, C) that are log probabilities up to a constant per image."""
    hits, support = count_hits(logits, targets)
    log_probabilities = logits.log_softmax(1)
    ece = calibration_error(count_confidences(log_probabilities, targets))
    nll = -float(log_probabilities.gather(1, targets[:, None]).double().mean())
    return summarise(hits, support, class_counts, shots=shots) | {"ece": ece, "nll": nll}
