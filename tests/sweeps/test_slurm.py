"""Sweeps in SLURM's queue: with stand-ins for its commands, and where it is installed with a node of its own."""

import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from longtail.cli import app
from longtail.runs import read_failure
from longtail.sweeps import slurm as launcher

from ..conftest import Outcome, outcome, wait_for

pytest.importorskip("submitit")

# What sbatch, srun and squeue do, as far as the launcher needs them: the jobs are processes of this machine.
COMMANDS = {
    "sbatch": """
        number = 100 * (1 + sum(path.suffix == ".sh" for path in state.iterdir()))
        script = state / f"{number}.sh"  # submitit moves its own
        script.write_text(pathlib.Path(sys.argv[-1]).read_text())
        common = {"SLURM_JOB_NAME": "train", "SLURM_JOB_ID": str(number), "SLURM_JOB_NUM_NODES": "1"}
        common |= {"SLURM_NTASKS": "1", "SLURM_JOB_NODELIST": "localhost", "SLURM_NODELIST": "localhost"}
        indices = re.search(r"--array=(\\d+)-(\\d+)", script.read_text())
        for index in range(int(indices[1]), int(indices[2]) + 1) if indices else [None]:
            job, own = str(number), {}
            if indices:
                job += f"_{index}"
                own = {"SLURM_ARRAY_JOB_ID": str(number), "SLURM_ARRAY_TASK_ID": str(index)}
            run = f"bash {script} && echo COMPLETED > {state}/{job} || echo FAILED > {state}/{job}"
            (state / job).write_text("RUNNING")
            nowhere = {name: subprocess.DEVNULL for name in ("stdin", "stdout", "stderr")}
            environment = {**os.environ, **common, **own}
            subprocess.Popen(["bash", "-c", run], env=environment, start_new_session=True, **nowhere)
        print(f"Submitted batch job {number}")
    """,
    "srun": """
        start = next(i for i, word in enumerate(sys.argv) if "python" in os.path.basename(word))
        ids = {name: "0" for name in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")}
        os.execve(sys.argv[start], sys.argv[start:], {**os.environ, **ids})
    """,
    "squeue": """
        for job in state.iterdir():
            if not job.suffix:
                print(job.name, job.read_text().strip() or "RUNNING")
    """,
}

# A job that imports no PyTorch, in the place of a training; seed 1 is held up or killed while there is such a file.
TASK = """
    import os
    import time
    from pathlib import Path

    from hydra.core.hydra_config import HydraConfig

    from longtail.cli import app
    from longtail.runs import write_metrics
    from longtail.sweeps.jobs import identity


    def task(cfg):
        directory = Path(HydraConfig.get().runtime.output_dir)
        with app.report_errors(directory):
            if cfg.seed == 1 and os.path.exists("die"):
                os.kill(os.getpid(), 9)
            if cfg.seed == 2:
                raise ValueError("a bug")
            (directory / "begun").open("a").write("begun\\n")
            while cfg.seed in (1, 3) and os.path.exists("wait"):
                time.sleep(0.1)
            write_metrics(directory, {"test": {"accuracy": 0.5}, "config_sha256": identity(cfg)})
"""
SWEEP = ["hydra.sweep.dir=sweep", "hydra/launcher=slurm", "hydra.launcher.poll_s=0.1"]


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """The task above, in an empty working directory."""
    (tmp_path / "queued_job.py").write_text(textwrap.dedent(TASK))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    monkeypatch.delitem(sys.modules, "queued_job", raising=False)
    found: Callable[..., object] = importlib.import_module("queued_job").task
    return found


Sweep = Callable[..., Outcome]


@pytest.fixture
def sweep(
    task: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Sweep:
    """Sweep through stand-ins for SLURM's commands, which keep the states of the jobs in the folder `state`."""
    state, commands = tmp_path / "state", tmp_path / "commands"
    state.mkdir()
    commands.mkdir()
    for name, body in COMMANDS.items():
        start = f"#!{sys.executable}\nimport os, pathlib, re, subprocess, sys\nstate = pathlib.Path({str(state)!r})\n"
        (commands / name).write_text(start + textwrap.dedent(body))
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=os.pathsep)
    monkeypatch.setattr(launcher, "GRACE", 0.5)

    def call(*overrides: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["longtail", "-m", *SWEEP, *overrides])
        return outcome(lambda: app.main("train", task), capfd)

    return call


def test_a_sweep_in_a_queue_ends_with_its_table_whatever_becomes_of_its_jobs(sweep: Sweep, tmp_path: Path) -> None:
    (tmp_path / "die").touch()
    lost = sweep("seed=0,1,2", "hydra.launcher.partition=gpu", "hydra.launcher.time=5")
    assert lost.code == 1
    killed, buggy = sorted(line for line in lost.err.splitlines() if line.startswith("error: job "))
    assert killed.endswith("failed: FAILED in SLURM's queue: see what it has printed in sweep/.slurm")
    assert buggy.endswith("failed: ValueError: a bug")
    assert lost.out.splitlines()[-2].split() == ["1", "2", "0.500", "-"]
    script = next((tmp_path / "state").glob("*.sh")).read_text()
    assert "--partition=gpu" in script
    assert "--time=5" in script
    (tmp_path / "die").unlink()
    done = sweep("seed=0,1")
    assert done.code == 0, done.err
    assert "1 of 2 jobs are finished already; 1 to go" in done.out
    assert not read_failure(next(Path("sweep").glob("seed-1+*")))


