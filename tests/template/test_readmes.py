"""What the READMEs show: their commands, the parts in them, and what they print."""

import importlib
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from PIL import Image
from sklearn.datasets import load_digits

from longtail import __main__ as commands
from longtail import runs
from longtail.cli import dashboard, report
from longtail.cli.app import CONF, MULTIRUN

from ..cli.test_detect import TINY
from ..conftest import Finished, enter, metrics, outcome

ROOT = Path(__file__).resolve().parents[2]
READMES = [ROOT / "README.md", ROOT / "conf" / "README.md", *sorted(ROOT.glob("src/longtail/*/README.md"))]
PRIMARY = {
    "longtail": "train",
    "longtail-detect": "detect",
    "longtail-eval": "evaluate",
    "longtail-predict": "predict",
    "longtail-detect-predict": "predict",
    "longtail-export": "export",
}
SMALL = ["epochs=1", "model.width=4", "logger=none"]
LESS = {"longtail": SMALL, "longtail-detect": TINY}


def shown(text: str) -> list[str]:
    """The commands of this project in the indented blocks, without their comments."""
    lines = (line.strip().removeprefix("srun ") for line in text.splitlines() if line.startswith("    "))
    return [line.partition("  #")[0].strip() for line in lines if re.match(r"longtail(-\w+)* [^x]", f"{line} ")]


def block(text: str, start: str) -> list[str]:
    """The indented block that has a line which starts so, from that line on."""
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(f"    {start}"))
    last = next(i for i in range(first, len(lines)) if lines[i] and not lines[i].startswith("    "))
    return [line[4:] for line in lines[first:last] if line]


TEXT = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.parent.name)
def test_every_command_has_settings_that_exist(path: Path) -> None:
    for command in shown(path.read_text("utf-8")):
        program, *arguments = shlex.split(command)
        if program in ("longtail-report", "longtail-dashboard"):
            assert (report if program == "longtail-report" else dashboard).parser().parse_args(arguments)
            continue
        overrides = []
        for override in OverridesParser.create().parse_overrides([one for one in arguments if one not in MULTIRUN]):
            line = override.input_line or ""
            if override.is_sweep_override() and not override.is_discrete_sweep():
                continue  # an interval
            value = next(override.sweep_string_iterator()) if override.is_sweep_override() else None
            overrides.append(line if value is None else f"{line.partition('=')[0]}={value}")
        with initialize_config_dir(str(CONF), version_base="1.3"):
            compose(PRIMARY[program], overrides, return_hydra_config=True)


def test_its_commands_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    sketched: None,
    undrawn: None,
    finished: Finished,
) -> None:
    enter(tmp_path, monkeypatch)
    (tmp_path / "FOLDER").mkdir()
    Image.fromarray((load_digits().images[0] * 15).astype(np.uint8)).save(tmp_path / "FOLDER" / "zero.png")
    (tmp_path / "DIR").symlink_to(finished.directory)
    said = ""
    for command in shown(TEXT):
        program, *arguments = shlex.split(command)
        if any(argument.startswith("experiment=") for argument in arguments):
            arguments += ["sampler=random", "reweight=none"]  # one cell of the table
        if {*MULTIRUN} & {*arguments}:
            arguments.append("hydra/launcher=basic")
        if program in ("longtail-predict", "longtail-export"):
            arguments.append(f"out={tmp_path / program}")
        monkeypatch.setattr(sys, "argv", [program, *arguments, *LESS.get(program, [])])
        done = outcome(getattr(commands, program.removeprefix("longtail-")), capfd)
        assert done.code == 0, (command, done.err)
        said = said or done.out
    *rows, scores = (line.split() for line in block(TEXT, "class  images")[1:])
    line = next(line for line in said.splitlines() if line.startswith("test accuracy"))
    assert re.findall(r"[a-z]+", " ".join(scores)) == re.findall(r"[a-z]+", line)
    run = next(path for path in Path("runs/first").iterdir() if "class_balanced" in path.name)
    per_class = {str(row.class_index): row for row in runs.read_per_class(run)}
    for index, images, weight, *_ in (row for row in rows if row[0].isdigit()):
        assert (images, weight) == (str(per_class[index].train_count), f"{per_class[index].weight:.3f}")


def test_its_parts_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], sketched: None
) -> None:
    enter(tmp_path, monkeypatch)
    section = TEXT.partition("## Your own parts")[2].partition("\n## ")[0]
    code = "\n".join(line[4:] for line in section.splitlines() if not line or line.startswith("    "))
    parts = re.findall(
        r"^# (src/longtail|conf)/(\S+\.\w+)(.*\n(?:#  .*\n)?)((?:.*\n)*?)(?=# src/|# conf/|\Z)", code, re.M
    )
    assert len(parts) == 6
    for place, name, remark, content in parts:
        write(tmp_path / Path(place).name / name, content)
        for named, short in re.findall(r"conf/(\S+\.yaml):[\s#]*(\{.*\})", remark):
            write(tmp_path / "conf" / named, short)
    for package in ("losses", "samplers", "datasets", "methods"):
        module = importlib.import_module(f"longtail.{package}")
        monkeypatch.setattr(module, "__path__", [*module.__path__, str(tmp_path / "longtail" / package)])
    rng = np.random.default_rng(0)
    for part, size in (("train", 90), ("test", 30)):
        images = rng.integers(0, 256, (size, 32, 32, 3), np.uint8)
        np.savez(tmp_path / f"{part}.npz", images=images, labels=np.arange(size) % 3)
    own = ["--config-dir", str(tmp_path / "conf"), "experiment=mine", "dataset=cells", f"dataset.root={tmp_path}"]
    own += ["imbalance.ratio=4", "batch_size=16", f"hydra.sweep.dir={tmp_path}/sweep", "hydra/launcher=basic"]
    monkeypatch.setattr(sys, "argv", ["longtail", "-m", *own, *SMALL])
    done = outcome(commands.longtail, capfd)
    assert done.code == 0, done.err
    options = [metrics(path.parent)["options"] for path in tmp_path.glob("sweep/*/metrics.json")]
    assert {one["sampler"] for one in options} == {"random", "root"}
    assert all({"loss": "poly", "method": "mirrored", "dataset": "cells"}.items() <= one.items() for one in options)


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content.strip("\n") + "\n", "utf-8")


def test_it_is_short() -> None:
    assert len(TEXT.splitlines()) <= 130


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.parent.name)
def test_what_it_links_to_exists(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text("utf-8"))
    assert not [link for link in links if not (path.parent / link).exists()]
