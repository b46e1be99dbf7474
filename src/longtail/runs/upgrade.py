"""Runs of earlier versions, with the settings that have been added since.

A run from before a setting existed was made with what is that setting's default now. So it is, and it is not told
apart from a run that says so.
"""

from collections.abc import Mapping
from typing import Any

CHOICES = {"method": "ordinary", "callbacks": "default"}
SETTINGS = {
    "method._target_": "longtail.methods.Method",
    "model.head": "linear",
    "callbacks.stop_on_non_finite_loss._target_": "longtail.training.callbacks.StopOnNonFiniteLoss",
    "callbacks.curves._target_": "longtail.training.callbacks.Curves",
    "callbacks.progress_bar._target_": "longtail.training.callbacks.ProgressBar",
}


def upgraded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run, flat, with those added since if it is from before there were methods."""
    return dict(settings) if "method" in settings else {**CHOICES, **SETTINGS, **settings}
