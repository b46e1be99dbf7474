"""The command line: what a run and a sweep leave, that they repeat, and what they refuse."""

import csv
import hashlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from longtail.cli.parts import GROUPS
from longtail.datasets import digits
from longtail.imbalance import hold_out, subsample

from ..conftest import FINISHED, Cli, Finished, MakeImages, metrics, wait_for


def test_a_run_leaves_its_directory(finished: Finished) -> None:
    run_dir = finished.directory
    names = {str(p.relative_to(run_dir)) for p in run_dir.rglob("*") if p.is_file()}
    assert {".hydra/config.yaml", "checkpoints/last.ckpt", "metrics.json", "per_class.csv"} <= names
    assert {"figures/classes.png", "figures/confusion.png"} <= names
    with (run_dir / "per_class.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["class_index", "class_name", "train_count", "test_count", "weight", "accuracy"]
    result = metrics(run_dir)
    per_class = np.array([float(row["accuracy"]) for row in rows])
    assert result["test"]["accuracy"] == pytest.approx(per_class.mean())
    assert result["test"]["accuracy_std"] == pytest.approx(per_class.std(ddof=0))
    assert result["test"]["accuracy_min"] == per_class.min()
    assert sum(result["drawn_per_class"]) == result["fingerprint"]["images_seen"]


def test_the_fingerprint_is_that_of_the_run(finished: Finished) -> None:
    found = metrics(finished.directory)["fingerprint"]
    targets = digits().train.targets.numpy()
    pool, _ = hold_out(targets, num_classes=10, per_class=10)
    chosen = pool[subsample(targets[pool], found["class_counts"])]
    assert found["train_indices_sha256"] == hashlib.sha256(chosen.astype("<i8").tobytes()).hexdigest()
    assert found["steps"] == 2 * 3
    assert found["images_seen"] == 2 * sum(found["class_counts"])
    assert found["seed"] == 3
    assert found["reduction"] == "batch_mean"
    assert found["selection"] == "last"
    assert found["augmentation"]["pad"] == 1
    assert found["parameters"] > 0
    assert found["versions"]["torch"] == torch.__version__.split("+")[0]


def test_the_terminal_shows_the_run(finished: Finished) -> None:
    out = finished.out
    assert "digits x exponential x random x softmax x class_balanced x ordinary x small_cnn, seed 3" in out
    assert "10 classes, 118 to 2 per class" in out
    assert "val accuracy" in out
    assert re.search(r"^9 +2 +3.730 +[01]\.\d{3} +[█·]+", out, re.MULTILINE)
    assert re.search(r"0\.000 +·+  ◄ worst$", out, re.MULTILINE)
    assert "test accuracy" in out
    assert "std over classes" in out
    assert "files in run" in out


def test_a_run_repeats_bit_for_bit_and_a_seed_changes_it(cli: Cli, finished: Finished, tmp_path: Path) -> None:
    for name, seed in (("again", 3), ("other", 4)):
        assert cli(*FINISHED, f"hydra.run.dir={tmp_path / name}", f"seed={seed}").code == 0
    once, again, other = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in (finished.directory, tmp_path / "again", tmp_path / "other")
    )
    assert all(torch.equal(once[key], again[key]) for key in once)
    assert not all(torch.equal(once[key], other[key]) for key in once)
    assert metrics(tmp_path / "again") == metrics(finished.directory)


def test_evaluation_gets_the_same_numbers_or_tells_which_differ(cli: Cli, finished_run: Path) -> None:
    done = cli(f"run_dir={finished_run}", evaluation=True)
    assert done.code == 0, done.err
    assert "the same numbers as the run" in done.out
    run = metrics(finished_run)
    assert metrics(finished_run / "evaluation")["test"] == run["test"]
    assert metrics(finished_run / "evaluation")["fingerprint"] == run["fingerprint"]
    accuracy = run["test"]["accuracy"]
    text = (finished_run / "metrics.json").read_text()
    (finished_run / "metrics.json").write_text(text.replace(f'"accuracy": {accuracy}', '"accuracy": 0.123', 1))
    assert f"accuracy 0.123 -> {accuracy}" in cli(f"run_dir={finished_run}", evaluation=True).out


def test_a_checkpoint_of_another_shape_is_refused(cli: Cli, finished_run: Path) -> None:
    config = finished_run / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("width: 4", "width: 6"))
    done = cli(f"run_dir={finished_run}", evaluation=True)
    assert done.code == 1
    assert done.error.startswith("checkpoint=")
    assert "size mismatch" in done.error
    assert not (finished_run / "evaluation").exists()


