"""The launcher `workers`: the jobs of a sweep side by side in processes of this machine."""

import contextlib
import importlib
import itertools
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from longtail.errors import console, refuse, warn
from longtail.runs import FAILURE, clear, read_metrics, write_failure
from longtail.signals import keeping
from longtail.sweeps.arguments import without_collection
from longtail.sweeps.jobs import Job, validation_score

Ended = tuple[Path, JobReturn]


class Composing(Launcher):
    """Compose the jobs of a sweep and run one, wherever it is started."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra hands over."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def run_logged(self, overrides: Sequence[str], number: int) -> Ended:
        """Run a job; what it prints goes to its `output.log`."""
        config = self.compose(overrides, number)
        job = Job.of(config)
        if metrics := job.result():
            result = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)
            result.return_value = validation_score(metrics)
            return job.directory, result
        job.directory.mkdir(parents=True, exist_ok=True)
        if read_metrics(job.directory) is None:  # what an earlier attempt has left must not pass for this one's
            clear(job.directory, keep_checkpoints=True)
        with (
            (job.directory / "output.log").open("a", buffering=1) as file,
            contextlib.redirect_stdout(file),
            contextlib.redirect_stderr(file),
        ):
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)  # libraries that are not Python print there too
            result = self.run(config)
            try:
                _ = result.return_value
            except Exception as error:
                traceback.print_exc()
                # Not every exception survives the way to another process.
                result.return_value = RuntimeError(
                    f"job {job.directory.name} failed: {type(error).__name__}: {error}"
                )
        return job.directory, result

    def run(self, config: DictConfig) -> JobReturn:
        """Run a job with these settings."""
        return run_job(
            hydra_context=self.hydra_context,
            task_function=self.task_function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )

    def compose(self, overrides: Sequence[str], number: int) -> DictConfig:
        """Return the settings of a job."""
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        return config


class Workers(Composing):
    """Run as many jobs at a time as the machine has room for, and say a line for each that has ended.

    What a job itself prints is in `output.log` in its directory.

    Args:
        at_once: jobs at a time, or "auto" for what cores and memory allow.
        threads: of PyTorch in each job, or "auto" for the cores divided by the jobs, at least 1.
        preload: modules that all jobs need, imported once.

    Attributes:
        expected: jobs that the whole sweep has, those included that are finished already.
    """

    preloaded = False  # whether it was this class that imported PyTorch

    def __init__(self, at_once: int | str = "auto", threads: int | str = "auto", preload: Sequence[str] = ()) -> None:
        for name, value in (("at_once", at_once), ("threads", threads)):
            if value != "auto" and not (isinstance(value, int) and value >= 1):
                refuse(f"hydra.launcher.{name}={value}: must be auto or a whole number >= 1")
        self.at_once = None if isinstance(at_once, str) else at_once
        self.threads = None if isinstance(threads, str) else threads
        self.preload = preload
        self.expected = 0

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; gives their returns in the order of the jobs."""
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        if reason := _obstacle():
            warn(f"hydra/launcher=workers: {reason}; the jobs run one after the other")
            return [self.run(self.compose(*job)) for job in zip(job_overrides, itertools.count(initial_job_idx))]
        results = dict(self._side_by_side(job_overrides, initial_job_idx))
        return [results[job] for job in range(len(job_overrides))]

    def load(self) -> None:
        """Import what all jobs need."""
        Workers.preloaded |= "torch" not in sys.modules
        with without_collection():
            for module in self.preload:
                importlib.import_module(module)

    def _side_by_side(self, jobs: Sequence[Sequence[str]], first: int) -> Iterator[tuple[int, JobReturn]]:
        from longtail.sweeps.pool import Lost, Pool, threads_per_job
        from longtail.sweeps.terminal import SweepProgress

        threads = self.threads or threads_per_job(max(self.expected, len(jobs)), self.at_once)
        self.load()
        if not Workers.preloaded:
            threads = 1  # OpenMP's threads do not survive a fork: who may have used them has workers of one thread
        progress = SweepProgress(console, [filter_overrides(overrides) for overrides in jobs])
        pool = Pool(lambda job: self.run_logged(jobs[job], first + job), self.at_once, threads)
        with keeping("the jobs that had ended are complete"), progress.bar:
            for job, ended in pool.run(len(jobs), progress.waiting):
                if isinstance(ended, Lost):
                    ended = self._lost(jobs[job], first + job, ended.exit_code)
                directory, result = ended
                progress.end(job, directory)
                yield job, result

    def _lost(self, overrides: Sequence[str], number: int, exit_code: int | None) -> Ended:
        """Note in its directory that the process of a job ended without a word."""
        directory = Job.of(self.compose(overrides, number)).directory
        if not (directory / FAILURE).exists():
            reason = "the machine ran out of memory, or somebody killed it" if exit_code == -9 else "see output.log"
            note_failure(directory, f"the process of the job ended with exit code {exit_code} ({reason})")
        return directory, JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)


def note_failure(directory: Path, line: str) -> None:
    """Note why a job has failed, in a directory by which it is found however early that was."""
    (directory / ".hydra").mkdir(parents=True, exist_ok=True)
    write_failure(directory, line)


def _obstacle() -> str:
    """Why the jobs cannot run in forks of this process; empty if they can."""
    if sys.platform != "linux":
        return "only Linux forks safely"
    torch = sys.modules.get("torch")
    return "this process has used a GPU, which no fork survives" if torch and torch.cuda.is_initialized() else ""
