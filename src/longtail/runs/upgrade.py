"""Runs of earlier versions, in the settings of this one.

A run from before a setting existed was made with what is that setting's default now. So it is, and it is not told
apart from a run that says so.
"""

from collections.abc import Mapping
from typing import Any

CHOICES = {"method": "ordinary", "callbacks": "default"}
ADDED = {
    "method._target_": "longtail.methods.Method",
    "model.head": "linear",
    "callbacks.stop_on_non_finite_loss._target_": "longtail.training.callbacks.StopOnNonFiniteLoss",
    "callbacks.stop_on_non_finite_loss.every_n_steps": 50,
    "callbacks.curves._target_": "longtail.training.callbacks.Curves",
    "callbacks.progress_bar._target_": "longtail.training.callbacks.ProgressBar",
    "callbacks.progress_bar.lines": 10,
}
OF_DATASETS = {"dataset.many": 100, "dataset.few": 20}
OF_IMAGE_FOLDER = {"dataset.in_memory": None}
RENAMED = {"sampler.epoch": "sampler.epoch_length"}


def upgraded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run, flat, in today's names, with those added since if it is from before methods.

    A detector is trained by no method of that group, and there was none before.
    """
    own: dict[str, Any] = OF_DATASETS if "dataset" in settings else {}
    own = own | ({"model.weights": None} if "model" in settings else {})
    if settings.get("dataset") == "image_folder":
        own = own | OF_IMAGE_FOLDER
    if "method" in settings or "detector" in settings:
        return {**own, **settings}
    return {**own, **CHOICES, **ADDED, **{RENAMED.get(name, name): value for name, value in settings.items()}}
