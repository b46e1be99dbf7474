"""What makes two runs comparable: the images they saw, their versions and the git revision."""

import hashlib
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longtail import __version__

if TYPE_CHECKING:  # the command line imports this module before it knows that it will need numpy
    from numpy.typing import NDArray

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "wandb", "numpy")


def digest(*arrays: "NDArray[Any]") -> str:
    """Return the SHA-256 of arrays of numbers: their little-endian bytes as int64 or float64, one after the other."""
    little = (array.astype("<f8" if array.dtype.kind == "f" else "<i8") for array in arrays)
    return hashlib.sha256(b"".join(array.tobytes() for array in little)).hexdigest()


def fingerprint(**facts: Any) -> dict[str, Any]:
    """What must agree for two runs to be compared.

    Args:
        **facts: a digest of what was trained on, class_counts, parameters, steps, augmentation, selection, seed, ...

    Returns:
        The facts, with `versions` and `git_revision` (None outside a git checkout).
    """
    return {
        **facts,
        "versions": {"longtail": __version__, **{name: _version(name) for name in PACKAGES}},
        "git_revision": git_revision(),
    }


def git_revision() -> str | None:
    """The commit of the checkout that this package lies in, with `-dirty` if it was changed since."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # not when the command line starts

    try:
        return version(package)
    except PackageNotFoundError:  # imported from a folder
        return None
