"""The layout: which module may import which, and where the parts of each config group live."""

import ast
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "longtail"

# From the maths to the command line; a module imports only from the lines above its own.
LAYERS = [
    {"imbalance", "reweight", "losses", "samplers", "models", "metrics", "schedulers"},
    {"datasets", "augment", "precision", "record"},
    {"datamodule", "figures", "runs", "sweeps", "workers"},
    {"formats", "protocol", "tables"},
    {"comparison"},
    {"published"},
    {"pictures", "summary"},
    {"pages"},
    {"classifier"},
    {"callbacks", "tracking"},
    {"command_line"},
    {"jobs"},
    {"train", "benchmark"},
    {"evaluate", "report", "dashboard"},
]
LEVEL = {module: level for level, layer in enumerate(LAYERS) for module in layer}
MATHS_MAY_IMPORT = {"torch", "torchvision", "numpy"}
COMMAND_LINE = {"command_line", "jobs", "train", "evaluate", "report", "dashboard"}
MODULE = {
    "dataset": "datasets",
    "sampler": "samplers",
    "loss": "losses",
    "model": "models",
    "scheduler": "schedulers",
}


def imported(path: Path) -> set[str]:
    """Full names of all modules imported anywhere in a file, or in the files of a package."""
    names: set[str] = set()
    for file in path.glob("*.py") if path.is_dir() else [path]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


# A package counts as one module of its name.
PACKAGES = [path.parent for path in SOURCE.glob("*/__init__.py")]
MODULES = sorted([*PACKAGES, *(path for path in SOURCE.glob("*.py") if path.stem != "__init__")])


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports_point_upwards(path: Path) -> None:
    own = {name.split(".")[1] for name in imported(path) if name.startswith("longtail.")}
    own = {name for name in own if name in LEVEL and (path.is_file() or name != path.stem)}
    assert all(LEVEL[name] < LEVEL[path.stem] for name in own), own


@pytest.mark.parametrize("module", sorted(LAYERS[0]))
def test_maths_needs_torch_alone(module: str) -> None:
    import sys

    roots = {name.split(".")[0] for name in imported(SOURCE / f"{module}.py")}
    assert roots - set(sys.stdlib_module_names) <= MATHS_MAY_IMPORT


@pytest.mark.parametrize("path", [p for p in MODULES if p.stem not in COMMAND_LINE], ids=lambda path: path.stem)
def test_only_the_command_line_knows_hydra_and_wandb(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path)} & {"hydra", "omegaconf", "wandb", "wandb_workspaces"}


@pytest.mark.parametrize("group", ["dataset", "imbalance", "sampler", "loss", "reweight", "model", "scheduler"])
def test_the_parts_of_a_group_live_in_the_module_of_its_name(group: str) -> None:
    for path in (ROOT / "conf" / group).glob("*.yaml"):
        content = OmegaConf.load(path)
        assert isinstance(content, DictConfig)
        target = content.get(group, content).get("_target_", f"longtail.{MODULE.get(group, group)}.")  # a variant's
        assert target.startswith(f"longtail.{MODULE.get(group, group)}."), path


def test_every_module_has_a_test_file() -> None:
    tests = {path.stem for path in (ROOT / "tests").glob("test_*.py")}
    assert {f"test_{path.stem}" for path in MODULES} <= tests


def test_the_top_level_is_as_designed() -> None:
    tracked = {"pyproject.toml", "Makefile", "constraints.txt", "README.md", "RESULTS.md", "LICENSE"}
    folders = {"src", "conf", "tests", "notebooks", ".github", ".ci"}
    found = {p.name for p in ROOT.iterdir() if p.is_file() and not p.name.startswith(".")}
    assert found - {"benchmark.json"} == tracked  # what `python -m longtail.benchmark` writes, ignored by git
    assert all((ROOT / folder).is_dir() for folder in folders)