def test_a_checkpoint_that_would_run_code_is_refused(cli: Cli, finished_run: Path) -> None:
    torch.save({"state_dict": {}, "trap": subprocess.Popen}, finished_run / "checkpoints" / "last.ckpt")
    done = cli(f"run_dir={finished_run}", evaluation=True)
    assert done.code == 1
    assert done.error.startswith("checkpoint=")


@pytest.mark.parametrize("given", ["nowhere", "."])
def test_evaluation_needs_a_run_directory(given: str, cli: Cli, tmp_path: Path) -> None:
    done = cli(f"run_dir={given}", evaluation=True)
    assert done.code == 1
    assert done.error == f"run_dir={given}: must be the directory of a run"
    assert not (tmp_path / "nowhere").exists()


def test_best_validation_tests_the_best_epoch(cli: Cli, quick: list[str], run_dir: Path) -> None:
    assert (
        cli(*quick, "selection=best_validation", "validation_per_class=10", "epochs=4", "optimizer.lr=0.5").code == 0
    )
    best = torch.load(run_dir / "checkpoints" / "best.ckpt", weights_only=True)
    assert metrics(run_dir)["val"]["accuracy"] == pytest.approx(best["scores"]["accuracy"])
    assert "the same numbers as the run" in cli(f"run_dir={run_dir}", evaluation=True).out


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["imbalance.ratio=0.5"], "imbalance.ratio=0.5: must be a finite number >= 1"),
        (["imbalance.ratio=many"], "imbalance.ratio=many: must be a finite number"),
        (
            ["imbalance.ratio=5000", "imbalance.at_least=0"],
            "imbalance.ratio=5000: must keep at least 1 image of every class, class 6 keeps 0 of 131",
        ),
        (["reweight.beta=1"], "reweight.beta=1: must be a number in [0, 1)"),
        (["reweight.normalize=no"], "reweight.normalize=no: must be after_power, before_power or none"),
        (["loss=focal", "loss.gamma=-1"], "loss.gamma=-1: must be a finite number >= 0"),
        (["sampler=uniform_minibatch", "sampler.samples_per_class=0"], "sampler.samples_per_class=0: must be"),
        (["sampler=uniform_minibatch", "sampler.epoch_length=long"], "sampler.epoch_length=long: must be one of"),
        (
            ["method=crt", "sampler@method.sampler=uniform_minibatch", "method.sampler.samples_per_class=1000"],
            "method.sampler.samples_per_class=1000: a batch of",
        ),
        (["batch_size=0"], "batch_size=0: must be"),
        (["batch_size=100000"], "batch_size=100000: must be in [1, 364]"),
        (["reweight=clipped_inverse", "reweight.low=3"], "reweight.low=3: must be <= high=1.778"),
        (["dataset=image_folder", "dataset.root=/nowhere"], "dataset.root=/nowhere: must be a directory"),
        (["model=torchvision", "model.name=vgg11"], "model: must take images of 1x8x8"),
        (["model=resnet32", "model.depth=33"], "model.depth=33: must be 6n + 2"),
        (["trainer.strategy=ddp_fork"], "trainer.strategy=ddp_fork: must start processes of its own"),
        (["validation_per_class=200"], "validation_per_class=200: must leave every class an image"),
        (["optimizer.lr=-1"], "optimizer.lr=-1: must be a finite number >= 0"),
        (["optimizer.lr=nan"], "optimizer.lr=nan: must be a finite number >= 0"),
        (["optimizer=sam", "optimizer.rho=-1"], "optimizer.rho=-1: must be a finite number >= 0"),
        (["optimizer=sam", "+trainer.accumulate_grad_batches=2"], "trainer.accumulate_grad_batches=2: must be 1 for"),
        (["optimizer=sam", "trainer.precision=16-mixed"], "trainer.precision=16-mixed: must be another for"),
        (["trainer.max_epochs=null"], "trainer.max_epochs=null: must be a whole number >= 1"),
        (["trainer.devices=1000"], "trainer.devices=1000: must be"),
        (["trainer.precision=64-true"], "trainer.precision=64-true: must be auto, 32-true"),
        (["trainer.accelerator=tpu"], "trainer: Requirement 'torch_xla"),
        (["callbacks=ema", "callbacks.ema.decay=2"], "callbacks.ema.decay=2: must be a finite number in [0, 1]"),
        (["dataset.augment=abc"], "dataset.augment=abc: must be what has a _target_ or null"),
        (
            ["dataset=image_folder", "dataset.num_workers=100000", "dataset.root=."],
            "dataset.num_workers=100000: must be",
        ),
        (["~imbalance.ratio"], "imbalance.ratio: must be given"),
        (["~trainer.max_epochs"], "trainer.max_epochs: must not be deleted"),
        (["+loss.class_counts=[1]"], "loss.class_counts: must not be set, the run passes it"),
        (["+model.in_channels=5"], "model.in_channels=5: must not be set, the run passes it"),
        (["model.width=1000000"], "model: [enforce fail"),
        (["model=resnet32", "model.depth=8000000"], "model.depth=8000000: must be 6n + 2"),
        (["+logger.project=3"], "logger.project=3: must be a text or null"),
        (["+loss.gamma=1"], "loss.gamma=1: no such setting"),
        (["optimizer.lr=fast"], "optimizer.lr=fast: must be a finite number >= 0"),
        (["model.width=-3"], "model.width=-3: must be a whole number >= 1"),
        (["loss=ldam"], "model.head=linear: must be cosine"),
        (["loss=influence_balanced", "method=experts"], "method=Experts: must not be used with a loss that takes"),
        (["reweight=deferred", "reweight.then.beta=1"], "reweight.then.beta=1: must be a number in [0, 1)"),
        (["sampler=deferred", "sampler.start=1"], "sampler.start=1: must be a fraction of the epochs"),
        (["trainer.accelerator=abacus"], "trainer: "),
        (["logger.mode=sometimes"], "logger.mode=sometimes: must be one of auto, online, offline"),
        (["loss._target_=torch.nn.NoSuchLoss"], "loss._target_=torch.nn.NoSuchLoss: must be"),
        (["scheduler.warmup=2"], "scheduler.warmup=2: must be a fraction"),
        (["dataset.augment.pad=-1"], "dataset.augment.pad=-1: must be a whole number"),
    ],
)
def test_bad_input_is_one_line(overrides: list[str], message: str, cli: Cli, quick: list[str], run_dir: Path) -> None:
    base = [
        item for item in quick if not (item.startswith("model.") and any(o.startswith("model=") for o in overrides))
    ]
    done = cli(*base, *overrides)
    assert done.code == 1
    assert done.error.startswith(message)
    assert not (run_dir / "metrics.json").exists()
    assert not (run_dir / "checkpoints").exists()


