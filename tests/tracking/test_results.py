"""What W&B is sent of a finished run, and of several."""

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import wandb
from PIL import Image

from longtail.runs import POSTHOC, PRIOR_SHIFT, Line, read, write_lines, write_metrics
from longtail.runs.reading import Run
from longtail.tracking.logger import GuardedWandbLogger
from longtail.tracking.results import send_posthoc, send_result, send_summary

from ..conftest import WandbServer, metrics, write_detection_run
from .conftest import Trained

FIGURES = ["box", "by_count", "classes", "confusion", "reliability"]


def sync(offline: Path, server: WandbServer) -> None:
    """Send an offline run as a user does."""
    wandb.teardown()
    environment = {**os.environ, "WANDB_BASE_URL": server.url, "WANDB_API_KEY": "0" * 40}
    command = [str(Path(sys.executable).with_name("wandb")), "sync", str(offline)]
    options: Any = {"cwd": offline.parents[1], "env": environment, "capture_output": True, "text": True}
    done = subprocess.run(command, **options, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_tables_and_figures_of_an_offline_run_lie_in_its_directory(offline_run: Trained) -> None:
    (table,) = offline_run.directory.glob("wandb/offline-run-*/files/media/table/test/classes_*.table.json")
    content = json.loads(table.read_text())
    columns = ["class_index", "class_name", "train_count", "test_count", "weight", "accuracy", "drawn"]
    assert content["columns"] == columns
    assert [row[1] for row in content["data"]] == list("0123456789")
    assert [row[6] for row in content["data"]] == metrics(offline_run.directory)["drawn_per_class"]
    pictures = offline_run.directory.glob("wandb/offline-run-*/files/media/images/figures/*.png")
    assert sorted(path.name.rpartition("_")[0].rpartition("_")[0] for path in pictures) == FIGURES


def test_an_online_run_sends_tables_and_figures(online_run: Trained) -> None:
    for file in ("table/test/classes", "table/test/confusion_matrix", "images/figures/classes"):
        assert any(f"media/{file}" in path for path in online_run.server.files), file


def test_an_offline_run_can_be_moved_and_synced_later(
    offline_run: Trained, tmp_path: Path, wandb_server: WandbServer
) -> None:
    moved = shutil.copytree(offline_run.directory, tmp_path / "elsewhere")
    away = offline_run.directory.rename(tmp_path / "away")
    try:
        (offline,) = moved.glob("wandb/offline-run-*")
        sync(offline, wandb_server)
    finally:
        away.rename(offline_run.directory)
    (run,) = wandb_server.runs.values()
    assert run["summary"]["test/accuracy"] == pytest.approx(metrics(moved)["test"]["accuracy"])
    assert sum("train/loss" in row for row in run["history"]) >= 2
    assert sum("val/accuracy" in row for row in run["history"]) == 2
    assert run["config"]["options"]["value"]["sampler"] == "random"
    assert run["config"]["imbalance"]["value"]["ratio"] == 50
    for file in ("table/test/classes", "table/test/confusion_matrix", "images/figures/classes"):
        assert any(f"media/{file}" in path for path in wandb_server.files), file


COLUMNS = ("reweight", "runs", "accuracy", "std over classes")
ROWS: list[list[str | int | float | None]] = [
    ["none", 3, 0.682, 0.431],
    ["class balanced", 3, 0.857, None],
    ["class_balanced", 1, float("nan"), 0.2],
]


def summarise(directory: Path, *sweeps: str) -> None:
    """Send the summary above, of one run of each sweep."""
    (directory / "figures").mkdir()
    Image.new("RGB", (4, 4)).save(directory / "figures" / "tradeoff.png")
    runs = []
    for sweep in sweeps:
        (directory / sweep).mkdir()
        (directory / sweep / "multirun.yaml").touch()
        runs.append(Run(directory / sweep / "0", {"logger": {"project": "tails"}}, {}, {}, "done"))
    send_summary(directory, "my_sweep-report", (COLUMNS, ROWS), runs)
    wandb.teardown()


def check_summary(server: WandbServer) -> None:
    (run,) = server.runs.values()
    assert (run["groupName"], run["jobType"], run["displayName"]) == ("my_sweep", "report", "my_sweep-report")
    assert run["exitcode"] == 0
    scores = {
        key: value for key, value in run["summary"].items() if key.startswith("report/") and "summary" not in key
    }
    assert scores == {
        "report/none/runs": 3,
        "report/none/accuracy": 0.682,
        "report/none/std_over_classes": 0.431,
        "report/class_balanced/runs": 3,
        "report/class_balanced/accuracy": 0.857,
        "report/class_balanced_2/runs": 1,
        "report/class_balanced_2/std_over_classes": 0.2,
    }
    (table,) = (body for path, body in server.files.items() if "media/table/report/summary" in path)
    assert json.loads(table)["columns"] == list(COLUMNS)
    assert json.loads(table)["data"][1] == ["class balanced", 3, 0.857, None]
    assert any("media/images/figures/tradeoff" in path for path in server.files)


def test_a_summary_is_a_run_of_the_first_group(
    tmp_path: Path, logged_in: WandbServer, capsys: pytest.CaptureFixture[str]
) -> None:
    summarise(tmp_path, "my_sweep", "another")
    out, err = capsys.readouterr()
    said = out.splitlines()
    assert said[0] == "W&B: of the groups my_sweep, another the summary goes to my_sweep"
    assert said[1].startswith(f"W&B: {logged_in.url}/lab/tails/")
    assert (len(said), err) == (2, "")
    check_summary(logged_in)


def test_an_offline_summary_is_synced_later(
    tmp_path: Path,
    wandb_server: WandbServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    summarise(tmp_path, "my_sweep")
    (offline,) = tmp_path.glob("wandb/offline-run-*")
    line = f"W&B is offline; send this run later with: wandb sync {offline}\n"
    assert capsys.readouterr() == (line, "")
    assert wandb_server.runs == {}
    sync(offline, wandb_server)
    check_summary(wandb_server)


def test_a_summary_that_wandb_refuses_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(wandb, "Table", refuse)
    monkeypatch.setenv("WANDB_MODE", "offline")
    summarise(tmp_path, "my_sweep")
    assert capsys.readouterr().err == (
        "warning: W&B failed and is off for the rest of this run: OSError: disk full\n"
    )


class Recorder(GuardedWandbLogger):
    """What a logger is asked to log, by key."""

    def __init__(self) -> None:  # without a run
        self.metrics: dict[str, float] = {}
        self.tables: dict[str, Any] = {}
        self.images: list[str] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.metrics |= metrics

    def finalize(self, status: str) -> None: ...

    def log_table(self, key: str, columns: Any, data: Any) -> None:  # type: ignore[override]
        self.tables[key] = [dict(zip(columns, row, strict=True)) for row in data]

    def log_image(self, key: str, images: list[str]) -> None:  # type: ignore[override]
        self.images.append(key)


def test_a_detector_sends_its_boxes_per_class_and_its_pictures(tmp_path: Path) -> None:
    directory = write_detection_run(tmp_path / "run")
    write_metrics(directory, metrics(directory) | {"drawn_per_class": [9, 5, 2, 1]})
    sent: Any = Recorder()
    send_result([sent], directory)
    rows = read(directory).rows
    assert sent.metrics == {f"test/class/class_{c}": row.score for c, row in enumerate(rows)}
    assert list(sent.tables) == ["test/classes"]
    assert [(row["AP"], row["drawn"]) for row in sent.tables["test/classes"]] == [
        (row.score, drawn) for row, drawn in zip(rows, [9, 5, 2, 1], strict=True)
    ]
    assert sent.images == ["figures/examples"]


def test_an_evaluation_sends_what_it_says_of_adjustments(tmp_path: Path) -> None:
    plain: Line = {"adjustment": "as trained", "chosen_on": "", "accuracy": 0.5, "accuracy_few": math.nan}
    write_lines(tmp_path / POSTHOC, [plain, {**plain, "adjustment": "temperature", "accuracy": 0.75}])
    write_lines(tmp_path / PRIOR_SHIFT, [{"test_prior": "uniform", "ratio": 1.0, "accuracy": 0.5}])
    for adjustments, tables in ((["temperature"], 1), (["temperature", "prior_shift"], 2)):
        sent: Any = Recorder()
        send_posthoc(sent, tmp_path, adjustments)
        assert list(sent.tables) == ["test/posthoc", "test/prior_shift"][:tables]
    assert [(row["adjustment"], row["accuracy"]) for row in sent.tables["test/posthoc"]] == [
        ("as trained", 0.5),
        ("temperature", 0.75),
    ]
    assert sent.tables["test/posthoc"][0]["accuracy_few"] is None
