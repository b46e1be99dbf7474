"""What a finished run says of the images that it was trained on, for those who do not have them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from longtail.errors import InputError
from longtail.runs.files import read_metrics, read_per_class


class Facts(NamedTuple):
    """What a run has recorded of its images.

    Attributes:
        image_shape: (channels, height, width).
        class_names: (C,).
        class_counts: training images or boxes per class, (C,).
        streamed: whether images were resized and cropped at each use.
    """

    image_shape: tuple[int, int, int]
    class_names: list[str]
    class_counts: list[int]
    streamed: bool


def read_facts(run_dir: Path, command: str = "longtail") -> Facts:
    """Read what a finished run of a command has recorded.

    Raises:
        InputError: it is not finished, broken, or of a version that did not record the shape of the images.
    """
    must = f"run_dir={run_dir}: must be a finished run of {command}"
    found = [_fingerprint(run_dir), _fingerprint(run_dir / "evaluation")]  # which an earlier version's run may have
    streamed = any("streamed" in one for one in found)
    shapes = [one.get("image_shape") or _of_streamed(one) for one in found]
    shape = next((shape for shape in shapes if _is_shape(shape)), None)
    if shape is None:
        raise InputError(
            f"{must}: its metrics.json is missing, or has no image_shape of three numbers;"
            f" longtail-eval run_dir={run_dir} notes that of a run of an earlier version"
        )
    try:
        rows = read_per_class(run_dir)
    except (OSError, ValueError) as error:
        raise InputError(f"{must}: its per_class.csv cannot be read ({error})") from error
    if not rows or not all(0 <= row.train_count < 2**31 for row in rows):
        raise InputError(f"{must}: its per_class.csv has no class, or a train_count that cannot be")
    names, counts = [row.class_name for row in rows], [row.train_count for row in rows]
    return Facts((shape[0], shape[1], shape[2]), names, counts, streamed)


def _fingerprint(directory: Path) -> Mapping[str, Any]:
    found = (read_metrics(directory) or {}).get("fingerprint")
    return found if isinstance(found, dict) else {}


def _of_streamed(fingerprint: Mapping[str, Any]) -> Any:
    size = fingerprint.get("streamed")
    return [3, *size] if isinstance(size, list) else None


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, list) and len(shape) == 3 and all(type(side) is int and side > 0 for side in shape)
