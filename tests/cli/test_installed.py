"""Packages that add parts and configs to an installed Longtail, from their wheels."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from longtail.cli import app, installed, trust
from longtail.cli.app import CONF
from longtail.errors import InputError

from ..conftest import Cli, metrics

ROOT = Path(__file__).parents[2]
PACKAGE = {
    "pyproject.toml": """
        [build-system]
        requires = ["hatchling"]
        build-backend = "hatchling.build"
        [project]
        name = "otherlab"
        version = "1"
        [project.entry-points.longtail]
        otherlab = "otherlab"
    """,
    "otherlab/__init__.py": """
        from longtail.losses import Softmax
        class Scaled(Softmax):
            def __init__(self, class_counts, share: float = 1.0):
                super().__init__(class_counts)
                self.share = share
            def forward(self, logits, targets):
                return self.share * super().forward(logits, targets)
    """,
    "otherlab/conf/loss/scaled.yaml": "_target_: otherlab.Scaled\nshare: ${oc.env:SHARE,0.5}",
    "otherlab/conf/loss/focal.yaml": "_target_: otherlab.Never",
    "otherlab/conf/experiment/scaling.yaml": "# @package _global_\ndefaults: [override /loss: scaled]\nepochs: 1",
    "otherlab/conf/experiment/boxes_of_otherlab.yaml": "# command: longtail-detect\n# @package _global_\nepochs: 1",
}


def write(folder: Path) -> Path:
    """Write the source of a package that adds a loss and two experiments."""
    for name, text in PACKAGE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("\n".join(line.removeprefix(" " * 8) for line in text.splitlines()).strip() + "\n")
    return folder


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A command in an environment with nothing but the wheels of Longtail and of the package, and what they need."""
    place = tmp_path_factory.mktemp("clean")
    environment, wheels = place / "environment", place / "wheels"
    venv.create(environment)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(environment)}))
    for source in (ROOT, write(place / "otherlab")):
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
        subprocess.run(build, cwd=source, check=True, capture_output=True)
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as file:
            file.extractall(packages)  # which is all that installing these takes, but for the commands
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib"))  # without what is editable there
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(environment / "bin/python"), "-m", "longtail", *arguments]
        return subprocess.run(command, cwd=place, env=variables, capture_output=True, text=True, timeout=200)

    return run


def test_a_run_takes_a_loss_and_an_experiment_of_an_installed_package(
    call: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    quick = ["trainer=debug", "logger=none", "callbacks=none", f"hydra.run.dir={tmp_path}/run"]
    done = call("experiment=scaling", "loss.share=0.25", *quick)
    assert (done.returncode, done.stderr) == (0, "")
    assert metrics(tmp_path / "run")["test"]["accuracy"] >= 0
    assert "_target_: otherlab.Scaled\n  share: 0.25\n" in (tmp_path / "run/.hydra/config.yaml").read_text()


def test_a_typo_lists_the_options_of_an_installed_package(
    call: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    assert "scaled, sigmoid" in (done := call("loss=scalled")).stderr
    assert done.stderr.endswith("; did you mean scaled?\n")


Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put the package on the path, with the entry points that are given."""

    def place(*entry_points: str) -> Path:
        folder = write(tmp_path)
        (folder / "otherlab-1.dist-info").mkdir()
        (folder / "otherlab-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: otherlab\nVersion: 1\n")
        (folder / "otherlab-1.dist-info/entry_points.txt").write_text("\n".join(entry_points))
        monkeypatch.syspath_prepend(folder)
        return folder

    forget()
    yield place
    forget()


def forget() -> None:
    for cached in (installed.modules, installed.folders, trust.named_in_conf):
        cached.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "otherlab"]:
        del sys.modules[name]


def composed(*overrides: str, primary: str = "train") -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(primary, list(overrides))


def test_its_config_is_trusted_as_that_of_conf(install: Install, tmp_path: Path) -> None:
    config = OmegaConf.create({"loss": {"_target_": "otherlab.Scaled", "share": "${oc.env:SHARE,0.5}"}})
    with pytest.raises(InputError, match="must not be computed"):
        trust.check(config, [])
    forget()
    install("[longtail]", "otherlab = otherlab")
    assert composed("loss=scaled").loss._target_ == "otherlab.Scaled"
    trust.check(config, [])
    config.loss._target_ = "otherlab.sys.exit"
    with pytest.raises(InputError, match=r"_target_=otherlab\.sys\.exit: must be"):
        trust.check(config, [])


def test_its_parts_alone_may_be_trusted(install: Install) -> None:
    install("[longtail.parts]", "otherlab = otherlab")
    trust.check(OmegaConf.create({"loss": {"_target_": "otherlab.Scaled"}}), [])
    assert installed.folders() == ()


def test_conf_wins_over_an_installed_package_and_that_over_config_dir(install: Install, cli: Cli) -> None:
    folder = install("[longtail]", "otherlab = otherlab")
    assert app.folders() == (CONF, folder / "otherlab/conf")
    (folder / "mine/loss").mkdir(parents=True)
    targets = {"focal": "longtail.losses.Focal", "scaled": "otherlab.Scaled", "of_a_lab": "mine.Own"}
    for name, target in targets.items():
        (folder / f"mine/loss/{name}.yaml").write_text("_target_: mine.Own\n")
        assert f"_target_: {target}\n" in cli(f"--config-dir={folder}/mine", f"loss={name}", "--cfg", "job").out


def test_its_experiments_belong_to_the_commands_they_name(install: Install, cli: Cli) -> None:
    install("[longtail]", "otherlab = otherlab")
    said = cli("experiment=boxes_of_otherlab").error
    assert said.startswith("experiment=boxes_of_otherlab: must be one of ")
    assert ", scaling, " in said
    assert said.endswith("; it is one of longtail-detect")
    assert "scaled" in cli("loss=null").error
    assert "_target_: otherlab.Scaled" in cli("experiment=scaling", "--cfg", "job").out


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("otherlab = nowhere", "nowhere cannot be imported"),
        ("otherlab = nowhere.at.all", "No module named 'nowhere'"),
        ("otherlab = other lab!", "other lab! cannot be imported"),
        ("otherlab = ends.sub", "SystemExit: 3"),
        ("otherlab = otherlab.conf", "has no folder conf"),
        ("otherlab = json.decoder", "has no folder conf"),
    ],
)
def test_a_broken_package_is_one_line_and_the_rest_goes_on(
    entry: str, reason: str, install: Install, cli: Cli
) -> None:
    (install("[longtail]", entry) / "ends.py").write_text("raise SystemExit(3)")
    done = cli("loss=focal", "--cfg", "job")
    assert done.code == 0
    assert "_target_: longtail.losses.Focal" in done.out
    [line] = done.err.splitlines()
    assert line.startswith(f"warning: {entry.partition(' = ')[2]}: ")
    assert line.endswith(reason)
