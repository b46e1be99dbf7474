"""A run that was killed goes on as if nothing had happened, and no command destroys a finished one."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from longtail.models import CosineHead, SmallCNN
from longtail.runs import CLASSIFICATION
from longtail.training import checkpoints
from longtail.training.checkpoints import LastCheckpoint

from ..conftest import FINISHED, Cli, Finished, MakeImages, metrics, wait_for

Killing = Callable[[int], contextlib.AbstractContextManager[None]]


class Killed(BaseException):
    """Stands for SIGKILL: nothing is saved, nothing noted."""


@pytest.fixture
def killing(monkeypatch: pytest.MonkeyPatch) -> Killing:
    """End a training within the block at the end of its n-th step."""
    own = LastCheckpoint.on_train_batch_end

    @contextlib.contextmanager
    def at(last: int) -> Iterator[None]:
        steps = 0

        def end(self: LastCheckpoint, *given: Any) -> None:
            nonlocal steps
            own(self, *given)
            steps += 1
            if steps == last:
                raise Killed

        with monkeypatch.context() as within:
            within.setattr(LastCheckpoint, "on_train_batch_end", end)
            yield

    return at


def state(run_dir: Path) -> dict[str, Any]:
    """Everything that a checkpoint holds of the run, its own place left out."""
    saved = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)

    def flat(value: Any, name: str = "") -> dict[str, Any]:
        if isinstance(value, dict | list | tuple):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            return {key: leaf for k, item in items for key, leaf in flat(item, f"{name}.{k}").items()}
        return {name: value.tolist() if isinstance(value, Tensor) else value}

    # Of the best epoch's file; the score is not Lightning's to restore.
    moved = "path", "best_k_models", "current_score"
    return {name: value for name, value in flat(saved).items() if not any(part in name for part in moved)}


SHORT = ["epochs=5", "batch_size=128", "model.width=4"]  # 3 batches an epoch
STREAMED = ["dataset.memory_limit=1", "dataset.image_size=16", "dataset.num_workers=2", "batch_size=16"]
PASTED = ["method=cmo", "method.probability=0.7", "method.end=1"]
EXAMPLES = {
    "mixing, in the middle of an epoch": (
        ["method=mixup", "sampler=deferred", "+trainer.accumulate_grad_batches=2", "checkpoint.minutes=0"],
        [8],
    ),
    "three times": (
        [
            *("method=proco", "sampler=uniform_minibatch", "sampler.samples_per_class=4"),
            *("optimizer=sam", "checkpoint.minutes=0"),
        ],
        [1, 3, 4],
    ),
    "the best epoch, from a stage's end": (
        ["method=mislas", "method.share=0.4", "validation_per_class=5", "selection=best_validation"],
        [11],
    ),
    "between stages and in the second one": (["method=late_head", "method.share=0.4", "callbacks=ema"], [10, 5]),
    "in two stages that train nothing": (
        ["method=ncm", "method@method.first=cutmix", "checkpoint.minutes=0"],
        [11, 3],
    ),
    "streamed": (
        ["dataset=image_folder", "dataset.root=IMAGES", *STREAMED, "imbalance=none", "checkpoint.minutes=0", *PASTED],
        [5],
    ),
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_killed_run_ends_as_one_that_ran_through(
    example: str, cli: Cli, killing: Killing, make_images: MakeImages, tmp_path: Path
) -> None:
    overrides, steps = EXAMPLES[example]
    if example == "streamed":
        root = make_images({"a": 24, "b": 24}, {"a": 4, "b": 4})
        overrides = [text.replace("IMAGES", str(root)) for text in overrides]
    if "callbacks=ema" in overrides:
        pytest.importorskip("lightning.pytorch.callbacks.weight_averaging")  # of lightning >= 2.6
    through, killed = tmp_path / "through", tmp_path / "killed"
    given = [*SHORT, *overrides]
    assert cli(*given, f"hydra.run.dir={through}").code == 0
    again = [*given, f"hydra.run.dir={killed}"]  # what SLURM runs when it requeues a job
    for number, step in enumerate(steps):
        with killing(step), pytest.raises(Killed):
            cli(*(again if number % 2 == 0 else [f"run_dir={killed}"]))
        assert not (killed / "metrics.json").exists()
    done = cli(*again) if len(steps) > 1 else cli(f"run_dir={killed}")
    assert done.code == 0, done.err
    assert "goes on from" in done.out
    assert state(killed) == state(through)
    assert metrics(killed) == metrics(through)
    assert (killed / "per_class.csv").read_text() == (through / "per_class.csv").read_text()


def test_a_sweep_goes_on_with_its_interrupted_jobs(
    cli: Cli, killing: Killing, finished: Finished, tmp_path: Path
) -> None:
    sweep = ["-m", *FINISHED, f"hydra.sweep.dir={tmp_path / 'sweep'}", "seed=3"]
    with killing(4):
        assert cli(*sweep).code == 1
    done = cli(*sweep)
    assert done.code == 0, done.err
    [first] = tmp_path.glob("sweep/*seed-3*")
    assert (first / "output.log").read_text().count("goes on from") == 1
    assert metrics(first)["test"] == metrics(finished.directory)["test"]
    assert not (first / "failure.txt").exists()


def files(directory: Path) -> dict[str, bytes]:
    """The content of every file, by name."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


