"""Installed packages that add parts and configs, by an entry point of the group `longtail`.

    [project.entry-points.longtail]
    otherlab = "otherlab"

The files of `otherlab/conf` are then options like those of `conf/`, which win where two have one name, and a config
that is read back from disk may name the parts of `otherlab`.
"""

import re
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
    return frozenset(_named(PACKAGES) | _named(PARTS)) - {""}


@cache
def folders() -> tuple[Path, ...]:
    """Return the config folders of installed packages, by the names of these; a broken one is a warning."""
    found = {}
    for module in sorted(_named(PACKAGES)):
        try:
            found[module] = _conf(module)
        except (Exception, SystemExit) as error:  # of a package, imported for a subpackage's place
            if is_first_process():
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                warn(f"{module}: an installed package says that it adds options, but: {reason}")
    return tuple(found.values())


def _named(group: str) -> set[str]:
    """Return what the entry points of a group name, `module:attribute [extras]`, without attributes and extras."""
    return {re.split(r"[:[]", entry.value)[0].strip() for entry in entry_points(group=group)}


def _conf(module: str) -> Path:
    spec = find_spec(module)
    if spec is None:
        raise ImportError(f"{module} cannot be imported")
    places = [Path(place) / "conf" for place in spec.submodule_search_locations or ()]
    if not (folders := [place for place in places if place.is_dir()]):
        raise FileNotFoundError("has no folder conf")
    return folders[0]
