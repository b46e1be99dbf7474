"""`longtail-dashboard`: what it saves, and what it says when it cannot."""

import json
import sys
from pathlib import Path

import pytest
import wandb

from longtail.cli import dashboard
from longtail.runs import Row, write_metrics, write_per_class

from ..conftest import WandbServer
from ..tracking.test_dashboard import strings


def test_the_command_saves_the_view_and_prints_its_address(
    logged_in: WandbServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_metrics(tmp_path, {"test": {}})
    write_per_class(tmp_path, [Row(0, "a b", 5, 1, 1.0, 0.5)])
    arguments = ["--project", "longtail", "--name", "mine", "--run", str(tmp_path)]
    dashboard.main(arguments)
    (view,) = logged_in.views
    assert (view["entityName"], view["projectName"], view["displayName"]) == ("lab", "longtail", "mine")
    assert view["type"] == "project-view"
    spec = json.loads(view["spec"])
    assert "test/class/a_b" in strings(spec)
    (shown,) = spec["section"]["runSets"]
    assert "eval" in strings(shown["filters"])
    address = view["name"].removeprefix("nw-").removesuffix("-v")
    assert capsys.readouterr().out == f"{logged_in.url}/lab/longtail?nw={address}\n"


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        dashboard.main(["--project", "longtail", *arguments])
    assert stop.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    return err.removeprefix("error: ").rstrip()


def test_without_the_extra_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "longtail.tracking.dashboard", raising=False)
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    assert refusal(capsys) == "wandb-workspaces is not installed: pip install 'longtail[dashboard]'"


def test_it_never_asks_for_a_key(
    wandb_server: WandbServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", wandb_server.url)
    wandb.teardown()
    assert refusal(capsys) == f"{wandb_server.url} must answer and know you: see `wandb login`"
    wandb.teardown()


def test_a_server_that_refuses_is_one_line(
    logged_in: WandbServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(logged_in), "graphql", lambda *_: {"upsertView": None})
    assert refusal(capsys, "--entity", "lab").startswith("--project=longtail: W&B did not save the view: ")


def test_a_directory_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = f"--run={tmp_path}: must be the directory of a finished run, with per_class.csv"
    assert refusal(capsys, "--run", str(tmp_path)) == line
