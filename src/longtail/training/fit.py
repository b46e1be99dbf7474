"""The stages of a method, one fit after the other."""

from collections.abc import Sequence

import lightning as L

from longtail.methods import Stage
from longtail.training.data import ImageBatches
from longtail.training.module import TrainingModule


def fit(trainer: L.Trainer, module: TrainingModule, data: ImageBatches) -> None:
    """Train all stages of the module's method; the Trainer's epochs are those of the whole run.

    Raises:
        ValueError: there are fewer epochs than stages.
    """
    epochs, first = trainer.max_epochs or 0, 0
    for stage, last in zip(stages := module.method.stages(), ends(stages, epochs), strict=True):
        module.begin(stage, first, epochs)
        data.begin(stage.sampler)
        trainer.fit_loop.max_epochs = first = last
        trainer.fit(module, datamodule=data)


def as_trained(module: TrainingModule, epochs: int) -> None:
    """Put the method into the state of a run's last epoch, but for what it has learned."""
    module.method.begin(module.method.stages()[-1])
    module.method.at((epochs - 1) / epochs)


def ends(stages: Sequence[Stage], epochs: int) -> list[int]:
    """Return the number of epochs of a run after each of its stages; each has one at least.

    Raises:
        ValueError: there are fewer epochs than stages, or the shares do not sum to 1.
    """
    shares = [stage.share for stage in stages]
    if abs(sum(shares) - 1) > 1e-6 or min(shares) <= 0:
        raise ValueError(f"must have stages whose shares are > 0 and sum to 1, not {shares}")
    if epochs < len(stages):
        raise ValueError(f"epochs={epochs}: must be at least {len(stages)}, one for each stage of the method")
    share, found = 0.0, [0]
    for number, stage in enumerate(stages, 1):
        share += stage.share
        found.append(min(max(round(share * epochs), found[-1] + 1), epochs - len(stages) + number))
    return found[1:]