def test_nearest_model_names_are_suggested(cli: Cli, quick: list[str]) -> None:
    line = cli(quick[0], "model=torchvision", "model.name=resnet19").error
    assert line.startswith("model.name=resnet19: must be")
    assert "resnet18" in line


def test_a_class_in_test_alone_and_a_corrupt_image_are_refused(
    cli: Cli, quick: list[str], make_images: MakeImages
) -> None:
    root = make_images({"a": 20, "b": 20}, {"a": 2, "c": 2})
    folder = ["dataset=image_folder", f"dataset.root={root}", "batch_size=4"]
    assert "which lacks c" in cli(*quick, *folder).error
    (root / "test" / "c").rename(root / "test" / "b")
    (root / "train" / "a" / "007.png").write_bytes(b"\x89PNG broken")
    assert "train/a/007.png" in cli(*quick, *folder).error
    (root / "train" / "a" / "007.png").unlink()
    assert cli(*quick, *folder, "imbalance.ratio=2").code == 0


def test_a_loss_that_breaks_stops_the_run_and_keeps_the_last_good_checkpoint(
    cli: Cli, quick: list[str], run_dir: Path
) -> None:
    # A warm-up over the first epochs keeps the rate harmless until it does not.
    wild = ["optimizer.lr=1e25", "scheduler.warmup=0.99", "epochs=4", "model.width=4"]
    done = cli(*quick, *wild)
    assert done.code == 1
    assert "not finite" in done.error
    assert "step" in done.error
    assert not (run_dir / "metrics.json").exists()
    for checkpoint in run_dir.glob("checkpoints/*.ckpt"):
        state = torch.load(checkpoint, weights_only=True)["state_dict"]
        assert all(bool(torch.isfinite(value).all()) for value in state.values())


def test_results_of_an_earlier_run_in_the_directory_do_not_survive_a_failure(
    cli: Cli, quick: list[str], finished_run: Path
) -> None:
    assert cli(*quick, "loss=focal", "optimizer.lr=1e30", "overwrite=true").code == 1
    left = {path.name for path in finished_run.rglob("*") if path.is_file()}
    assert not left & {"metrics.json", "per_class.csv", "last.ckpt", "classes.png"}
    assert "not finite" in (finished_run / "failure.txt").read_text()


