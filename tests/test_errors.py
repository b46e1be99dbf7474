"""What is a wrong setting, told in one line, and what is a bug of a part, which keeps its traceback."""

import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.markup import escape
from rich.table import Table

from longtail.errors import CONTROL, InputError, console, refuse, setting, warn


def raising(error: str = "", kind: str = "ValueError") -> None:
    raise {"ValueError": ValueError, "RuntimeError": RuntimeError, "InputError": InputError}[kind](error)


def made(group: str, target: str = "raising", **settings: Any) -> None:
    """Make a part as a run does, from its config."""
    name = target if "." in target else f"{__name__}.{target}"
    config = OmegaConf.create({group: {"_target_": name, **settings}})
    with setting(group):
        instantiate(config[group])


@pytest.mark.parametrize(
    ("group", "raised", "line"),
    [
        ("imbalance", ValueError("ratio=0: must be >= 1"), "imbalance.ratio=0: must be >= 1"),
        ("dataset", ValueError("augment.pad=-1: must be >= 0"), "dataset.augment.pad=-1: must be >= 0"),
        ("sampler", ValueError("batch_size=9: must be in [1, 8]"), "batch_size=9: must be in [1, 8]"),
        ("", ValueError("seed=-1: must be >= 0"), "seed=-1: must be >= 0"),
        ("loss", ValueError("must give a loss\nper image"), "loss: must give a loss per image"),
        ("dataset", OSError("root=/x: must be a directory"), "dataset.root=/x: must be a directory"),
        ("dataset", PermissionError(13, "Permission denied", "/x"), "dataset: [Errno 13] Permission denied: '/x'"),
        ("optimizer", ValueError("Invalid learning rate: -1"), "optimizer: Invalid learning rate: -1"),
        ("loss", InputError("model.name=x: must be y"), "model.name=x: must be y"),
    ],
)
def test_a_complaint_is_one_line_that_names_its_setting(group: str, raised: Exception, line: str) -> None:
    with pytest.raises(InputError) as refused, setting(group):
        raise raised
    assert str(refused.value) == line


@pytest.mark.parametrize(
    "raised",
    [
        ValueError("shapes do not fit"),
        TypeError("ratio=0: must be a number"),
        KeyError("gamma"),
        RuntimeError("must not happen"),
        AssertionError(),
    ],
)
def test_any_other_exception_is_a_bug_and_stays_what_it_is(raised: Exception) -> None:
    with pytest.raises(type(raised)) as bug, setting("loss"):
        raise raised
    assert bug.value is raised
    assert "in the part of the config group loss" in "".join(traceback.format_exception(bug.value))


def test_the_complaint_of_a_part_made_by_hydra_names_its_key() -> None:
    with pytest.raises(InputError, match=r"^loss\.gamma=-1: must be >= 0$"):
        made("loss", error="gamma=-1: must be >= 0")
    with pytest.raises(InputError, match=r"^as it is$"):
        made("loss", error="as it is", kind="InputError")


def test_a_bug_in_a_part_made_by_hydra_shows_the_line_of_the_part() -> None:
    with pytest.raises(RuntimeError) as bug:
        made("loss", error="shapes", kind="RuntimeError")
    shown = "".join(traceback.format_exception(bug.value))
    assert "in raising" in shown
    assert "InstantiationException" not in shown


def test_a_target_that_does_not_exist_is_one_line_but_not_a_module_that_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for target in ("torch.nn.NoSuchLoss", "no_such_package.Loss", "longtail.no_such_module.Loss"):
        with pytest.raises(InputError, match=r"^loss\._target_=" + target.replace(".", r"\.") + ": "):
            made("loss", target)
    (tmp_path / "broken_part.py").write_text("Loss = nonsense\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError) as bug:
        made("loss", "broken_part.Loss")
    assert "NameError: name 'nonsense' is not defined" in "".join(traceback.format_exception(bug.value))


def test_errors_need_no_hydra() -> None:
    check = "import longtail.errors, sys; assert not {'hydra', 'omegaconf', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


@pytest.mark.parametrize("name", ["\x1b]0;title\x07", "\x1b[31m", "\x9b2J", "a\rb", "\u202eb", "\udcff"])
def test_names_do_nothing_to_the_terminal(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    table.add_row(escape(name))
    console.print(table, escape(name))
    warn(name)
    with pytest.raises(SystemExit):
        refuse(str(InputError(name)))
    out, err = capsys.readouterr()
    shown = name.encode("unicode_escape").decode()
    assert err == f"warning: {shown}\nerror: {shown}\n"
    assert not CONTROL.search(out)


def test_what_is_no_control_character_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    warn("größer, 日本, \N{FAMILY}, a\n\tb")
    console.print("größer, 日本, \N{FAMILY}, a\nb")
    out, err = capsys.readouterr()
    assert (out, err) == ("größer, 日本, \N{FAMILY}, a\nb\n", "warning: größer, 日本, \N{FAMILY}, a\n\tb\n")
