"""Losses: a class `(class_counts) -> nn.Module` that maps logits (B, C) and targets (B,) to losses (B,), unreduced.

The criterion applies class weights and the reduction, so that every loss goes with every weighting. A loss may have

    initial_bias        the value at which the last layer's bias starts (and is then spared weight decay)
    takes_cosines       True if its logits must come from a `models.CosineHead` of scale 1; it scales them by its `s`
    takes_features      True if it is called as (logits, targets, features), features (B, F) being the head's inputs,
                        or None where only a plain loss is wanted, as in an evaluation
    balances_classes    True if it corrects for the class counts itself
    log_probabilities   logits (B, C) -> what they say of the classes, (B, C), if that is not their log softmax
    at(progress)        called at the start of each epoch with the run's progress in [0, 1)
"""

from longtail.losses.deferred import Deferred
from longtail.losses.equalization import SigmoidEqualization, SoftmaxEqualization
from longtail.losses.margins import LDAM, BalancedSoftmax, LogitAdjustment, VectorScaling
from longtail.losses.sigmoid import Focal, Sigmoid, check_focal, focal, one_hot, prior_bias
from longtail.losses.softmax import InfluenceBalanced, LabelAwareSmoothing, Softmax

__all__ = [
    "LDAM",
    "BalancedSoftmax",
    "Deferred",
    "Focal",
    "InfluenceBalanced",
    "LabelAwareSmoothing",
    "LogitAdjustment",
    "Sigmoid",
    "SigmoidEqualization",
    "Softmax",
    "SoftmaxEqualization",
    "VectorScaling",
    "check_focal",
    "focal",
    "one_hot",
    "prior_bias",
]
