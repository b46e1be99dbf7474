"""What a trained detector sees: some test images, precision over recall, and which negatives its loss is made of."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from longtail import figures
from longtail.detection.boxes import BACKGROUND, Objects
from longtail.detection.matching import match
from longtail.training.module import TrainingModule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from longtail.detection.evaluation import DetectionOutcome
    from longtail.detection.scenes import Scenes

EXAMPLES, LOOKED_AT = 8, 32  # test images that are drawn, and whose anchors are looked at
ENOUGH = 2_000_000  # scores to look at
RECALLS = [step / 100 for step in range(101)]


@torch.inference_mode()
def of_run(module: TrainingModule, scenes: "Scenes", outcome: "DetectionOutcome") -> dict[str, "Figure"]:
    """Draw a run's pictures by name, with test images that are evenly spread over the test set."""
    module.eval()
    drawn = {"precision_recall": figures.precision_recall({"": (RECALLS, by_class(scenes.class_names, outcome))})}
    drawn["examples"] = examples(module, scenes)
    if getattr(module.method.model, "anchors", None) is not None:
        drawn["cumulative_loss"] = figures.cumulative_loss(*probabilities(module, scenes))
    return drawn


def by_class(class_names: list[str], outcome: "DetectionOutcome") -> dict[str, Any]:
    """Return the precision of each class by name, at 101 recalls."""
    return dict(zip(class_names, outcome.precision, strict=True))


def examples(module: TrainingModule, scenes: "Scenes") -> "Figure":
    """Draw test images with their true boxes and those that are found."""
    pixels, objects = chosen(scenes, EXAMPLES)
    found = module.method.predict(module.normalize(pixels.to(module.device)))
    truth = [
        (boxes[labels != BACKGROUND], labels[labels != BACKGROUND])
        for boxes, labels in zip(objects.boxes, objects.labels, strict=True)
    ]
    detections = [(one.boxes.cpu(), one.scores.cpu(), one.labels.cpu()) for one in found]
    return figures.examples(list(pixels.numpy()), truth, detections, scenes.class_names)


def probabilities(module: TrainingModule, scenes: "Scenes") -> tuple[Tensor, Tensor]:
    """Return the scores of negative entries (an anchor and a class), (N,), and of positive ones, (P,).

    They are of 32 test images, or of as many as there are two million scores in.
    """
    negatives, positives = [], []
    detector: Any = module.method.model
    pixels, targets = chosen(scenes, LOOKED_AT)
    for i in range(len(pixels)):  # one by one: there may be 10^5 anchors and 80 classes
        objects = targets.index_select(0, torch.tensor([i])).to(module.device)
        scores = detector(module.normalize(pixels[i : i + 1].to(module.device)))[0].sigmoid()
        labels = match(objects, detector.anchors).labels[..., None]
        positive = labels == torch.arange(scores.shape[2], device=scores.device)
        negatives.append(scores[~positive & (labels >= BACKGROUND)].cpu())
        positives.append(scores[positive].cpu())
        if sum(map(len, negatives)) >= ENOUGH:
            break
    return torch.cat(negatives), torch.cat(positives)


def chosen(scenes: "Scenes", most: int) -> tuple[Tensor, Objects]:
    """Return some test images and their boxes."""
    indices = torch.linspace(0, len(scenes.test) - 1, min(most, len(scenes.test))).long().unique()
    return scenes.test.batch(indices), scenes.test.targets.index_select(0, indices)
