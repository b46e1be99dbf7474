"""Where the parts of this template live, and what they need."""

import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from ..test_architecture import FLOOR, FLOORS, ROOMS, ROOT, imported

TESTS = ROOT / "tests"
PARTS_MAY_IMPORT = {"torch", "torchvision", "numpy", "longtail"}
MODULE = {
    "dataset": "datasets",
    "sampler": "samplers",
    "loss": "losses",
    "model": "models",
    "scheduler": "schedulers",
    "method": "methods",
    **dict.fromkeys(("detection_data", "detection_loss", "detector"), "detection"),
}


def test_every_room_has_its_floor() -> None:
    assert {room.stem for room in ROOMS} - {"rename"} == set(FLOOR)


@pytest.mark.parametrize("room", [room for room in ROOMS if room.stem in FLOORS[2]], ids=lambda room: room.stem)
def test_a_part_needs_torch_alone(room: Path) -> None:
    roots = {name.split(".")[0] for name in imported(room)}
    assert roots - set(sys.stdlib_module_names) <= PARTS_MAY_IMPORT


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
        name = room.stem if room.is_dir() else f"test_{room.stem}.py"
        assert any((folder / name).exists() for folder in (TESTS, TESTS / "template")) or name == "test___main__.py"
