"""What makes two runs comparable: the images they saw, their versions and the git revision."""

import hashlib
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longtail import __version__

if TYPE_CHECKING:  # the command line imports this module before it knows that it will need numpy
    from numpy.typing import NDArray

PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "wandb", "numpy")


def digest(values: "NDArray[Any]") -> str:
    """Return the SHA-256 of numbers, of the little-endian bytes of 64-bit ones."""
    return hashlib.sha256(values.astype(f"<{values.dtype.kind}8").tobytes()).hexdigest()


def fingerprint(**facts: Any) -> dict[str, Any]:
    """Return what must agree for two runs to be compared.

    Args:
        **facts: train_indices_sha256, class_counts, parameters, steps, images_seen, augmentation, seed, ...

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
