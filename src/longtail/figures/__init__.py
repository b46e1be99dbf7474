"""What a run, a sweep and the methods themselves look like: plain data in, a matplotlib `Figure` out, no display.

`save` writes one as PNG and SVG. Importing this package does not import PyTorch.
"""

from longtail.figures.detection import (
    cumulative_loss,
    examples,
    loss_shares,
    precision_recall,
)
from longtail.figures.run import box, by_count, classes, confusion, reliability, slope
from longtail.figures.saving import png, save
from longtail.figures.sheets import contact_sheet
from longtail.figures.sweep import Scores, along, by_class, confusions, methods, weights
from longtail.figures.theory import Boundary, boundary, focal, train_boundary

__all__ = [
    "Boundary",
    "Scores",
    "along",
    "boundary",
    "box",
    "by_class",
    "by_count",
    "classes",
    "confusion",
    "confusions",
    "contact_sheet",
    "cumulative_loss",
    "examples",
    "focal",
    "loss_shares",
    "methods",
    "png",
    "precision_recall",
    "reliability",
    "save",
    "slope",
    "train_boundary",
    "weights",
]
