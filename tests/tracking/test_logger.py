"""W&B: what is sent, offline and online, and what happens when it fails."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from PIL import Image

from longtail.cli.app import CONF
from longtail.tracking import logger as tracking

from ..conftest import Cli, WandbServer, metrics


def read_offline(run_dir: Path) -> list[dict[str, Any]]:
    """The records of an offline run, by W&B's own reader."""
    wandb.teardown()
    (log,) = run_dir.glob("wandb/offline-run-*/*.wandb")
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(log)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    return [json.loads(line) for line in printed.splitlines()]


def test_an_offline_run_reads_back_whole(cli: Cli, quick: list[str], run_dir: Path) -> None:
    done = cli(*quick, wandb=True)
    assert done.code == 0, done.err
    assert "W&B is offline; send this run later with: wandb sync run/wandb/offline-run-" in done.out
    records = read_offline(run_dir)
    run = next(r["run"] for r in records if r["type"] == "run")
    config = run["config"]["update"]
    assert config["imbalance"]["ratio"] == 50
    assert config["class_counts"] == metrics(run_dir)["fingerprint"]["class_counts"]
    assert len(config["weights"]) == 10
    assert {"loss=softmax", "reweight=class_balanced", "model=small_cnn"} <= set(run["tags"])
    logged: dict[str, Any] = {}
    for record in records:
        if record["type"] == "history":
            logged |= {key.partition(".")[0]: value for key, value in record["history"]["item"].items()}
    expected = {"train/loss", "train/lr", "val/accuracy", "val/accuracy_std", "val/accuracy_min", "val/class/_0"}
    assert expected <= set(logged), sorted(logged)
    assert {"test/accuracy", "test/accuracy_std", "test/class/_9", "test/classes", "test/confusion_matrix"} <= set(
        logged
    )
    assert logged["test/accuracy"] == pytest.approx(metrics(run_dir)["test"]["accuracy"])


def test_tables_and_figures_of_an_offline_run_lie_in_its_directory(cli: Cli, quick: list[str], run_dir: Path) -> None:
    assert cli(*quick, wandb=True).code == 0
    (table,) = run_dir.glob("wandb/offline-run-*/files/media/table/test/classes_*.table.json")
    content = json.loads(table.read_text())
    assert content["columns"][:3] == ["class_index", "class_name", "train_count"]
    assert [row[1] for row in content["data"]] == list("0123456789")
    assert (
        len(list(run_dir.glob("wandb/offline-run-*/files/media/images/figures/*.png"))) == 4
    )  # classes, by_count, box, confusion


def test_an_online_run_sends_config_curves_and_results(
    cli: Cli, quick: list[str], run_dir: Path, logged_in: WandbServer
) -> None:
    done = cli(*quick, wandb=True)
    wandb.teardown()
    assert done.code == 0, done.err
    assert "W&B: http://127.0.0.1" in done.out
    (run,) = logged_in.runs.values()
    assert run["exitcode"] == 0
    assert run["jobType"] == "train"
    assert run["config"]["reweight"]["value"]["beta"] == 0.9999
    assert run["summary"]["test/accuracy"] == pytest.approx(metrics(run_dir)["test"]["accuracy"])
    assert any("val/class/_3" in row for row in run["history"])
    assert any("media/table/test/classes" in path for path in logged_in.files)
    assert any("media/images/figures/classes" in path for path in logged_in.files)
    assert "warning" not in done.err