REPLACED = "finished run, which overwrite=true would replace"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (FINISHED, REPLACED),
        (["epochs=1"], REPLACED),
        (["reweight.beta=2"], REPLACED),
        (["reweight.beta=2", "overwrite=true"], "reweight.beta=2: must"),
        (["optimizer.lr=-1", "overwrite=true"], "optimizer"),
        (["overwrite=x"], "overwrite=x: must be true or false"),
        (["checkpoint.minutes=0s", "overwrite=true"], "checkpoint.minutes=0s: must"),
        (["checkpoint.minutes=-1", "overwrite=true"], "checkpoint.minutes=-1: must"),
        (["checkpoint.minutes=nan", "overwrite=true"], "checkpoint.minutes=nan: must"),
    ],
)
def test_a_finished_run_survives_what_is_refused(
    overrides: list[str], message: str, cli: Cli, finished_run: Path
) -> None:
    before = files(finished_run)
    assert message in cli(*overrides, f"hydra.run.dir={finished_run}").error
    assert files(finished_run) == before


def test_a_finished_run_is_replaced_if_that_is_asked_for(cli: Cli, finished_run: Path) -> None:
    before = metrics(finished_run)
    assert cli(*FINISHED, "seed=4", "overwrite=true", f"hydra.run.dir={finished_run}").code == 0
    assert metrics(finished_run)["fingerprint"]["seed"] == 4 != before["fingerprint"]["seed"]


def test_an_interrupted_run_goes_on_with_its_own_settings_alone(
    cli: Cli, killing: Killing, quick: list[str], run_dir: Path
) -> None:
    with killing(5), pytest.raises(Killed):
        cli(*quick)
    before = files(run_dir)
    assert "an interrupted run of other settings" in cli(*quick, "seed=1").error
    assert "must be given without seed=1" in cli(f"run_dir={run_dir}", "seed=1").error
    assert "must be the directory of a run" in cli(f"run_dir={run_dir.parent}").error
    assert files(run_dir) == before
    (run_dir / "checkpoints" / "last.ckpt").write_bytes(b"half a checkpoint")
    assert "cannot be read as a checkpoint" in cli(f"run_dir={run_dir}").error
    assert cli(*quick, "seed=1", "overwrite=true").code == 0
    assert "finished already" in cli(f"run_dir={run_dir}").out


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(
    cli: Cli, killing: Killing, quick: list[str], run_dir: Path
) -> None:
    with killing(1), pytest.raises(Killed):
        cli(*quick)
    before = files(run_dir)
    assert cli(f"run_dir={run_dir}").code == 0
    assert before.items() <= files(run_dir).items()
    assert metrics(run_dir)["fingerprint"]["steps"] == 6


def test_a_stage_without_images_has_no_scores(cli: Cli, quick: list[str], run_dir: Path) -> None:
    done = cli(*quick, "validation_per_class=5", "trainer.limit_test_batches=0")
    assert done.code == 0, done.err
    assert set(metrics(run_dir)["test"].values()) == {None}
    assert metrics(run_dir)["val"]["accuracy"] is not None
    best = ["selection=best_validation", "validation_per_class=5", "trainer.limit_val_batches=0"]
    assert cli(*quick, *best, "overwrite=true").error.startswith("trainer.limit_val_batches=0: must be > 0")