def test_a_last_batch_of_one_image_is_refused_where_the_model_cannot_take_it(cli: Cli, quick: list[str]) -> None:
    small = [quick[0], "epochs=1", "batch_size=33"]  # 364 = 11 * 33 + 1
    assert cli(*small, "model=torchvision").error.startswith("batch_size=33: must not leave a last batch of 1 image")
    assert cli(*small, "model.width=4").code == 0


def test_a_batch_of_many_classes_is_told(cli: Cli, quick: list[str]) -> None:
    uniform = [*quick, "sampler=uniform_minibatch", "sampler.samples_per_class=4", "reweight=none", "trainer=debug"]
    told = "samples_per_class=4: 4 images of each class are batches of 40, not batch_size=20; sampler.classes"
    assert told in cli(*uniform, "batch_size=20").err
    assert "samples_per_class" not in cli(*uniform, "batch_size=32", "overwrite=true").err


@pytest.mark.parametrize(
    ("sampler", "reweight", "warned"),
    [
        ("uniform_minibatch", "class_balanced", True),
        ("class_balanced", "inverse_frequency", True),
        ("class_balanced", "clipped_inverse", True),
        ("uniform_minibatch", "clipped_inverse", False),
        ("uniform_minibatch", "none", False),
        ("random", "class_balanced", False),
    ],
)
def test_a_double_correction_is_warned_of_unless_a_paper_does_it(
    sampler: str, reweight: str, warned: bool, cli: Cli, quick: list[str]
) -> None:
    done = cli(*quick, f"sampler={sampler}", f"reweight={reweight}", "trainer=debug")
    assert done.code == 0
    assert ("double correction" in done.err) == warned
    assert (", those of inverse frequency within" in done.out) == (reweight == "class_balanced")


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["loss=deferred", "loss.start=0.9"], "loss=deferred: its second loss starts after the last of"),
        (["loss=equalization", "loss.threshold=0.001"], "loss=equalization: spares no class, for none has"),
        (
            ["method=ncm", "callbacks=ema", "trainer.max_epochs=3"],
            "callbacks.ema with method=ncm: averages the class means while",
        ),
        (["augment=auto"], "augment=auto: leaves nothing of images of 8 x 8, they become black"),
        (["loss=influence_balanced", "loss.start=0", "compile=default"], "compile=default: speeds up no training"),
    ],
)
def test_what_does_less_than_it_says_is_warned_of(
    overrides: list[str], line: str, cli: Cli, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, mode: None)
    done = cli(*quick, "reweight=none", "trainer=debug", *overrides)
    assert done.code == 0
    assert line in done.err


def test_a_balancing_sampler_balances_what_is_drawn(cli: Cli, quick: list[str], run_dir: Path) -> None:
    assert cli(*quick, "sampler=uniform_minibatch", "reweight=clipped_inverse").code == 0
    drawn = metrics(run_dir)["drawn_per_class"]
    assert len(set(drawn)) == 1
    assert drawn[0] == 2 * 3 * 12