def sync(offline: Path, server: WandbServer) -> None:
    """Send an offline run as a user does."""
    wandb.teardown()
    environment = {**os.environ, "WANDB_BASE_URL": server.url, "WANDB_API_KEY": "0" * 40}
    command = [str(Path(sys.executable).with_name("wandb")), "sync", str(offline)]
    options: Any = {"cwd": offline.parents[1], "env": environment, "capture_output": True, "text": True}
    done = subprocess.run(command, **options, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_offline_run_can_be_moved_and_synced_later(
    cli: Cli, quick: list[str], run_dir: Path, tmp_path: Path, wandb_server: WandbServer
) -> None:
    assert cli(*quick, wandb=True).code == 0
    wandb.teardown()
    moved = run_dir.rename(tmp_path / "elsewhere")
    (offline,) = moved.glob("wandb/offline-run-*")
    sync(offline, wandb_server)
    (run,) = wandb_server.runs.values()
    assert run["summary"]["test/accuracy"] == pytest.approx(metrics(moved)["test"]["accuracy"])
    assert sum("train/loss" in row for row in run["history"]) >= 2
    assert sum("val/accuracy" in row for row in run["history"]) == 2
    assert run["config"]["options"]["value"]["sampler"] == "random"
    assert run["config"]["imbalance"]["value"]["ratio"] == 50
    for file in ("table/test/classes", "table/test/confusion_matrix", "images/figures/classes"):
        assert any(f"media/{file}" in path for path in wandb_server.files), file


def test_a_run_fills_five_sections_and_shows_what_its_sampler_drew(
    cli: Cli, quick: list[str], logged_in: WandbServer
) -> None:
    assert cli(*quick, "sampler=uniform_minibatch", wandb=True).code == 0
    wandb.teardown()
    (run,) = logged_in.runs.values()
    shown = {key.partition("/")[0] for row in run["history"] for key in row if not key.startswith("_")}
    assert shown - {"epoch", "trainer"} == {"train", "val", "test", "sampler", "figures"}
    defined = {metric.get("1"): metric["6"] for metric in run["config"]["_wandb"]["value"]["m"]}
    hidden = 2  # the number of this option in what W&B sends
    assert hidden in defined["epoch"]
    assert hidden in defined["trainer/global_step"]
    drawn = [row for row in run["history"] if "sampler/share_few" in row]
    assert len(drawn) == 2
    assert drawn[0]["sampler/share_few"] == pytest.approx(0.5, abs=0.01)
    assert drawn[0]["sampler/share_std"] < 0.01


def test_an_agent_runs_a_job_of_a_wandb_sweep(
    tmp_path: Path, logged_in: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    shipped = yaml.safe_load((CONF / "wandb" / "sweep.yaml").read_text())
    shipped["command"] += ["epochs=1", "model.width=4"]  # what all jobs share
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(shipped))
    program = str(Path(sys.executable).with_name("wandb"))
    for arguments in (["sweep", "sweep.yaml"], ["agent", "--count", "1", "lab/longtail/sweep1"]):
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "locked" not in done.stderr
    (run,) = logged_in.runs.values()
    assert run["displayName"] == "longtail-digits-exponential-random-softmax-none-small_cnn-seed0"
    assert run["sweep"] == run["groupName"] == "sweep1"
    assert run["exitcode"] == 0
    assert run["summary"]["test/accuracy"] > 0
    config = {key: entry["value"] for key, entry in run["config"].items()}
    assert config["reweight"] == "none"  # the sweep's word
    assert config["settings"]["reweight"]["_target_"] == "longtail.reweight.none"
    assert config["options"]["reweight"] == "none"
    assert config["imbalance"] == config["settings"]["imbalance"]


def test_settings_are_in_the_config_once_without_a_wandb_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"reweight": {"beta": 0.5}, "seed": 1}
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    assert tracking.beside_sweep(settings) == settings
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    assert tracking.beside_sweep(settings) == {**settings, "settings": settings}


COLUMNS = ("reweight", "runs", "accuracy", "std over classes")
ROWS: list[list[str | int | float | None]] = [
    ["none", 3, 0.682, 0.431],
    ["class balanced", 3, 0.857, None],
    ["class_balanced", 1, float("nan"), 0.2],
]


def send_summary(directory: Path, url: str, mode: str = "auto") -> tuple[list[str], list[str]]:
    """Send the summary above; gives what was said and what was warned of."""
    picture = directory / "tradeoff.png"
    Image.new("RGB", (4, 4)).save(picture)
    said: list[str] = []
    warned: list[str] = []
    tracking.send_summary(
        directory,
        COLUMNS,
        ROWS,
        [picture],
        project="longtail",
        entity=None,
        group="my_sweep",
        name="my_sweep-report",
        mode=mode,
        base_url=lambda: url,
        reset=lambda: None,
        say=said.append,
        warn=warned.append,
    )
    wandb.teardown()
    return said, warned


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


def test_a_summary_is_a_run_of_the_group(tmp_path: Path, logged_in: WandbServer) -> None:
    said, warned = send_summary(tmp_path, logged_in.url)
    assert warned == []
    assert len(said) == 1
    assert said[0].startswith(f"W&B: {logged_in.url}")
    check_summary(logged_in)


