"""The saved view: which panels, of which keys of a run; and what its command says when it cannot save one."""

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
import wandb

from longtail import runs
from longtail.runs import GROUPS
from longtail.tracking import dashboard

from ..conftest import Cli, WandbServer


def sections(class_names: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The panels of each section, as the server is sent them."""
    spec = dashboard.workspace("lab", "p", class_names)._to_model().spec.model_dump(by_alias=True, exclude_none=True)
    found = spec["section"]["panelBankConfig"]["sections"]
    return {section["name"]: section["panels"] for section in found}


def strings(value: Any) -> set[str]:
    """All strings in a specification."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return set().union(*map(strings, value))
    return {value} if isinstance(value, str) else set()


def test_the_view_has_a_section_for_each_question() -> None:
    found = sections(["cat", "dog"])
    assert list(found) == ["accuracy", "classes", "train", "sampler", "groups", "media"]
    scatter = found["accuracy"][0]
    assert scatter["viewType"] == "Scatter Plot"
    assert scatter["config"]["xAxis"] == "summary:test/accuracy"
    assert scatter["config"]["yAxis"] == "summary:test/accuracy_std"
    grouped = {panel["config"].get("groupBy") for panel in found["accuracy"]}
    assert {"options.value.sampler", "options.value.loss", "options.value.reweight"} <= grouped
    accessors = [column["accessor"] for column in found["groups"][0]["config"]["columns"]]
    assert accessors == [
        *(f"config:options.value.{group}" for group in GROUPS),
        "summary:test/accuracy",
        "summary:test/accuracy_std",
    ]


@pytest.mark.parametrize("classes", [3, 120])
def test_each_class_has_a_bar_by_its_safe_name(classes: int) -> None:
    panels = [p for p in sections([f"{c} owl" for c in range(classes)])["classes"] if p["viewType"] == "Bar Chart"]
    bars = [panel["config"]["metrics"] for panel in panels]
    assert [key for panel in bars for key in panel] == [f"test/class/_{c}_owl" for c in range(classes)]
    assert max(map(len, bars)) <= 50


@pytest.mark.parametrize("classes", [0, 201])
def test_no_names_or_too_many_are_a_pattern(classes: int) -> None:
    panels = sections([f"c{c}" for c in range(classes)])["classes"]
    assert [panel["config"]["metricRegex"] for panel in panels] == ["test/class/.*", "val/class/.*"]


def test_a_run_sends_every_key_that_a_panel_shows(
    cli: Cli, quick: list[str], run_dir: Path, logged_in: WandbServer
) -> None:
    assert cli(*quick, wandb=True).code == 0
    wandb.teardown()
    (run,) = logged_in.runs.values()
    sent = set(run["summary"]) | {key for row in run["history"] for key in row}
    shown = set()
    names = [row[1] for row in runs.read_per_class(run_dir)]
    for text in strings(sections(names)):
        key = text.removeprefix("summary:")
        if key.startswith(("train/", "val/", "test/", "sampler/", "figures/")) and " " not in key and "*" not in key:
            shown.add(key)
    assert len(shown) > 20
    assert shown <= sent, shown - sent


def test_the_command_saves_the_view_and_prints_its_address(
    logged_in: WandbServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.write_per_class(tmp_path, [runs.Row(0, "a b", 5, 1, 1.0, 0.5)])
    arguments = ["--project", "longtail", "--name", "mine", "--run", str(tmp_path)]
    assert dashboard.main(arguments) == 0
    (view,) = logged_in.views
    assert (view["entityName"], view["projectName"], view["displayName"]) == ("lab", "longtail", "mine")
    assert view["type"] == "project-view"
    spec = json.loads(view["spec"])
    assert "test/class/a_b" in strings(spec)
    (run_set,) = spec["section"]["runSets"]
    assert "eval" in strings(run_set["filters"])
    address = view["name"].removeprefix("nw-").removesuffix("-v")
    assert capsys.readouterr().out == f"{logged_in.url}/lab/longtail?nw={address}\n"


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert dashboard.main(["--project", "longtail", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    return err.removeprefix("error: ").rstrip()


def test_without_the_extra_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("wandb_workspaces"):
            raise ModuleNotFoundError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert refusal(capsys) == "wandb-workspaces is not installed: pip install wandb-workspaces"


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