def test_jobs_that_an_earlier_call_has_left_in_the_queue_are_waited_for(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sweep("seed=0,1").code == 0
    [result] = Path("sweep").glob("seed-1+*/metrics.json")
    [job] = [
        number for name, number in json.loads(Path("sweep/.slurm/jobs.json").read_text()).items() if "seed-1" in name
    ]
    content = result.read_text()
    result.unlink()
    answers: Iterator[dict[str, str] | None] = iter([{job: "RUNNING"}, None, {job: "PENDING"}])  # None: no answer

    def states() -> dict[str, str] | None:
        try:
            return next(answers)
        except StopIteration:
            result.write_text(content)
            return {}

    monkeypatch.setattr(launcher, "states", states)
    done = sweep("seed=0,1")
    assert done.code == 0, done.err
    assert "1 jobs are in the queue already" in done.out
    assert len(list(Path("state").glob("*.sh"))) == 1


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("hydra.launcher.poll_s=0", "hydra.launcher.poll_s=0: must be a number of seconds > 0 and < 3600"),
        ("hydra.launcher.time=1:00:00", "hydra.launcher.time=1:00:00: must be a whole number >= 1"),
        ("+hydra.launcher.nope=1", "hydra/launcher=slurm: Unavailable parameter(s): ['nope'] Valid parameters are"),
    ],
)
def test_a_wrong_setting_is_one_line(sweep: Sweep, override: str, line: str) -> None:
    done = sweep("seed=0,1", override)
    assert done.code == 1
    assert done.error.startswith(line)
    assert not list(Path("state").iterdir())


NODE = """
    ClusterName=test
    SlurmctldHost=localhost
    SlurmUser=root
    SlurmctldPort={ports[0]}
    SlurmdPort={ports[1]}
    AuthInfo=socket={here}/munge.socket,cred_expire=5
    StateSaveLocation={here}/ctld
    SlurmdSpoolDir={here}/spool
    SlurmctldPidFile={here}/slurmctld.pid
    SlurmdPidFile={here}/slurmd.pid
    ProctrackType=proctrack/linuxproc
    TaskPlugin=task/none
    SelectType=select/cons_tres
    SelectTypeParameters=CR_Core
    SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=1
    AccountingStorageType=accounting_storage/none
    JobAcctGatherType=jobacct_gather/none
    MailProg=/bin/true
    KillWait=5
    SlurmdParameters=config_overrides
    NodeName=localhost NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
    PartitionName=P Nodes=localhost Default=YES
"""


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A real SLURM of one node, without accounting."""
    if not all(map(shutil.which, ("munged", "slurmctld", "slurmd"))) or os.geteuid() != 0:
        pytest.skip("needs SLURM and munge installed, and to be root")
    here = tmp_path / "node"
    for name in ("ctld", "spool"):
        (here / name).mkdir(parents=True)
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in (first, second)]
    (here / "slurm.conf").write_text(textwrap.dedent(NODE.format(here=here, ports=ports)))
    (here / "key").write_bytes(os.urandom(128))
    (here / "key").chmod(0o600)
    monkeypatch.setenv("SLURM_CONF", str(here / "slurm.conf"))
    files = [f"--{name}={here}/munge.{name}" for name in ("socket", "pid-file", "log-file", "seed-file")]
    commands = [["munged", "--foreground", "--force", f"--key-file={here}/key", *files]]
    commands += [["slurmctld", "-D", "-c"], ["slurmd", "-D", "-N", "localhost"]]
    started = []
    with (here / "log").open("w") as log:
        for command in commands:
            started.append(subprocess.Popen(command, stdout=log, stderr=log))
            time.sleep(0.3)
    asked = ["sinfo", "--noheader", "--format=%t"]
    wait_for(lambda: subprocess.run(asked, capture_output=True, check=False).stdout == b"idle\n", started[-1])
    yield
    for process in reversed(started):
        process.terminate()
        process.wait()


def test_a_job_goes_back_into_a_real_queue_and_a_cancelled_one_is_noted(
    task: Callable[..., object], tmp_path: Path, node: None
) -> None:
    (tmp_path / "wait").touch()
    call = "from longtail.cli import app; from queued_job import task; app.main('train', task)"
    command = [sys.executable, "-c", call, "-m", "seed=0,1,3", *SWEEP, "hydra.launcher.cpus_per_task=1"]
    run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def begun(seed: int) -> int:
        return sum(len(path.read_text().splitlines()) for path in tmp_path.glob(f"sweep/seed-{seed}+*/begun"))

    wait_for(lambda: begun(0) and begun(1) and begun(3), run)
    ids = {name[:6]: job for name, job in json.loads((tmp_path / "sweep/.slurm/jobs.json").read_text()).items()}
    subprocess.run(["scancel", ids["seed-3"]], check=True)
    subprocess.run(["scancel", "--signal=USR2", ids["seed-1"]], check=True)  # as at the time limit
    wait_for(lambda: begun(1) == 2, run)
    (tmp_path / "wait").unlink()
    out, err = run.communicate()
    assert run.returncode == 1
    assert out.splitlines()[-2].split() == ["2", "1", "0.500", "±", "0.000", "-"]
    assert [line for line in err.splitlines() if line.startswith("error")] == [err.splitlines()[-1]]
    assert "failed: CANCELLED in SLURM's queue: stopped by a signal (exit code 143)" in err
