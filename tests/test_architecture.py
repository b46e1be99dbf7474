"""The layout: which wing may import which, who knows Hydra and W&B, and where the parts of a config group live."""

import ast
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "longtail"

# From the ground up; a module or package imports only from the floors below its own.
FLOORS = [
    {"errors", "signals"},
    {"settings", "decoding", "weights"},
    {
        "imbalance",
        "reweight",
        "losses",
        "samplers",
        "models",
        "metrics",
        "schedulers",
        "optimizers",
        "augment",
        "posthoc",
    },
    {"datasets", "runs", "methods", "figures"},
    {"tracking", "training"},
    {"inference"},
    {"sweeps", "reports", "detection"},
    {"cli", "benchmark"},
    {"__main__"},
]
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
KNOWS = {
    "hydra": {"cli", "sweeps"},
    "omegaconf": {"cli", "sweeps"},
    "wandb": {"tracking"},
    "wandb_workspaces": {"tracking"},
    "longtail.cli": {"cli", "__main__"},
}
PARTS_MAY_IMPORT = {"torch", "torchvision", "numpy", "longtail"}
MODULE = {
    "dataset": "datasets",
    "sampler": "samplers",
    "loss": "losses",
    "model": "models",
    "scheduler": "schedulers",
}
MODULE |= {"method": "methods"}
MODULE |= dict.fromkeys(("detection_data", "detection_loss", "detector"), "detection")

ROOMS = sorted(path for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists())
ROOMS = [path for path in ROOMS if path.name != "__init__.py"]


def imported(room: Path) -> set[str]:
    """Full names of everything imported anywhere in a module, or in the modules of a package."""
    names: set[str] = set()
    for file in room.rglob("*.py") if room.is_dir() else [room]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.stem)
def test_imports_point_down(room: Path) -> None:
    below = {name.split(".")[1] for name in imported(room) if name.startswith("longtail.")} - {room.stem}
    assert all(FLOOR[name] < FLOOR.get(room.stem, len(FLOORS)) for name in below if name in FLOOR), below


@pytest.mark.parametrize("room", [room for room in ROOMS if room.stem in FLOORS[2]], ids=lambda room: room.stem)
def test_a_part_needs_torch_alone(room: Path) -> None:
    import sys

    roots = {name.split(".")[0] for name in imported(room)}
    assert roots - set(sys.stdlib_module_names) <= PARTS_MAY_IMPORT


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.stem)
def test_hydra_and_wandb_are_known_where_they_belong(room: Path) -> None:
    for library, wings in KNOWS.items():
        if room.stem not in wings and room.stem != "benchmark":  # which measures the others
            assert not [name for name in imported(room) if f"{name}.".startswith(f"{library}.")]


@pytest.mark.parametrize("group", ["imbalance", "reweight", *MODULE])
def test_the_parts_of_a_group_live_in_the_module_of_its_name(group: str) -> None:
    for path in (ROOT / "conf" / group).glob("*.yaml"):
        content = OmegaConf.load(path)
        assert isinstance(content, DictConfig)
        target = content.get("_target_", "")  # a variant of another option has none
        assert target.startswith(f"longtail.{MODULE.get(group, group)}.") or (not target and "defaults" in content), (
            path
        )


def test_every_room_has_its_tests() -> None:
    for room in ROOMS:
        place = ROOT / "tests" / room.stem if room.is_dir() else ROOT / "tests" / f"test_{room.stem}.py"
        assert place.exists() or room.stem == "__main__", place
