"""Hydra's side of `hydra/launcher=workers`: the jobs of a sweep side by side in processes of this machine."""

import contextlib
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write


class Workers(Launcher):
    """Runs as many jobs at a time as the machine has room for, and says a line for each that has ended.

    What a job itself prints is in `output.log` in its directory.

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

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra hands over."""
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; gives their returns in the order of the jobs."""
        torch = sys.modules.get("torch")
        obstacle = "only Linux forks safely" if sys.platform != "linux" else ""
        if torch and torch.cuda.is_initialized():
            obstacle = "this process has used a GPU, which no fork survives"
        if obstacle:
            print(f"warning: hydra/launcher=workers: {obstacle}; the jobs run one after the other", file=sys.stderr)
            basic = BasicLauncher()
            basic.setup(hydra_context=self.hydra_context, task_function=self.task_function, config=self.config)
            return basic.launch(job_overrides, initial_job_idx)
        if not job_overrides:
            return []
        threads = self.threads
        if torch and not Workers.preloaded:
            # Nor do OpenMP's threads survive a fork: a process that may have used them has workers of one thread.
            threads = 1
        else:
            Workers.preloaded = True
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        from longtail.train import without_collection

        with without_collection():
            for module in self.preload:
                importlib.import_module(module)
        # Here, because Hydra imports this module whatever it is asked for.
        from rich.console import Console

        from longtail.tables import SweepProgress
        from longtail.workers import Lost, Pool

        def work(job: int) -> JobReturn:
            return self._run(initial_job_idx + job, job_overrides[job])

        pool = Pool(work, self.at_once, threads)
        results: list[JobReturn] = [JobReturn() for _ in job_overrides]
        options = [filter_overrides(overrides) for overrides in job_overrides]
        progress = SweepProgress(Console(highlight=False), options)
        with _stopping(), progress.bar:
            for job, result in pool.run(len(job_overrides), progress.waiting):
                if isinstance(result, Lost):
                    result = self._lost(initial_job_idx + job, job_overrides[job], result.exit_code)
                results[job] = result
                progress.end(job, Path(result.hydra_cfg.hydra.runtime.output_dir))
        return results

    def _run(self, index: int, overrides: Sequence[str]) -> JobReturn:
        config = self._compose(index, overrides)
        log = _directory(config) / "output.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with (
            log.open("w", buffering=1) as file,
            contextlib.redirect_stdout(file),
            contextlib.redirect_stderr(file),
        ):
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)  # what is no Python prints there too
            result = run_job(
                hydra_context=self.hydra_context,
                task_function=self.task_function,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
            if result.status == JobStatus.FAILED:
                traceback.print_exception(result._return_value)
        if result.status == JobStatus.FAILED:
            error = result._return_value
            # Not every exception survives the way to another process.
            result.return_value = RuntimeError(f"job {index} failed: {type(error).__name__}: {error}")
        return result

    def _compose(self, index: int, overrides: Sequence[str]) -> DictConfig:
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = index
        return config

    def _lost(self, index: int, overrides: Sequence[str], exit_code: int | None) -> JobReturn:
        """Note in its directory that a job's process ended without a word."""
        config = self._compose(index, overrides)
        directory = _directory(config)
        reason = "the machine ran out of memory, or somebody killed it" if exit_code == -9 else "see output.log"
        line = f"the process of the job ended with exit code {exit_code} ({reason})"
        (directory / ".hydra").mkdir(parents=True, exist_ok=True)
        # By this file a job is found; if it was killed early it has not written it.
        OmegaConf.save(config.hydra.overrides.task, directory / ".hydra" / "overrides.yaml")
        if not (directory / "failure.txt").exists():
            (directory / "failure.txt").write_text(line + "\n")
        with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
            config.hydra.runtime.output_dir = str(directory.absolute())
        hydra_cfg = OmegaConf.masked_copy(config, "hydra")
        return JobReturn(overrides=list(overrides), hydra_cfg=hydra_cfg, status=JobStatus.COMPLETED)


def _directory(config: DictConfig) -> Path:
    """Where a job's results go."""
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
