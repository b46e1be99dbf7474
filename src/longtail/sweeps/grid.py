"""The sweeper: every combination of the values given, each once, whatever the launcher."""

import contextlib
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from longtail.errors import InputError, console, refuse, refuse_unwritable, wants_traceback, warn
from longtail.runs import relative_path
from longtail.sweeps import trials
from longtail.sweeps.directory import plan, sweep_lock
from longtail.sweeps.jobs import Composer, Job, refuse_wrong
from longtail.sweeps.launcher import Workers


class Grid(Sweeper):
    """Run the jobs of a sweep that are not finished in its directory, and end with a table.

    Args:
        max_batch_size: jobs handed to the launcher at a time; None for all.
        params: overrides to sweep over, such as `seed: 0,1,2`; the command line wins.
    """

    def __init__(self, max_batch_size: int | None = None, params: Mapping[str, Any] | None = None) -> None:
        if max_batch_size is not None and max_batch_size < 1:
            refuse(f"hydra.sweeper.max_batch_size={max_batch_size}: must be a whole number >= 1")
        self.max_batch_size, self.params = max_batch_size, params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra hands over, and make the launcher."""
        self.settings, self.loader = config, hydra_context.config_loader
        self.directory = Path(config.hydra.sweep.dir)  # the time in it is that of now, for all jobs
        self.composer = Composer(self.settings, self.loader)
        self.runner: Launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )

    def sweep(self, arguments: list[str]) -> list[Sequence[JobReturn]]:
        """Run the sweep and return what the launcher does; exit with 1 if a job failed.

        Raises:
            HydraException: the arguments are no overrides, or the settings of a job cannot be composed.
        """
        overrides = self.combinations(self.given(arguments))
        console.print(f"{len(overrides)} jobs in {relative_path(self.directory)}", soft_wrap=True)
        jobs = self.jobs(overrides)
        with self.place():
            done = sum(job.result() is not None for job, _ in jobs)
            if done:
                console.print(f"{done} of {len(jobs)} jobs are finished already; {len(jobs) - done} to go")
            returned = self.run(jobs)
        self.finish(jobs, done)
        return returned

    def given(self, arguments: Sequence[str]) -> list[str]:
        """Return the overrides to sweep over, those of the command line last."""
        return [*(f"{key}={value}" for key, value in self.params.items()), *arguments]

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Make the directory of the sweep, and keep other sweeps out of it; exit with one line if that cannot be."""
        refuse_unwritable("hydra.sweep.dir", str(self.directory))
        with sweep_lock(self.directory):
            OmegaConf.save(self.settings, self.directory / "multirun.yaml")
            yield

    def run(self, jobs: Sequence[tuple[Job, Sequence[str]]]) -> list[Sequence[JobReturn]]:
        """Run those of the jobs that are not finished."""
        plan(self.directory, {os.path.relpath(job.directory, self.directory): job.overrides for job, _ in jobs})
        return self.launch([given for job, given in jobs if job.result() is None], len(jobs))

    def finish(self, jobs: Sequence[tuple[Job, Sequence[str]]], done: int) -> None:
        """Print the table of the jobs; exit with 1 if one failed."""
        from longtail.sweeps import terminal

        found = [terminal.read_job(job.directory, job.overrides, job.identity) for job, _ in jobs]
        terminal.finish(self.directory, found, done)

    def jobs(self, overrides: Sequence[Sequence[str]]) -> list[tuple[Job, Sequence[str]]]:
        """Return the different jobs with their overrides; exit with one line if two would share a directory."""
        found: dict[str, tuple[Job, Sequence[str]]] = {}
        configs: dict[str, DictConfig] = {}
        directories: dict[Path, str] = {}
        for given in overrides:
            config = self.composer.compose(given)
            refuse_wrong(config)
            if config.run_dir is not None:
                refuse(f"run_dir={config.run_dir}: must not be set in a sweep, which goes on by its own command")
            job = Job.of(config)
            found.setdefault(job.identity, (job, given))
            configs.setdefault(job.identity, config)
            if directories.setdefault(found[job.identity][0].directory, job.identity) != job.identity:
                refuse(f"hydra.sweep.subdir: must be another directory for each job, two would have {job.directory}")
        if len(found) < len(overrides):
            warn(f"{len(overrides)} jobs have {len(found)} different settings; each of these is run once")
        self.check([configs[job.identity] for job, _ in found.values() if job.result() is None])
        return list(found.values())

    def check(self, configs: Sequence[DictConfig]) -> None:
        """Exit with one line if a setting of a part is wrong in one of these jobs."""
        if configs and not wants_traceback():  # else the job comes upon the same, and raises it
            if isinstance(self.runner, Workers):
                self.runner.load()
            try:
                trials.check(configs)
            except InputError as error:
                refuse(str(error))

    def launch(self, overrides: Sequence[Sequence[str]], expected: int) -> list[Sequence[JobReturn]]:
        """Have the launcher run the jobs, in batches if that is asked for."""
        if isinstance(self.runner, Workers):
            self.runner.expected = expected
        size = self.max_batch_size or max(len(overrides), 1)
        returned = []
        for start in range(0, len(overrides), size):
            returned.append(self.runner.launch(overrides[start : start + size], initial_job_idx=start))
            for result in returned[-1]:
                _ = result.return_value  # raises what the job has raised
        return returned

    def combinations(self, arguments: Sequence[str]) -> list[list[str]]:
        """Return the overrides of each job; of two values for one key the later one counts.

        Raises:
            HydraException: an argument is no override, an interval, or a range without values.
        """
        values: dict[str, list[str]] = {}
        for override in OverridesParser.create(config_loader=self.loader).parse_overrides(list(arguments)):
            key = override.get_key_element()
            if not override.is_sweep_override():
                values[key] = [f"{key}={override.get_value_element_as_str()}"]
            elif override.is_discrete_sweep():
                values[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
                if not values[key]:
                    raise HydraException(f"{override.input_line}: must give at least one value")
            else:
                raise HydraException(
                    f"{override.input_line}: must be a list of values, hydra/sweeper=optuna takes intervals"
                )
        return [list(chosen) for chosen in itertools.product(*values.values())]
