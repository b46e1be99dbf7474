import json
import math
import os
from pathlib import Path

import pytest

from longtail import runs

from ..conftest import write_run, write_sweep


def test_runs_are_found_at_any_depth_but_not_within_runs_and_hidden_folders(tmp_path: Path) -> None:
    for path in ("0", "loss=focal/seed=1", ".submitit/7", "0/evaluation"):
        (tmp_path / path / ".hydra").mkdir(parents=True)
    assert {path.relative_to(tmp_path).as_posix() for path in runs.directories(tmp_path)} == {
        "0",
        "loss=focal/seed=1",
    }


def test_runs_are_found_by_number_and_not_inside_one_another(tmp_path: Path) -> None:
    for name in ("10", "9", "a/1"):
        write_run(tmp_path / name)
    write_run(tmp_path / "9" / "evaluation")
    (tmp_path / "report").mkdir()
    assert [path.relative_to(tmp_path).as_posix() for path in runs.find(tmp_path)] == ["9", "10", "a/1"]


def test_a_run_itself_is_found(tmp_path: Path) -> None:
    assert runs.find(write_run(tmp_path / "run")) == [tmp_path / "run"]


def test_a_directory_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no run \(a directory with .hydra or metrics.json\)"):
        runs.find(tmp_path)
    with pytest.raises(ValueError, match="is not a directory"):
        runs.find(tmp_path / "nowhere")


def test_a_complete_run(tmp_path: Path) -> None:
    run = runs.read(write_run(tmp_path / "run", "seed=3", "loss=focal", "loss.gamma=2", accuracy=0.625))
    assert (run.status, run.reason, run.done, run.seed) == ("done", "", True, 3)
    assert run.test["accuracy"] == 0.625
    assert run.test["accuracy_few"] is None
    assert run.fingerprint["versions"]["torch"] == "2.15.0"
    assert run.finished_at == (tmp_path / "run/metrics.json").stat().st_mtime
    assert run.sweep is None


def test_settings_are_flat_text_with_the_options_by_name(tmp_path: Path) -> None:
    run = runs.read(write_run(tmp_path / "run", "loss=focal", "trainer.deterministic=false", "compile=null"))
    assert run.settings["loss"] == "focal"
    assert run.settings["loss.gamma"] == "1.0"
    assert run.settings["loss._target_"] == "longtail.loss.focal"
    assert run.settings["trainer.max_epochs"] == "${epochs}"
    assert (run.settings["trainer.deterministic"], run.settings["compile"]) == ("false", "null")
    assert not [name for name in run.settings if name.startswith(("logger", "published")) or "_partial_" in name]


def test_a_job_knows_its_sweep(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", "seed=0,1")
    assert [runs.read(path).sweep for path in runs.find(sweep)] == [sweep, sweep]


def test_a_run_that_was_killed_is_unfinished(tmp_path: Path) -> None:
    run = runs.read(write_run(tmp_path / "run", "reweight=class_balanced", accuracy=None))
    assert (run.status, run.done, run.finished_at) == ("unfinished", False, 0)
    assert run.reason == "no metrics.json: it was killed or still runs"
    assert run.settings["reweight"] == "class_balanced"


@pytest.mark.parametrize(
    ("text", "reason"),
    [("loss is\nnot finite\n", "loss is not finite"), ("", "an empty failure.txt, as a full disk leaves it")],
)
def test_a_failed_run_says_why_in_a_line(tmp_path: Path, text: str, reason: str) -> None:
    write_run(tmp_path / "run", accuracy=None)
    (tmp_path / "run/failure.txt").write_text(text)
    run = runs.read(tmp_path / "run")
    assert (run.status, run.reason) == ("failed", reason)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"test": {"accuracy": 0.5', "half-written or no JSON"),
        ("", "half-written or no JSON"),
        ("[" * 100_000, "half-written or no JSON"),
        ("[]", "holds no test metrics"),
        ('{"test": null}', "holds no test metrics"),
        ('{"test": {"loss": 1}}', "holds no test.accuracy"),
        ('{"test": {"accuracy": "high"}}', "test.accuracy=high: must be a number or null"),
        ('{"test": {"accuracy": 0.5, "loss": [1]}}', r"test.loss=\[1\]: must be a number or null"),
        ('{"test": {"accuracy": true}}', "test.accuracy=True: must be a number or null"),
        ('{"test": {"accuracy": 1e999}}', "test.accuracy: must be finite"),
        ('{"test": {"accuracy": 0.5, "loss": -1' + "0" * 400 + "}}", "test.loss: must be finite"),
        ('{"test": {"accuracy": 0.5}, "fingerprint": []}', "its fingerprint must be an object"),
    ],
)
def test_a_broken_result_is_unreadable(tmp_path: Path, content: str, reason: str) -> None:
    write_run(tmp_path / "run")
    (tmp_path / "run/metrics.json").write_text(content)
    run = runs.read(tmp_path / "run")
    assert (run.status, run.test, run.fingerprint) == ("unreadable", {}, {})
    with pytest.raises(ValueError, match=f"metrics.json: {reason}"):
        raise ValueError(run.reason)
    assert "\n" not in run.reason


