"""Try the parts of a sweep's jobs before the first one starts: those that need no images, on made-up facts.

A part is refused where all the facts lead to the same complaint, which is then one about its settings alone.
"""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from longtail.errors import InputError, setting
from longtail.sweeps import arguments
from longtail.sweeps.composition import parts

if TYPE_CHECKING:
    from torch import nn

CLASSES = (2, 10, 1000)
MOST = 600  # images of a class, of which the rarest has a tenth
Made = tuple[tuple[Any, ...], dict[str, Any]]  # what a part is called with


def check(configs: Iterable[DictConfig]) -> None:
    """Check the settings of all parts, each different one once, and try them.

    Raises:
        InputError: with the first setting that is wrong.
    """
    seen = set()
    for config in configs:
        for group, node in parts(config).items():
            if (key := f"{group} {json.dumps(node, default=str)}") not in seen:
                seen.add(key)
                arguments.check(group, node)
                attempt(group, node)


def attempt(group: str, node: Mapping[str, Any]) -> None:
    """Make a part, or what of it needs no images, for several numbers of classes.

    Raises:
        InputError: it complains of a setting, in the same words each time.
    """
    if group not in FACTS:
        for key, part in node.items():
            if isinstance(part, dict) and "_target_" in part:
                facts = _logger if group == "logger" and part.get("_partial_") else _none
                _refuse_if_same(_complaints(f"{group}.{key}", part, facts, CLASSES[:1]))
    elif not _has_weights(node):
        _refuse_if_same(_complaints(group, node, FACTS[group], CLASSES))


def _refuse_if_same(complaints: Iterator[str | None]) -> None:
    first = next(complaints)
    if first is not None and all(further == first for further in complaints):
        raise InputError(first)


def _complaints(
    group: str, node: Mapping[str, Any], facts: Callable[[int], Made], classes: Iterable[int]
) -> Iterator[str | None]:
    """Yield what a part says to each number of classes, None for nothing; its bugs are the run's to show."""
    for number in classes:
        try:
            given, named = facts(number)
            with setting(group), warnings.catch_warnings(action="ignore"), _abstract(group):
                root = OmegaConf.create()
                OmegaConf.update(root, group, node)  # by its full name it is complained of
                made = instantiate(OmegaConf.select(root, group), *given, _convert_="all", **named)
                if node.get("_partial_"):
                    made()
            yield None
        except InputError as error:
            yield str(error)
        except Exception:
            yield None


def _abstract(group: str) -> Any:
    """Make models without memory for their weights, nor the time to draw them."""
    import torch

    return torch.device("meta" if group in ("model", "detector") else "cpu")


def _has_weights(node: Any) -> bool:
    """Tell whether a model starts from weights that may have to be downloaded."""
    return isinstance(node, dict) and (node.get("weights") is not None or any(map(_has_weights, node.values())))


@cache
def _counts(classes: int) -> Any:
    import torch

    return torch.linspace(MOST, MOST // 10, classes).long()


def _imbalance(classes: int) -> Made:
    return ([1000 * MOST] * classes,), {}


def _sampler(classes: int) -> Made:
    import numpy as np

    # Not by PyTorch, whose threads no fork survives.
    targets = np.repeat(np.arange(classes), _counts(classes).numpy())
    return (targets,), {"num_classes": classes, "seed": 0, "rank": 0, "world_size": 1}


def _model(classes: int) -> Made:
    return (), {"in_channels": 3, "num_classes": classes}


def _detector(classes: int) -> Made:
    return (), {"in_channels": 3, "num_classes": classes, "image_size": (100 + classes, 100 + classes)}


def _method(classes: int) -> Made:
    import torch

    from longtail.losses import Softmax
    from longtail.methods import Criterion
    from longtail.models import SmallCNN

    counts = _counts(classes)
    model: nn.Module = SmallCNN(1, classes, width=1)
    return (model, Criterion(Softmax(counts), torch.ones(classes))), {"class_counts": counts}


def _optimizer(classes: int) -> Made:
    import torch

    return ([torch.nn.Parameter(torch.ones(1))],), {}


def _scheduler(classes: int) -> Made:
    import torch

    return (torch.optim.SGD(*_optimizer(classes)[0]),), {"total_steps": 100 * classes}


def _logger(classes: int) -> Made:
    return (), {"save_dir": "logs"}


def _none(classes: int) -> Made:
    return (), {}


FACTS: Mapping[str, Callable[[int], Made]] = {
    "imbalance": _imbalance,
    "sampler": _sampler,
    **dict.fromkeys(("loss", "reweight", "detection_loss"), lambda classes: ((_counts(classes),), {})),
    "model": _model,
    "detector": _detector,
    "method": _method,
    "optimizer": _optimizer,
    "scheduler": _scheduler,
}
