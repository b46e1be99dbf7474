"""The launcher `slurm`: the jobs of a sweep in SLURM's queue, to which a job returns when its time is up."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, setup_globals

from longtail.errors import console, refuse
from longtail.runs import FAILURE, atomic_write, read_failure, read_metrics
from longtail.signals import keeping
from longtail.sweeps.jobs import Job, validation_score
from longtail.sweeps.launcher import Composing, note_failure

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

FOLDER = ".slurm"  # in the sweep's directory: scripts, pickles, what the jobs print, and their ids
OVER = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "REVOKED",
    "TIMEOUT",
)
STAY = "the jobs stay in SLURM's queue: the same command waits for them again, scancel ends them"
GRACE = 15  # seconds that a shared file system has to show what a job has written


class Slurm(Composing):
    """Hand the jobs to SLURM, wait until the queue is through with them, and say a line for each that has ended.

    At its time limit a job saves its state, submitit puts it back into the queue, and it goes on from there. Whether
    a job has ended is read from `squeue`, which needs no accounting. Jobs that an earlier call of the sweep has left
    in the queue are waited for and not handed in again.

    Args:
        time: minutes that a job may run before it goes back into the queue.
        max_num_timeout: times that it may do so.
        poll_s: seconds between two looks at the queue.
        **parameters: of `submitit.SlurmExecutor`; None for its default.
    """

    def __init__(self, time: int = 60, max_num_timeout: int = 100, poll_s: float = 10, **parameters: Any) -> None:
        for name, value, least in (("time", time, 1), ("max_num_timeout", max_num_timeout, 0)):
            if not (type(value) is int and value >= least):
                refuse(f"hydra.launcher.{name}={value}: must be a whole number >= {least}")
        if type(poll_s) not in (int, float) or not 0 < poll_s < 3600:
            refuse(f"hydra.launcher.poll_s={poll_s}: must be a number of seconds > 0 and < 3600")
        self.max_num_timeout, self.poll_s = max_num_timeout, poll_s
        parameters["time"] = time
        self.parameters = {name: value for name, value in parameters.items() if value is not None}

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs; gives their returns in the order of the jobs."""
        from longtail.sweeps.terminal import SweepProgress

        setup_globals()
        jobs = {
            Job.of(self.compose(overrides, number)).directory: (list(overrides), number)
            for number, overrides in enumerate(job_overrides, initial_job_idx)
        }
        ids = self.submit(jobs)
        progress = SweepProgress(console, [filter_overrides(overrides) for overrides, _ in jobs.values()])
        with keeping(STAY), progress.bar:
            for directory, state in self.ends(ids, progress.waiting):
                if read_metrics(directory) is None:
                    note_failure(directory, reason(state, read_failure(directory), directory.parent / FOLDER))
                progress.end(list(jobs).index(directory), directory)
        returned = []
        for directory, (overrides, _) in jobs.items():
            returned.append(JobReturn(overrides=overrides, status=JobStatus.COMPLETED))
            returned[-1].return_value = validation_score(read_metrics(directory) or {})
        return returned

    def submit(self, jobs: Mapping[Path, tuple[list[str], int]]) -> dict[Path, str]:
        """Hand in the jobs that are not in the queue, as an array; return the ids of all by the directory."""
        try:
            import submitit
        except ImportError:
            refuse("hydra/launcher=slurm: submitit is not installed: pip install 'longtail[slurm]'")
        folder = Path(self.config.hydra.sweep.dir, FOLDER)
        folder.mkdir(parents=True, exist_ok=True)
        queue = states() or {}
        ids = {name: job for name, job in _read(folder / "jobs.json").items() if queue.get(job, OVER[0]) not in OVER}
        new = [directory for directory in jobs if directory.name not in ids]
        if len(new) < len(jobs):
            console.print(f"{len(jobs) - len(new)} jobs are in the queue already")
        try:
            executor = submitit.SlurmExecutor(folder, max_num_timeout=self.max_num_timeout)
            executor.update_parameters(**self.parameters)
            given = [(*jobs[directory], Singleton.get_state()) for directory in new]
            handed = executor.map_array(self, *zip(*given, strict=True)) if new else []
        except (RuntimeError, ValueError) as error:  # no SLURM here, or it does not like a parameter
            refuse(f"hydra/launcher=slurm: {' '.join(str(error).split())}")
        for directory, job in zip(new, handed, strict=True):
            ids[directory.name] = job.job_id
            (directory / FAILURE).unlink(missing_ok=True)
        with atomic_write(folder / "jobs.json") as file:
            file.write(json.dumps(ids, indent=1) + "\n")
        return {directory: ids[directory.name] for directory in jobs}

    def ends(self, ids: Mapping[Path, str], waiting: Callable[[int], None]) -> Iterator[tuple[Path, str]]:
        """Yield the directory of each job that has ended, and its last state in SLURM.

        Args:
            ids: of the jobs, by directory.
            waiting: called with the number of running jobs at each look.
        """
        left, seen = dict(ids), dict.fromkeys(ids.values(), "no longer")
        over: dict[Path, float] = {}
        while left:
            queue = states()
            if queue is not None:
                seen |= queue
                for directory, job in list(left.items()):
                    if queue.get(job, OVER[0]) not in OVER:
                        over.pop(directory, None)
                        continue
                    since = over.setdefault(directory, monotonic())
                    if read_metrics(directory) or monotonic() - since > GRACE:
                        del left[directory]
                        yield directory, seen[job]
                waiting(sum(queue.get(job) == "RUNNING" for job in left.values()))
            sleep(self.poll_s if left else 0)

    def __call__(self, overrides: Sequence[str], number: int, hydra: Mapping[type, Singleton]) -> None:
        """Run a job, in a process that SLURM has started."""
        Singleton.set_state(hydra)
        setup_globals()
        if os.environ.get("SLURM_PROCID", "0") == "0":
            self.run_logged(overrides, number)
        else:
            self.run(self.compose(overrides, number))

    def checkpoint(self, *given: Any) -> "DelayedSubmission":
        """Tell submitit how a job goes on that is put back into the queue: by the same call."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *given)


def states() -> dict[str, str] | None:
    """Return the states of the user's jobs by id, those that have ended lately included; None if SLURM is silent."""
    command = ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%i %T"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(line.split() for line in asked.stdout.splitlines())


def reason(state: str, failure: str | None, folder: Path) -> str:
    """Return why a job has no result, from its last state in SLURM and its own note, if it has left one."""
    if state in ("COMPLETED", "FAILED") and failure:
        return failure
    return f"{state} in SLURM's queue: {failure or f'see what it has printed in {folder}'}"


def _read(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError):
        return {}