def test_what_is_not_a_number_has_no_value(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    (tmp_path / "run/metrics.json").write_text('{"test": {"accuracy": NaN, "loss": null}}')
    run = runs.read(tmp_path / "run")
    assert run.done
    assert run.test == {"accuracy": None, "loss": None}


def test_a_result_without_a_config_cannot_be_compared(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    (tmp_path / "run/.hydra/config.yaml").write_text("")
    run = runs.read(tmp_path / "run")
    assert run.status == "unreadable"
    assert run.reason.startswith("metrics.json: it belongs to no .hydra/config.yaml")


@pytest.mark.parametrize("hydra", ["", "hydra:\n", "hydra:\n  runtime:\n", "hydra: {runtime: {choi", "- 1"])
def test_a_job_that_was_killed_while_it_began_has_no_settings(tmp_path: Path, hydra: str) -> None:
    write_run(tmp_path / "run", accuracy=None)
    (tmp_path / "run/.hydra/hydra.yaml").write_text(hydra)
    run = runs.read(tmp_path / "run")
    assert (run.status, run.settings, run.seed) == ("unfinished", {}, None)


def test_classes_are_read_back(tmp_path: Path) -> None:
    run = runs.read(write_run(tmp_path / "run", accuracy=0.5, num_classes=3))
    assert [row[:2] for row in run.rows] == [(0, "class 0"), (1, "class 1"), (2, "class 2")]
    assert [row[2] for row in run.rows] == run.fingerprint["class_counts"]
    assert [row[5] for row in run.rows] == [0.6, 0.5, 0.4]
    assert run.confusion == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_a_class_without_test_images_is_not_a_number(tmp_path: Path) -> None:
    path = tmp_path / "per_class.csv"
    path.write_text("class_index,class_name,train_count,test_count,weight,accuracy\n0,a,5,0,1.0,\n")
    [row] = runs.read_per_class(tmp_path)
    assert math.isnan(row[5])


@pytest.mark.parametrize("content", [None, "class_index,class_name\n0,a\n", "\x00", "class_index,accuracy\nx,y\n"])
def test_missing_or_broken_classes_are_none(tmp_path: Path, content: str | None) -> None:
    path = write_run(tmp_path / "run") / "per_class.csv"
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert runs.read(tmp_path / "run").rows == []


@pytest.mark.parametrize("content", [None, "", "1,0\n0", "1,0\n", "1,a\n0,1\n"])
def test_a_missing_or_cut_off_confusion_matrix_is_none(tmp_path: Path, content: str | None) -> None:
    path = write_run(tmp_path / "run") / "confusion.csv"
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert runs.read(tmp_path / "run").confusion is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    write_run(tmp_path / "sweep" / "0")
    write_run(tmp_path / "sweep" / "1")
    (tmp_path / "sweep" / "1").chmod(0)
    with pytest.raises(PermissionError):
        runs.find(tmp_path / "sweep")
    (tmp_path / "sweep" / "1").chmod(0o755)


def test_a_fingerprint_may_be_missing(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    path = tmp_path / "run/metrics.json"
    content = json.loads(path.read_text())
    del content["fingerprint"]
    path.write_text(json.dumps(content))
    run = runs.read(tmp_path / "run")
    assert run.done
    assert run.fingerprint == {}


def test_nested_settings_become_flat() -> None:
    nested = {"a": {"_target_": "x", "_partial_": True, "b": {"c": 1}}, "d": [1, 2], "e": {}}
    assert list(runs.flatten(nested)) == [("a._target_", "x"), ("a.b.c", 1), ("d", [1, 2])]


@pytest.mark.parametrize("lower", [5, None, "loss", {"loss": 1}])
def test_metrics_that_should_be_lower_are_a_list_or_none(lower: object) -> None:
    assert (
        runs.Task.of({"task": {"primary": "f1", "per_class": "f1", "lower_is_better": lower}}).lower_is_better == ()
    )


def test_a_task_says_what_it_counts_and_how_it_measures() -> None:
    task = runs.Task("mAP", "AP", ("loss",), counted="boxes", convention="at IoU 0.5")
    assert runs.Task.of({"task": task.as_json()}) == task
    assert runs.Task.of({"task": runs.CLASSIFICATION.as_json()}) == runs.CLASSIFICATION
    earlier = {"primary": "mAP", "per_class": "AP", "lower_is_better": ["loss"]}
    assert (runs.Task.of({"task": earlier}).counted, runs.Task.of({"task": earlier}).convention) == ("images", "")
    assert [task.title(f"mAP_{name}") for name in ("std", "few", "50_95")] == ["std over classes", "few", "mAP_50_95"]
