"""The stages of a method, one fit after the other."""

from collections.abc import Sequence

import lightning as L

from longtail.methods import Stage
from longtail.training.data import LongTailData
from longtail.training.module import TrainingModule


def fit(trainer: L.Trainer, module: TrainingModule, data: LongTailData) -> None:
    """Train all stages of the module's method; the Trainer's epochs are those of the whole run.

    Raises:
        ValueError: a stage would have no epoch.
    """
    epochs, first = trainer.max_epochs or 0, 0
    for stage, last in zip(stages := module.method.stages(), ends(stages, epochs), strict=True):
        module.begin(stage, first, epochs)
        data.begin(stage.sampler)
        trainer.fit_loop.max_epochs = first = last
        trainer.fit(module, datamodule=data)


def ends(stages: Sequence[Stage], epochs: int) -> list[int]:
    """Return the number of epochs of a run after each of its stages.

    Raises:
        ValueError: a stage would have no epoch, or the shares do not sum to 1.
    """
    if abs(sum(stage.share for stage in stages) - 1) > 1e-6:
        raise ValueError(f"method: the shares of its stages must sum to 1: {[stage.share for stage in stages]}")
    done, found = 0.0, [0]
    for stage in stages:
        done += stage.share
        found.append(round(done * epochs))
        if epochs > 0 and found[-1] <= found[-2]:
            raise ValueError(f"epochs={epochs}: must leave an epoch for each stage of the method")
    return found[1:]
