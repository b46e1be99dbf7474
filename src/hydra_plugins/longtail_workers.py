"""Hydra's side of `hydra/launcher=workers`: the jobs of a sweep side by side in processes of this machine."""

import contextlib
import functools
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

if TYPE_CHECKING:
    from longtail.sweeps.places import Place


class Workers(Launcher):
    """Runs as many jobs at a time as the machine has room for, and says a line for each that has ended.

    What a job itself prints is in `output.log` in its directory. A job that is finished in the sweep's directory
    already is not run again; one that is not is started again in its own directory.

    Args:
        at_once: jobs at a time, or "auto" for what cores and memory allow.
        threads: of PyTorch in each job, or "auto" for the cores divided by the jobs, at least 1.
        preload: modules that all jobs need, imported once.
    """

    preloaded = False  # whether it was this class that imported PyTorch

    def __init__(self, at_once: int | str = "auto", threads: int | str = "auto", preload: Sequence[str] = ()) -> None:
        for name, value in (("at_once", at_once), ("threads", threads)):
            if value != "auto" and not (isinstance(value, int) and value >= 1):
                print(f"error: hydra.launcher.{name}={value}: must be auto or a whole number >= 1", file=sys.stderr)
                raise SystemExit(1)
        self.at_once = None if isinstance(at_once, str) else at_once
        self.threads = None if isinstance(threads, str) else threads
        self.preload = preload
        self.taken: set[Path] = set()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra hands over."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs that are not finished already; gives the returns of all in the order of the jobs."""
        if not job_overrides:
            return []
        # Here, because Hydra imports this module whatever it is asked for.
        from longtail.errors import console, warn
        from longtail.sweeps.jobs import CommandLine, validation_accuracy
        from longtail.sweeps.places import sweep_lock

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        options = [filter_overrides(overrides) for overrides in job_overrides]
        sweep_dir = Path(self.config.hydra.sweep.dir)
        with sweep_lock(sweep_dir, warn):
            places = self._places(sweep_dir, job_overrides)
            for callback in self.hydra_context.callbacks.callbacks:
                if isinstance(callback, CommandLine):
                    callback.add(places, options)
            results = [JobReturn(overrides=list(overrides)) for overrides in job_overrides]
            to_go = [job for job, place in enumerate(places) if place.metrics is None]
            for job, place in enumerate(places):
                if place.metrics is not None:
                    results[job].status = JobStatus.COMPLETED
                    results[job].return_value = validation_accuracy(place.metrics)
            if len(to_go) < len(places):
                done = len(places) - len(to_go)
                console.print(f"{done} of {len(places)} jobs are finished already; {len(to_go)} to go")
            if to_go:
                run = self._one_by_one if _obstacle() else self._side_by_side
                for job, result in run(job_overrides, places, to_go):
                    results[job] = result
        return results

    def _places(self, sweep_dir: Path, job_overrides: Sequence[Sequence[str]]) -> list["Place"]:
        """Where the jobs have been before, or where they go."""
        from longtail.sweeps.jobs import identity, saved_identity
        from longtail.sweeps.places import Places

        known = Places(sweep_dir, saved_identity, self.taken)
        found = []
        for overrides in job_overrides:
            config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            try:
                found.append(known.give(identity(config), functools.partial(_directory, config)))
            except ValueError as error:
                print(f"error: hydra.sweep.subdir={self._subdir()}: {error}", file=sys.stderr)
                raise SystemExit(1) from None
        return found

    def _subdir(self) -> str:
        """The setting as it was written."""
        return str(OmegaConf.to_container(self.config.hydra.sweep, resolve=False)["subdir"])  # type: ignore[index, call-overload]

    def _one_by_one(
        self, job_overrides: Sequence[Sequence[str]], places: Sequence["Place"], to_go: Sequence[int]
    ) -> Iterator[tuple[int, JobReturn]]:
        print(f"warning: hydra/launcher=workers: {_obstacle()}; the jobs run one after the other", file=sys.stderr)
        for job in to_go:
            yield job, self._run_job(self._compose(places[job], job_overrides[job]))
            configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)

    def _side_by_side(
        self, job_overrides: Sequence[Sequence[str]], places: Sequence["Place"], to_go: Sequence[int]
    ) -> Iterator[tuple[int, JobReturn]]:
        threads = self.threads
        if "torch" in sys.modules and not Workers.preloaded:
            # Nor do OpenMP's threads survive a fork: a process that may have used them has workers of one thread.
            threads = 1
        else:
            Workers.preloaded = True
        from longtail.cli.train import without_collection
        from longtail.errors import console

        with without_collection():
            for module in self.preload:
                importlib.import_module(module)
        from longtail.sweeps.pool import Lost, Pool
        from longtail.sweeps.tables import SweepProgress

        def work(job: int) -> JobReturn:
            return self._run(places[job], job_overrides[job])

        pool = Pool(work, self.at_once, threads)
        progress = SweepProgress(console, [filter_overrides(overrides) for overrides in job_overrides], len(to_go))
        with _stopping(), progress.bar:
            for job, result in pool.run(len(job_overrides), progress.waiting, to_go):
                if isinstance(result, Lost):
                    result = self._lost(places[job], job_overrides[job], result.exit_code)
                progress.end(job, places[job].directory)
                yield job, result

    def _run(self, place: "Place", overrides: Sequence[str]) -> JobReturn:
        from longtail.cli.train import clear

        clear(place.directory)  # first of all: what an earlier attempt has left must not pass for this one's
        config = self._compose(place, overrides)
        log = place.directory / "output.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with (
            log.open("w", buffering=1) as file,
            contextlib.redirect_stdout(file),
            contextlib.redirect_stderr(file),
        ):
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)  # what is no Python prints there too
            result = self._run_job(config)
            if result.status == JobStatus.FAILED:
                traceback.print_exception(result._return_value)
        if result.status == JobStatus.FAILED:
            error = result._return_value
            # Not every exception survives the way to another process.
            result.return_value = RuntimeError(f"job {place.number} failed: {type(error).__name__}: {error}")
        return result

    def _run_job(self, config: DictConfig) -> JobReturn:
        return run_job(
            hydra_context=self.hydra_context,
            task_function=self.task_function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )

    def _compose(self, place: "Place", overrides: Sequence[str]) -> DictConfig:
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        if _directory(config, place.number) != place.directory:
            with open_dict(config):
                config.hydra.sweep.subdir = str(place.directory.relative_to(config.hydra.sweep.dir))
        return config

    def _lost(self, place: "Place", overrides: Sequence[str], exit_code: int | None) -> JobReturn:
        """Note in its directory that a job's process ended without a word."""
        config = self._compose(place, overrides)
        reason = "the machine ran out of memory, or somebody killed it" if exit_code == -9 else "see output.log"
        line = f"the process of the job ended with exit code {exit_code} ({reason})"
        saved = place.directory / ".hydra"
        saved.mkdir(parents=True, exist_ok=True)
        # By these files a job is found; if it was killed early it has not written them.
        OmegaConf.save(config.hydra.overrides.task, saved / "overrides.yaml")
        OmegaConf.save(
            OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]), saved / "config.yaml"
        )
        if not (place.directory / "failure.txt").exists():
            (place.directory / "failure.txt").write_text(line + "\n")
        return JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)


def _obstacle() -> str:
    """Why the jobs cannot run in forks of this process; empty if they can."""
    if sys.platform != "linux":
        return "only Linux forks safely"
    torch = sys.modules.get("torch")
    return "this process has used a GPU, which no fork survives" if torch and torch.cuda.is_initialized() else ""


def _directory(config: DictConfig, number: int) -> Path:
    """Where the results go of a job that has this number from now on."""
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = number
    return Path(config.hydra.sweep.dir, str(config.hydra.sweep.subdir))


@contextlib.contextmanager
def _stopping() -> Iterator[None]:
    """Leave by an exception when the sweep is told to stop, so that its workers are stopped too."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except SystemExit:
        print("stopped; the jobs that had ended are complete", file=sys.stderr)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