def test_an_offline_summary_is_synced_later(
    tmp_path: Path, wandb_server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    said, warned = send_summary(tmp_path, wandb_server.url)
    (offline,) = tmp_path.glob("wandb/offline-run-*")
    assert said == [f"W&B is offline; send this run later with: wandb sync {offline}"]
    assert warned == []
    assert wandb_server.runs == {}
    sync(offline, wandb_server)
    check_summary(wandb_server)


def test_a_summary_that_wandb_refuses_is_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(wandb, "Table", refuse)
    said, warned = send_summary(tmp_path, "", mode="offline")
    assert len(said) == 1
    assert warned == ["W&B failed and is off for the rest of this run: OSError: disk full"]
    assert send_summary(tmp_path, "", mode="disabled") == ([], [])


def test_each_job_of_a_sweep_is_a_run_of_its_group(cli: Cli, tmp_path: Path, logged_in: WandbServer) -> None:
    sweep = [
        "-m",
        f"hydra.sweep.dir={tmp_path}/my_sweep",
        "epochs=1",
        "model.width=4",
        "reweight=none,class_balanced",
    ]
    assert cli(*sweep, wandb=True).code == 0
    wandb.teardown()
    assert len(logged_in.runs) == 2
    assert {run["groupName"] for run in logged_in.runs.values()} == {"my_sweep"}
    assert {run["config"]["options"]["value"]["reweight"] for run in logged_in.runs.values()} == {
        "none",
        "class_balanced",
    }


def test_a_run_that_breaks_is_marked_failed(cli: Cli, quick: list[str], logged_in: WandbServer) -> None:
    assert cli(*quick, "optimizer.lr=1e30", wandb=True).code == 1
    wandb.teardown()
    (run,) = logged_in.runs.values()
    assert run["exitcode"] == 1


def test_mode_is_offline_without_a_key_or_without_a_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert tracking.choose_mode("auto", "http://127.0.0.1:9", print) == "offline"
    with socket.socket() as taken:  # bound, not listening: refuses
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        assert tracking.choose_mode("auto", url, print, timeout=1) == "offline"


def test_mode_is_offline_when_the_server_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert (
            tracking.choose_mode("auto", f"http://127.0.0.1:{silent.getsockname()[1]}", print, timeout=0.3)
            == "offline"
        )


@pytest.mark.parametrize(
    ("variable", "mode"), [("", "auto"), ("dryrun", "offline"), ("run", "online"), ("disabled", "disabled")]
)
def test_the_variable_decides_where_the_setting_is_auto(
    variable: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", variable)
    assert tracking.check_mode("auto") == mode
    assert tracking.check_mode("offline") == "offline"


def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "shared")
    with pytest.raises(ValueError, match="WANDB_MODE=shared: must be one of online, offline, disabled"):
        tracking.check_mode("auto")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_online_without_a_key_does_not_ask_in_a_terminal(tmp_path: Path) -> None:
    import pty
    import select

    controller, terminal = pty.openpty()
    overrides = ["logger.mode=online", "epochs=1", "model.width=4", "hydra.run.dir=run"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    run = subprocess.Popen(
        [sys.executable, "-m", "longtail.cli.train", *overrides],
        cwd=tmp_path,
        env={**environment, "NETRC": str(tmp_path / "netrc")},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    while b"choice" not in shown and select.select([controller], [], [], 90)[0]:
        try:
            shown += os.read(controller, 4096)
        except OSError:  # the other side is closed: the run has ended
            break
    run.kill()
    code = run.wait()
    os.close(controller)
    assert b"choice" not in shown
    assert b"there is no API key" in shown
    assert b"test accuracy" in shown
    assert code in (0, -9)
    assert len(list(tmp_path.glob("run/wandb/offline-run-*"))) == 1


def test_after_wandbs_process_died_the_next_run_gets_a_new_one(
    cli: Cli, quick: list[str], run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    original = wandb.init

    def broken_once(*args: Any, **kwargs: Any) -> Any:
        calls.append(kwargs["mode"])
        if len(calls) == 1:
            raise ConnectionResetError("gone")
        return original(*args, **kwargs)

    monkeypatch.setattr(wandb, "init", broken_once)
    done = cli(*quick, wandb=True)
    assert done.code == 0
    assert calls == ["offline", "offline"]
    assert "could not start offline: ConnectionResetError: gone" in done.err
    assert len(list(run_dir.glob("wandb/offline-run-*"))) == 1


def test_mode_is_online_with_a_key_in_netrc(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wandb_server: WandbServer
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login user password {'0' * 40}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert tracking.choose_mode("auto", wandb_server.url, print) == "online"


def test_a_logger_that_fails_warns_once_and_goes_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    logger = tracking.GuardedWandbLogger(warnings.append, project="p")
    calls = []

    def broken(*args: Any, **kwargs: Any) -> None:
        calls.append(args)
        raise ConnectionError("the server is gone")

    monkeypatch.setattr(type(logger), "experiment", property(lambda self: type("Run", (), {"log": broken})()))
    for step in range(3):
        logger.log_metrics({"train/loss": 1.0}, step)
    logger.log_table("test/classes", columns=["a"], data=[[1]])
    assert len(warnings) == len(calls) == 1
    assert "the server is gone" in warnings[0]


def test_training_ends_well_when_wandb_cannot_start(
    cli: Cli, quick: list[str], run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise wandb.errors.CommError("no")

    monkeypatch.setattr(wandb, "init", refuse)
    done = cli(*quick, wandb=True)
    assert done.code == 0
    assert "W&B could not start offline: CommError: no" in done.err
    assert metrics(run_dir)["test"]["accuracy"] >= 0


def test_an_unknown_variable_is_named_as_what_it_is(
    cli: Cli, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "shared")
    assert cli(*quick, wandb=True).error.startswith("WANDB_MODE=shared: must be one of")


def test_unknown_mode_is_refused(cli: Cli, quick: list[str]) -> None:
    assert cli(*quick, "logger.mode=sometimes", wandb=True).error.startswith("logger.mode=sometimes: must be")
