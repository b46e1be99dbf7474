"""The sweeper `optuna`: values that Optuna chooses by what the runs before have scored on held-out images."""

import importlib
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.utils import JobReturn
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from longtail.errors import InputError, console, refuse, setting, warn
from longtail.runs import relative_path
from longtail.settings import has_held_out
from longtail.sweeps.grid import Grid
from longtail.sweeps.jobs import Job, validation_score

Jobs = list[tuple[Job, Sequence[str]]]


class Search(Grid):
    """Run a number of trials, each with values of Optuna's choice, and end with the table and the best trial.

    Several values of `seed` make that many jobs of a trial, and its score is their mean. The same command finds the
    trials that are finished in its directory, and goes on from there.

    Args:
        n_trials: trials in all.
        n_jobs: trials that are chosen at a time; the launcher runs their jobs side by side.
        sampler: settings of one of Optuna's samplers, by its `_target_`.
        params: overrides to search over, such as `optimizer.lr: interval(0.01,0.3)`; the command line wins.
    """

    def __init__(
        self, n_trials: int, n_jobs: int, sampler: DictConfig, params: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(params=params)
        for name, value in (("n_trials", n_trials), ("n_jobs", n_jobs)):
            if type(value) is not int or value < 1:
                refuse(f"hydra.sweeper.{name}={value}: must be a whole number >= 1")
        self.n_trials, self.n_jobs, self.sampler = n_trials, n_jobs, sampler

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Run the search and return what the launcher does; exit with 1 if a job failed.

        Raises:
            HydraException: the arguments are no overrides, or the settings of a job cannot be composed.
        """
        study = self.study()
        fixed, space = self.space(self.given(arguments))
        self.check_held_out(fixed)
        self.jobs([job for values in corners(space) for job in self.combinations([*fixed, *overrides(values)])])
        console.print(f"{self.n_trials} trials in {relative_path(self.directory)}", soft_wrap=True)
        returned: list[Sequence[JobReturn]] = []
        tried: list[Jobs] = []
        with self.place():
            for first in range(0, self.n_trials, self.n_jobs):
                trials = [study.ask(space) for _ in range(min(self.n_jobs, self.n_trials - first))]
                tried += [self.jobs(self.combinations([*fixed, *overrides(trial.params)])) for trial in trials]
                returned += self.run(different(tried[first:]))
                for trial, jobs in zip(trials, tried[first:], strict=True):
                    score = mean_score(jobs)
                    study.tell(trial, score, state=None if score is not None else failed())
        if any(trial.value is not None for trial in study.trials):
            best = "  ".join(overrides(study.best_params))
            console.print(f"best on held-out images: {best}  ({study.best_value:.4f})", soft_wrap=True)
        else:
            warn("no trial has a score on held-out images")
        self.finish(different(tried), 0)
        return returned

    def study(self) -> Any:
        """Return an empty study; exit with one line if Optuna is not installed or its sampler cannot be made."""
        try:
            optuna = importlib.import_module("optuna")
            optuna.logging.set_verbosity(optuna.logging.ERROR)
            with setting("hydra.sweeper.sampler"):
                whole = OmegaConf.create({"hydra": {"sweeper": {"sampler": self.sampler}}})  # an error names it so
                sampler = instantiate(whole.hydra.sweeper.sampler, _convert_="all")
            return optuna.create_study(direction="maximize", sampler=sampler)
        except ImportError:
            refuse("hydra/sweeper=optuna: needs Optuna: pip install 'longtail[optuna]'")
        except InputError as error:
            refuse(str(error))

    def space(self, given: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
        """Return the overrides that all trials share, and what to choose from by setting."""
        parsed = OverridesParser.create(config_loader=self.loader).parse_overrides(list(given))
        last = {override.get_key_element(): override for override in parsed}
        chosen = {key: one for key, one in last.items() if one.is_sweep_override() and key != "seed"}
        if not chosen:
            refuse("hydra/sweeper=optuna: must have values to choose from, such as 'optimizer.lr=interval(0.01,0.3)'")
        fixed = [str(one.input_line) for key, one in last.items() if key not in chosen]
        return fixed, {key: distribution(one) for key, one in chosen.items()}

    def check_held_out(self, fixed: Sequence[str]) -> None:
        """Exit with one line if there are no held-out images to choose by."""
        config = self.composer.compose(self.combinations(fixed)[0])
        if not has_held_out(OmegaConf.to_container(config, resolve=False)):  # type: ignore[arg-type]
            refuse("hydra/sweeper=optuna: must have held-out images to choose by, set validation_per_class")


def distribution(override: Override) -> Any:
    """Return what Optuna chooses a value of an override from; `tag(log,interval(...))` is on a logarithmic scale."""
    from optuna import distributions

    swept = override.value()
    if not isinstance(swept, IntervalSweep):
        return distributions.CategoricalDistribution(list(override.sweep_string_iterator()))
    low, high, log = swept.start, swept.end, "log" in swept.tags
    try:
        if isinstance(low, int) and isinstance(high, int):
            return distributions.IntDistribution(low, high, log=log)
        return distributions.FloatDistribution(low, high, log=log)  # type: ignore[arg-type]
    except ValueError as error:
        refuse(f"{override.input_line}: {' '.join(str(error).split())}")


def corners(space: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return trials that have each choice and both ends of each interval, to see whether they are allowed."""
    ends = {key: one.choices if hasattr(one, "choices") else (one.low, one.high) for key, one in space.items()}
    return [{key: own[i % len(own)] for key, own in ends.items()} for i in range(max(map(len, ends.values())))]


def overrides(params: Mapping[str, Any]) -> list[str]:
    """Return chosen values as overrides, numbers with four digits, which name the job's directory."""
    texts = {key: f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in params.items()}
    return [f"{key}={text}" for key, text in texts.items()]


def different(trials: Sequence[Jobs]) -> Jobs:
    """Return the jobs of trials, each once."""
    return list({job.identity: (job, given) for jobs in trials for job, given in jobs}.values())


def mean_score(jobs: Jobs) -> float | None:
    """Return the mean score of jobs on held-out images; None if one of them has none."""
    scores = [validation_score(job.result() or {}) for job, _ in jobs]
    found = [score for score in scores if score is not None and math.isfinite(score)]
    return statistics.fmean(found) if len(found) == len(jobs) else None


def failed() -> Any:
    """Return how Optuna calls the state of a trial without a score."""
    from optuna.trial import TrialState

    return TrialState.FAIL