def test_images_of_different_sizes_are_trained_on(
    cli: Cli, quick: list[str], run_dir: Path, make_images: MakeImages
) -> None:
    root = make_images({"a": 20, "b": 20}, {"a": 4, "b": 4})
    folder = ["dataset=image_folder", f"dataset.root={root}", "dataset.image_size=16", "batch_size=8"]
    done = cli(*quick, *folder, "imbalance=step", "imbalance.ratio=4", "validation_per_class=2")
    assert done.code == 0, done.err
    assert metrics(run_dir)["fingerprint"]["class_counts"] == [18, 4]
    assert "the same numbers as the run" in cli(f"run_dir={run_dir}", evaluation=True).out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_so_and_keeps_its_checkpoint(number: int, code: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "longtail.cli.train", "epochs=100000", "model.width=4", "logger=none"]
    run = subprocess.Popen(
        [*command, "hydra.run.dir=run"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_for((tmp_path / "run" / "checkpoints" / "last.ckpt").exists, run)
    run.send_signal(number)
    _, err = run.communicate()
    assert run.returncode == code
    assert b"stopped" in err
    assert b"Traceback" not in err
    assert f"exit code {code}" in (tmp_path / "run" / "failure.txt").read_text()
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_a_folder_that_is_long_tailed_already_is_warned_of(
    cli: Cli, quick: list[str], make_images: MakeImages
) -> None:
    root = make_images({"a": 10, "b": 40}, {"a": 2, "b": 2})
    folder = [*quick, "dataset=image_folder", f"dataset.root={root}", "batch_size=4", "trainer=debug"]
    assert "imbalance=none keeps all images" in cli(*folder, "imbalance.ratio=2").err
    assert "warning" not in cli(*folder, "imbalance=none").err


def test_a_loss_that_is_reduced_is_refused(cli: Cli, quick: list[str], run_dir: Path) -> None:
    done = cli(*quick, "loss._target_=tests.cli.test_train.reduced")
    assert done.error.startswith("loss: must give a loss per image")
    assert not run_dir.exists()


def reduced(class_counts: torch.Tensor) -> torch.nn.Module:
    return torch.nn.CrossEntropyLoss()


@pytest.mark.parametrize("trainer", ["cpu", "mixed", "debug"])
def test_trainer_options_run(trainer: str, cli: Cli, quick: list[str], run_dir: Path) -> None:
    assert cli(*quick, f"trainer={trainer}").code == 0
    assert metrics(run_dir)["fingerprint"]["steps"] == (4 if trainer == "debug" else 6)


def test_the_console_scripts_answer_without_importing_torch() -> None:
    bin_dir = Path(sys.executable).parent
    shown = subprocess.run([bin_dir / "longtail", "--help"], capture_output=True, text=True, check=True).stdout
    assert all(f"\n{group}: " in shown for group in GROUPS)
    assert shown.count("longtail") >= 5
    shown = subprocess.run([bin_dir / "longtail-eval", "--help"], capture_output=True, text=True, check=True).stdout
    assert "longtail-eval run_dir=DIR" in shown


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--cfg", "job"], "batch_size: 128"),
        (["-sc", "query=bash"], "loss=focal"),
        (["-sc", "install=bash"], "complete"),
    ],
)
def test_settings_and_completion_come_without_importing_torch(arguments: list[str], answer: str) -> None:
    command = f"import sys; sys.argv = ['longtail', *{arguments}]; import longtail.cli.train as t; t.main()"
    check = f"{command}; assert not {{'torch', 'numpy', 'wandb'}} & set(sys.modules)"
    line = {"COMP_LINE": "longtail loss=", "COMP_POINT": "14"}
    done = subprocess.run(
        [sys.executable, "-c", check], env={**os.environ, **line}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert answer in done.stdout


def test_the_model_is_compiled_as_asked(
    cli: Cli, quick: list[str], run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[tuple[str, str]] = []

    def compiled(self: torch.nn.Module, mode: str) -> None:
        modes.append((type(self).__name__, mode))

    monkeypatch.setattr(torch.nn.Module, "compile", compiled)
    assert cli(*quick, "trainer=debug").code == 0
    assert not modes
    assert cli(*quick, "trainer=debug", "compile=reduce-overhead", "overwrite=true").code == 0
    assert modes == [("SmallCNN", "reduce-overhead")]
    saved = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert not any("_orig_mod" in name for name in saved)


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_precision_is_chosen_recorded_and_kept_for_an_evaluation(
    precision: str, cli: Cli, quick: list[str], run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"bf16-mixed": "32-true", "32-true": "bf16-mixed"}[precision]
    monkeypatch.setattr("longtail.training.precision.choose", lambda accelerator: precision)
    done = cli(*quick, "trainer.gradient_clip_val=0.1")  # which is done in every precision
    assert done.code == 0, done.err
    assert metrics(run_dir)["fingerprint"]["precision"] == precision
    monkeypatch.setattr("longtail.training.precision.choose", lambda accelerator: other)  # on another machine
    done = cli(f"run_dir={run_dir}", evaluation=True)
    assert "the same numbers as the run" in done.out
    assert metrics(run_dir / "evaluation")["fingerprint"]["precision"] == precision


def test_a_precision_of_the_users_is_not_chosen_anew(
    cli: Cli, quick: list[str], run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longtail.training.precision.choose", lambda accelerator: "bf16-mixed")
    assert cli(*quick, "trainer.precision=32-true").code == 0
    assert metrics(run_dir)["fingerprint"]["precision"] == "32-true"
    path = run_dir / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["precision"]  # then the settings tell
    torch.save(checkpoint, path)
    done = cli(f"run_dir={run_dir}", evaluation=True)
    assert "the same numbers as the run" in done.out, done.err
