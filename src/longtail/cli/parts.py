"""From the config to objects: the parts of a run as their contracts describe them, callbacks, the Trainer."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from longtail.errors import setting

if TYPE_CHECKING:
    import lightning as L
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import Logger

WANDB = ("mode", "project", "entity")  # settings of the group `logger`, beside loggers by name
SHARED = ("imbalance", "reweight", "optimizer", "scheduler")
GROUPS = ("dataset", "sampler", "loss", "model", "method", *SHARED)
DETECTION_GROUPS = ("detection_data", "detection_loss", "detector", *SHARED)


def parts(cfg: DictConfig) -> dict[str, Callable[..., Any]]:
    """Return the parts of a run; a complaint of one names its setting."""
    return {group: part(cfg, group) for group in groups(cfg)}


def groups(cfg: Mapping[str, Any] | DictConfig) -> tuple[str, ...]:
    """Return the groups that make up a run."""
    return DETECTION_GROUPS if "detector" in cfg else GROUPS


def part(cfg: DictConfig, group: str) -> Callable[..., Any]:
    """Return a part as a function of the facts that it needs.

    Its file may be one with or without `_partial_: true`.
    """

    def make(*facts: Any, **named: Any) -> Any:
        with setting(group):
            if not isinstance(cfg[group], DictConfig) or "_target_" not in cfg[group]:
                raise ValueError("must have a _target_")
            if passed := [name for name in named if name in cfg[group]]:
                raise ValueError(f"{passed[0]}={cfg[group][passed[0]]}: must not be set, the run passes it")
            made = instantiate(cfg[group], *facts, _convert_="all", **named)
            return made() if cfg[group].get("_partial_") else made

    return make


def callbacks(cfg: DictConfig) -> list["Callback"]:
    """Make the callbacks of the group, by name in the config, and in a sweep the one that tells what a job takes."""
    from lightning.pytorch.callbacks import Callback

    from longtail.sweeps import pool
    from longtail.training.callbacks import AfterSteps

    made = list(_named("callbacks", cfg.callbacks or {}, Callback))
    return [*made, *([AfterSteps(5, pool.report_need)] if pool.is_measured() else [])]


def loggers(cfg: DictConfig, run_dir: Path) -> list["Logger"]:
    """Make the loggers of the group, by name in the config, but W&B's; a partial one writes to `logs/`."""
    from lightning.pytorch.loggers import Logger

    others = {name: node for name, node in cfg.logger.items() if name not in WANDB}
    return list(_named("logger", others, Logger, save_dir=str(run_dir / "logs")))


def _named(group: str, nodes: Mapping[Any, Any], kind: type, **facts: Any) -> Iterator[Any]:
    """Yield what the nodes of a group make, which must be of a kind; a partial one is passed the facts."""
    for name, node in nodes.items():
        with setting(f"{group}.{name}"):
            if node is None:
                continue
            if not isinstance(node, DictConfig) or "_target_" not in node:
                raise ValueError("must have a _target_")
            made = instantiate(node, _convert_="all")
            if isinstance(made, partial):
                if passed := [fact for fact in facts if fact in node]:
                    raise ValueError(f"{passed[0]}={node[passed[0]]}: must not be set, the run passes it")
                made = made(**facts)
            if not isinstance(made, kind):
                raise ValueError(f"must be a Lightning {kind.__name__.lower()}, not {type(made).__name__}")
        yield made


def make_trainer(cfg: DictConfig, run_dir: Path, own: list[Any]) -> "L.Trainer":
    """Make the Trainer; callbacks and loggers that its own settings name are used beside the run's."""
    from lightning.fabric.plugins import ClusterEnvironment
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import Logger

    from longtail.training.checkpoints import WholeFiles

    with setting("trainer"):
        made = instantiate(cfg.trainer, _convert_="all")
        further, loggers = (as_list(made.keywords.get(name)) for name in ("callbacks", "logger"))
        for name, kind, values in (("callbacks", Callback, further), ("logger", Logger, loggers)):
            if wrong := [one for one in values if not isinstance(one, kind)]:
                raise ValueError(
                    f"{name}={wrong[0]}: must be a {kind.__name__} with a _target_, or several in a list"
                )
        plugins = [*as_list(made.keywords.get("plugins")), WholeFiles()]
        if SLURMEnvironment.detect() and not any(isinstance(plugin, ClusterEnvironment) for plugin in plugins):
            plugins.append(SLURMEnvironment(auto_requeue=False))  # the run goes on from its own checkpoint
        trainer: L.Trainer = made(
            callbacks=[*own, *further],
            logger=loggers or False,
            plugins=plugins,
            default_root_dir=str(run_dir),
        )
        on_cpus = trainer.num_devices > 1 and trainer.strategy.root_device.type == "cpu"
        if on_cpus and cfg.trainer.get("sync_batchnorm"):
            raise ValueError("sync_batchnorm=true: must be false without GPUs, PyTorch synchronises on GPUs alone")
    return trainer


def as_list(value: Any) -> list[Any]:
    """Return one object, several or none as a list."""
    return list(value) if isinstance(value, list | tuple) else [value] if value else []
