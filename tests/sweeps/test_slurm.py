"""Sweeps through submitit: in processes of this machine, and through stand-ins for SLURM's commands."""

import importlib
import os
import re
import sys
import textwrap
from pathlib import Path

import pytest

from longtail.cli import app

from ..conftest import Cli, metrics, outcome

pytest.importorskip("hydra_plugins.hydra_submitit_launcher")

QUICK = ["hydra.sweep.dir=sweep", "epochs=1", "model.width=4"]

# What sbatch, srun and sacct do, as far as submitit needs them: the jobs of an array are processes of this machine.
COMMANDS = {
    "sbatch": """
        script = state.parent / "script"  # submitit moves its own
        script.write_text(pathlib.Path(sys.argv[-1]).read_text())
        indices = re.search(r"--array=(\\d+)-(\\d+)", script.read_text())
        first, last = map(int, indices.groups())
        common = {"SLURM_JOB_NAME": "train", "SLURM_ARRAY_JOB_ID": "100", "SLURM_JOB_NUM_NODES": "1"}
        common |= {"SLURM_NTASKS": "1", "SLURM_JOB_NODELIST": "localhost", "SLURM_NODELIST": "localhost"}
        for index in range(first, last + 1):
            own = {"SLURM_ARRAY_TASK_ID": str(index), "SLURM_JOB_ID": str(101 + index)}
            run = f"bash {script}; echo COMPLETED > {state}/100_{index}"
            environment = {**os.environ, **common, **own}
            nowhere = {name: subprocess.DEVNULL for name in ("stdin", "stdout", "stderr")}
            subprocess.Popen(["bash", "-c", run], env=environment, start_new_session=True, **nowhere)
        print("Submitted batch job 100")
    """,
    "srun": """
        start = next(i for i, word in enumerate(sys.argv) if "python" in os.path.basename(word))
        output = sys.argv[sys.argv.index("--output") + 1]
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
        (state / job).write_text("RUNNING")
        ids = {name: "0" for name in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID")}
        log = pathlib.Path(output.replace("%A_%a", job).replace("%t", "0"))
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as file:
            process = subprocess.run(sys.argv[start:], env={**os.environ, **ids}, stdout=file, stderr=file)
        sys.exit(process.returncode)
    """,
    "sacct": """
        print("JobID|State|NodeList")
        for job in state.iterdir():
            print(f"{job.name}|{job.read_text().strip()}|localhost")
    """,
    "scancel": "",
    "squeue": "",
}


@pytest.fixture
def slurm(tmp_path: Path) -> Path:
    """A folder with stand-ins for SLURM's commands."""
    commands, state = tmp_path / "slurm" / "bin", tmp_path / "slurm" / "state"
    commands.mkdir(parents=True)
    state.mkdir()
    for name, body in COMMANDS.items():
        start = f"#!{sys.executable}\nimport os, pathlib, re, subprocess, sys\nstate = pathlib.Path({str(state)!r})\n"
        (commands / name).write_text(start + textwrap.dedent(body))
        (commands / name).chmod(0o755)
    return commands


def test_a_sweep_in_a_queue_ends_with_its_table_and_names_what_failed(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slurm: Path
) -> None:
    monkeypatch.setenv("PATH", f"{slurm}{os.pathsep}{os.environ['PATH']}")
    launcher = ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu", "hydra.launcher.timeout_min=5"]
    done = cli("-m", "imbalance.ratio=1000,10", "imbalance.at_least=0", *launcher, *QUICK)
    assert done.code == 1
    assert re.match(
        r"job at_least-0\+epochs-1\+ratio-1000\+width-4\+\w+ failed: imbalance\.ratio=1000: must", done.error
    )
    [finished] = (tmp_path / "sweep").glob("*+ratio-10+*/metrics.json")
    assert metrics(finished.parent)["test"]["accuracy"] > 0
    table = [line.split() for line in done.out.splitlines()]
    assert ["1000", "0", "1", "-", "-"] in table
    assert [row[:2] for row in table if row[:1] == ["10"]] == [["10", "1"]]
    script = next((tmp_path / "sweep" / ".submitit").rglob("*_submission.sh")).read_text()
    assert "--partition=gpu" in script
    assert "--time=5" in script


# A job that imports no PyTorch, in the place of a training; one of them is killed while there is a file `die`.
TASK = """
    import os
    from pathlib import Path

    from hydra.core.hydra_config import HydraConfig

    from longtail.cli import app
    from longtail.runs import write_metrics
    from longtail.sweeps.jobs import identity


    def task(cfg):
        if cfg.seed == 1 and os.path.exists("die"):
            os.kill(os.getpid(), 9)
        directory = Path(HydraConfig.get().runtime.output_dir)
        write_metrics(directory, {"test": {"accuracy": 0.5}, "config_sha256": identity(cfg)})
"""


def test_a_job_that_is_lost_is_said_in_one_line_and_completed_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lost_job.py").write_text(textwrap.dedent(TASK))
    (tmp_path / "die").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    monkeypatch.setattr("submitit.core.core.Job._results_timeout_s", 1)  # how long a slow file system has
    monkeypatch.setattr(sys, "argv", ["longtail", "-m", "seed=0,1", "hydra/launcher=submitit_local", *QUICK])
    task = importlib.import_module("lost_job").task
    lost = outcome(lambda: app.main("train", task), capfd)
    assert lost.code == 1
    assert lost.error.startswith("a job was lost: Job ")
    [finished] = Path("sweep").glob("*/metrics.json")
    before = finished.stat().st_mtime_ns
    (tmp_path / "die").unlink()
    done = outcome(lambda: app.main("train", task), capfd)
    assert done.code == 0, done.err
    assert "1 of 2 jobs are finished already; 1 to go" in done.out
    assert finished.stat().st_mtime_ns == before
    assert len(list(Path("sweep").glob("*/metrics.json"))) == 2
