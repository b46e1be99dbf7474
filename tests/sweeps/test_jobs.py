"""The jobs of a sweep: what is finished is not run again, and no job takes the directory of another."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from longtail.sweeps import jobs
from longtail.sweeps import places as sweeps

from ..conftest import Cli, metrics

BY_POSITION = ["hydra/launcher=basic", "epochs=1", "model.width=4"]


def test_by_position_what_is_finished_is_not_run_again(cli: Cli, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    options = ["-m", "seed=0,1,2", *BY_POSITION, f"hydra.sweep.dir={sweep}"]
    assert cli(*options).code == 0
    (sweep / "1" / "metrics.json").unlink()
    before = {job: (sweep / job / "metrics.json").stat().st_mtime_ns for job in ("0", "2")}
    done = cli(*options)
    assert done.code == 0, done.err
    assert "2 of 3 jobs are finished already; 1 to go" in done.out
    assert "2 of 3 jobs had been finished before and were not run again" in done.out
    assert done.out.count("test accuracy") == 1
    assert metrics(sweep / "1")["fingerprint"]["seed"] == 1
    assert before == {job: (sweep / job / "metrics.json").stat().st_mtime_ns for job in before}


def test_by_position_the_directory_of_another_sweep_is_refused(cli: Cli, tmp_path: Path) -> None:
    sweep = f"hydra.sweep.dir={tmp_path}/sweep"
    assert cli("-m", "seed=0,1", *BY_POSITION, sweep).code == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    done = cli("-m", "seed=0,1", "reweight=none", *BY_POSITION, sweep)
    assert done.code == 1
    assert done.error.startswith(f"{sweep}: must be empty or this sweep's with hydra/launcher=basic")
    assert done.error.endswith("its 0 has other settings than job 0")
    assert before == {path: path.stat().st_mtime_ns for path in before}
    # More jobs at the end are no other sweep, and another launcher and logger make no other jobs.
    assert cli("-m", "seed=0,1,2", *BY_POSITION, sweep, "hydra.job.name=other").code == 0
    assert "3 of 3 jobs are finished already" in cli("-m", "seed=2,1,0", *BY_POSITION[1:], sweep).out


def test_a_result_of_other_settings_does_not_count_as_finished(cli: Cli, tmp_path: Path) -> None:
    # As it is when a sweep was killed after Hydra had saved a job's settings, and before the job had begun.
    sweep = tmp_path / "sweep"
    options = [*BY_POSITION, f"hydra.sweep.dir={sweep}"]
    assert cli("-m", "seed=0,1", *options).code == 0
    text = (sweep / "0" / "metrics.json").read_text()
    digest = metrics(sweep / "0")["config_sha256"]
    for job in ("0", "1"):
        (sweep / job / "metrics.json").write_text(text.replace(digest, "0" * 64))
    (sweep / "1" / ".hydra" / "config.yaml").unlink()
    done = cli("-m", "seed=0,1", *options)
    assert done.error.endswith("its 0 has other settings than job 0")
    assert jobs.saved_identity(sweep / "1") == "0" * 64


def test_a_sweeper_that_makes_up_its_jobs_must_not_meet_another_sweep(tmp_path: Path) -> None:
    task = ["seed=0,1"]
    hydra = {"sweep": {"dir": str(tmp_path)}, "overrides": {"task": task}, "sweeper": {"_target_": "a.Sweeper"}}
    choices = {"runtime": {"choices": {"hydra/launcher": "basic"}}}
    config = OmegaConf.create({"hydra": {**hydra, **choices}})
    assert jobs.jobs_of(config) is None
    jobs.refuse_other_sweep(config)
    OmegaConf.save(config, tmp_path / "multirun.yaml")
    jobs.refuse_other_sweep(config)
    config.hydra.overrides.task = ["seed=0,2"]
    with pytest.raises(SystemExit):
        jobs.refuse_other_sweep(config)


def test_the_identity_of_a_job_survives_being_saved(tmp_path: Path) -> None:
    values = {
        "a": 1e-5,
        "b": "1e-5",
        "c": [1, None, True, "yes", "null", ""],
        "d": float("inf"),
        "e": "${a}",
        "f": "é",
    }
    config = OmegaConf.create({**values, "name": "one", "logger": {"mode": "offline"}, "hydra": {"job": 1}})
    (tmp_path / ".hydra").mkdir()
    OmegaConf.save(
        OmegaConf.create({**dict(reversed(values.items())), "name": "two"}), tmp_path / ".hydra" / "config.yaml"
    )
    assert jobs.saved_identity(tmp_path) == jobs.identity(config)
    for name, value in values.items():
        assert jobs.identity(OmegaConf.create({**values, name: f"{value}0"})) != jobs.identity(config), name


@pytest.mark.parametrize("content", [None, "a: [", "- 1", "\x00"])
def test_settings_that_cannot_be_read_have_no_identity(tmp_path: Path, content: str | None) -> None:
    (tmp_path / ".hydra").mkdir()
    if content is not None:
        (tmp_path / ".hydra" / "config.yaml").write_text(content)
    assert jobs.saved_identity(tmp_path) is None


def test_the_table_of_a_sweep_whose_jobs_are_not_known_beforehand_shows_what_is_there(
    cli: Cli, tmp_path: Path
) -> None:
    options = ["epochs=1", "model.width=4", f"hydra.sweep.dir={tmp_path}/sweep"]
    assert cli("-m", "seed=0,1", *options).code == 0
    (tmp_path / "sweep" / "2" / ".hydra").mkdir(parents=True)  # of a job that was killed before it had begun
    table = cli("-m", "loss=glob(zzz*)", *options).out
    assert re.search(r"^ *2 +0\.\d", table, re.MULTILINE), table


@pytest.mark.parametrize("launcher", ["basic", "workers"])
def test_a_sweep_writes_down_its_jobs_before_they_run(cli: Cli, tmp_path: Path, launcher: str) -> None:
    sweep = tmp_path / "sweep"
    options = ["epochs=1", "model.width=4", f"hydra/launcher={launcher}", f"hydra.sweep.dir={sweep}"]
    assert cli("-m", "seed=0", "reduction=batch_mean", *options).code == 0
    cli("-m", "seed=0,1", *options, "trainer.devices=2")  # refused by each job
    texts = [" ".join(overrides) for overrides in sweeps.noted(sweep).values()]
    assert [text.split()[0] for text in texts if "devices" not in text] == ["seed=0"]
    if launcher == "workers":  # which takes other directories for them
        assert [text.split()[0] for text in texts if "devices" in text] == ["seed=0", "seed=1"]
    assert jobs.saved_identity(sweep / "0") == next(iter(sweeps.noted(sweep)))
