"""The layout: which wing may import which, and who knows Hydra and W&B. A module of a fork's own may import all."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "longtail"

# From the ground up; a module or package imports only from the floors below its own.
FLOORS = [
    {"errors", "signals"},
    {"settings", "decoding", "ranges"},
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


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.stem)
def test_hydra_and_wandb_are_known_where_they_belong(room: Path) -> None:
    for library, wings in KNOWS.items():
        if room.stem in FLOOR and room.stem not in {*wings, "benchmark"}:  # which measures the others
            assert not [name for name in imported(room) if f"{name}.".startswith(f"{library}.")]
