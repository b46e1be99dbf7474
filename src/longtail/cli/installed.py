"""Installed packages that add parts and configs, by an entry point of the group `longtail`.

    [project.entry-points.longtail]
    otherlab = "otherlab"

The files of `otherlab/conf` are then options like those of `conf/`, which win where two have one name, and a config
that is read back from disk may name the parts of `otherlab`.
"""

from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from longtail.errors import warn
from longtail.signals import is_first_process

PACKAGES = "longtail"  # the group of a package with a folder `conf`, whose parts are trusted
PARTS = "longtail.parts"  # the group of a module whose parts are trusted, and no more


@cache
def modules() -> frozenset[str]:
    """Return the packages and modules whose parts a config from disk may name."""
    return frozenset(entry.module for group in (PACKAGES, PARTS) for entry in entry_points(group=group))


@cache
def folders() -> tuple[Path, ...]:
    """Return the config folders of installed packages, by the names of these; a broken one is a warning."""
    found = {}
    for module in sorted({entry.module for entry in entry_points(group=PACKAGES)}):
        try:
            found[module] = _conf(module)
        except Exception as error:  # whatever a package raises that is imported for the place of its subpackage
            if is_first_process():
                reason = " ".join(str(error).split())
                warn(f"{module}: an installed package says that it adds options, but: {reason}")
    return tuple(found.values())


def _conf(module: str) -> Path:
    spec = find_spec(module)
    if spec is None:
        raise ImportError(f"{module} cannot be imported")
    places = [Path(place) / "conf" for place in spec.submodule_search_locations or ()]
    if not (folders := [place for place in places if place.is_dir()]):
        raise FileNotFoundError("has no folder conf")
    return folders[0]
