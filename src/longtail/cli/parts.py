"""From a config group to the callable that its contract describes."""

import functools
from collections.abc import Callable
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from longtail.errors import setting

GROUPS = ("dataset", "imbalance", "sampler", "loss", "reweight", "model", "method", "optimizer", "scheduler")


def parts(cfg: DictConfig) -> dict[str, Callable[..., Any]]:
    """Return the parts of a run; a complaint of one names its setting."""
    return {group: part(cfg, group) for group in GROUPS}


def part(cfg: DictConfig, group: str) -> Callable[..., Any]:
    """Return a part as a function of the facts that it needs.

    Its file may be one with or without `_partial_: true`.
    """

    def make(*facts: Any, **named: Any) -> Any:
        with setting(group):
            made = instantiate(cfg[group], *facts, _convert_="all", **named)
            return made() if isinstance(made, functools.partial) else made

    return make
