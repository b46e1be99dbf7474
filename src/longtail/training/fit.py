"""The stages of a method, one fit after the other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L

from longtail.methods import Stage
from longtail.training.data import ImageBatches
from longtail.training.evaluation import Outcome
from longtail.training.module import TrainingModule

Saved = Mapping[str, Any] | None  # the content of a checkpoint


def fit(
    trainer: L.Trainer, module: TrainingModule, data: ImageBatches, path: Path | None = None, saved: Saved = None
) -> None:
    """Train all stages of the module's method; the Trainer's epochs are those of the whole run.

    Args:
        trainer: of the run.
        module: what is trained.
        data: what it is trained on.
        path: of a checkpoint of the run to go on from; None to start.
        saved: its content.

    Raises:
        ValueError: there are fewer epochs than stages.
    """
    epochs, first, begun = trainer.max_epochs or 0, 0, saved["stage"] if saved else 0
    for number, (stage, last) in enumerate(zip(stages := module.method.stages(), ends(stages, epochs), strict=True)):
        if number >= begun:
            module.begin(stage, number, first, epochs)
            data.begin(stage.sampler, first, stage.beside)
            trainer.fit_loop.max_epochs = last
            trainer.fit(module, datamodule=data, ckpt_path=path if saved and number == begun else None)
            if saved and number == begun and saved["epoch"] + 1 == last and not len(saved["losses"]):
                # It was at the stage's end: no epoch has begun that sets the criterion, and callbacks may keep other
                # weights than those that are trained.
                module.method.at((last - 1) / epochs)
                module.load_state_dict(saved["state_dict"])
        first = last


def test(trainer: L.Trainer, module: TrainingModule, data: ImageBatches) -> Outcome:
    """Return the result on the test images; NaN where there were none.

    Raises:
        FloatingPointError: the model's predictions are not finite.
    """
    module.outcome = None  # that of the validation
    trainer.test(module, datamodule=data, verbose=False)
    outcome = module.outcome or module.evaluation.outcome()
    outcome.check()
    return outcome


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