def test_an_interrupted_run_is_one_run_of_wandb(
    cli: Cli, killing: Killing, quick: list[str], run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with killing(5), pytest.raises(Killed):
        cli(*quick, "logger.mode=offline", wandb=True)
    assert cli(f"run_dir={run_dir}", wandb=True).code == 0
    runs = [path.name.rpartition("-")[2] for path in (run_dir / "wandb").glob("offline-run-*")]
    assert len(runs) == 2
    assert len(set(runs)) == 1


def test_a_run_that_is_killed_for_good_goes_on(cli: Cli, run_dir: Path) -> None:
    given = [f"hydra.run.dir={run_dir}", "epochs=4", "model.width=4", "checkpoint.minutes=0"]
    command = [sys.executable, "-m", "longtail.cli.train", *given, "logger=none", "+trainer.max_steps=-1"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for((run_dir / "checkpoints" / "last.ckpt").exists, run)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not (run_dir / "metrics.json").exists()
    assert cli(f"run_dir={run_dir}").code == 0
    through = run_dir.with_name("through")
    assert cli(*given[1:], "+trainer.max_steps=-1", f"hydra.run.dir={through}").code == 0
    assert state(run_dir) == state(through)


@pytest.mark.parametrize("sweeper", ["grid", "basic"])
def test_a_job_in_the_directory_of_another_changes_nothing(
    sweeper: str, cli: Cli, quick: list[str], tmp_path: Path
) -> None:
    sweep = ["-m", *quick[1:], f"hydra/sweeper={sweeper}", "hydra/launcher=basic", "hydra.sweep.subdir=job"]
    sweep.append(f"hydra.sweep.dir={tmp_path / 'sweep'}")
    assert cli(*sweep, "seed=0").code == 0
    before = files(tmp_path / "sweep" / "job")
    refused = cli(*sweep, "seed=1")
    assert before.items() <= files(tmp_path / "sweep" / "job").items()
    assert "holds a finished run" in refused.out + refused.err
    assert refused.code == 1 or sweeper == "basic"


@pytest.mark.parametrize("name", ["figures", "checkpoints"])
def test_a_link_in_a_strangers_run_is_not_followed(name: str, cli: Cli, quick: list[str], run_dir: Path) -> None:
    assert cli(*quick).code == 0
    (run_dir / "metrics.json").unlink()
    (mine := run_dir.with_name("mine")).mkdir()
    (run_dir / name).rename(mine / name)
    (run_dir / name).symlink_to(mine / name)
    before = files(mine)
    assert "must not be a link" in cli(f"run_dir={run_dir}").error
    assert files(mine) == before


def test_a_pipe_is_no_checkpoint(cli: Cli, quick: list[str], run_dir: Path) -> None:
    assert cli(*quick).code == 0
    for name in ("metrics.json", "checkpoints/last.ckpt"):
        (run_dir / name).unlink()
    os.mkfifo(run_dir / "checkpoints" / "last.ckpt")
    assert "last.ckpt: must be a file" in cli(f"run_dir={run_dir}").error


def test_no_file_that_a_checkpoint_names_is_deleted(run_dir: Path) -> None:
    callback = checkpoints.best(run_dir, CLASSIFICATION)
    score = torch.tensor(0.5)
    theirs = str(run_dir / "checkpoints" / ".." / ".." / "mine")
    callback.load_state_dict(
        {"best_model_score": score, "best_model_path": theirs, "kth_best_model_path": theirs, "best_k_models": {}}
    )
    assert "mine" not in f"{callback.best_model_path} {callback.kth_best_model_path} {callback.best_k_models}"
    assert callback.best_model_score == score


def test_a_job_that_is_refused_at_once_is_counted_as_failed(cli: Cli, quick: list[str], tmp_path: Path) -> None:
    sweep = ["-m", *quick[1:], "hydra/sweeper=basic", "hydra/launcher=basic", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    assert cli(*sweep, "trainer.strategy=ddp_spawn").code == 1


def test_a_run_killed_after_its_last_step_has_the_weights_of_its_last_stage(
    cli: Cli, quick: list[str], run_dir: Path
) -> None:
    stages = ["method=late_head", "method.share=0.5", "epochs=2"]
    assert cli(*quick, *stages).code == 0
    before = (run_dir / "per_class.csv").read_bytes()
    assert metrics(run_dir)["fingerprint"]["parameters"] == count(CosineHead)
    (run_dir / "metrics.json").unlink()
    assert cli(f"run_dir={run_dir}").code == 0
    assert (run_dir / "per_class.csv").read_bytes() == before
    again = cli(f"run_dir={run_dir}", "accelerator=cpu", evaluation=True)
    assert "the same numbers as the run" in again.out


def test_a_run_that_was_stopped_in_its_first_stage_is_evaluated_as_it_was(
    cli: Cli, killing: Killing, quick: list[str], run_dir: Path
) -> None:
    with killing(4), pytest.raises(Killed):
        cli(*quick, "method=late_head", "method.share=0.5", "epochs=2")
    done = cli(f"run_dir={run_dir}", "accelerator=cpu", evaluation=True)
    assert done.code == 0, done.err
    assert "this is its checkpoint after epoch 1 of 2" in done.err
    assert metrics(run_dir / "evaluation")["fingerprint"]["parameters"] == count(nn.Linear)


def count(head: type[nn.Module]) -> int:
    """The number of parameters of the model of these runs."""
    return sum(p.numel() for p in SmallCNN(1, 10, width=4, head=head).parameters())
