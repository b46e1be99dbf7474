"""Which config groups and experiments belong to a command."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from hydra.core.global_hydra import GlobalHydra

COMMANDS = {"train": "longtail", "detect": "longtail-detect"}  # by their primary configs


def command_of(conf: Path, experiment: str) -> str | None:
    """Return the command that the head of an experiment's file names, `# command: longtail ...`; None without one."""
    path = conf / "experiment" / f"{experiment}.yaml"
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    named = (line.removeprefix("# command:").split() for line in lines if line.startswith("# command:"))
    return next((words[0] for words in named if words), None)


def foreign_experiment(conf: Path, config_name: str, arguments: Sequence[str]) -> str | None:
    """Return what to say of an experiment of another command among the arguments; None if there is none."""
    chosen = (argument.partition("=")[2] for argument in arguments if argument.startswith("experiment="))
    for name in (name for values in chosen for name in values.split(",")):
        if not _is_of(conf, config_name, name):
            own = sorted(path.stem for path in conf.glob("experiment/*.yaml") if _is_of(conf, config_name, path.stem))
            return f"experiment={name}: must be one of {', '.join(own)}; it is one of {command_of(conf, name)}"
    return None


def _is_of(conf: Path, config_name: str, experiment: str) -> bool:
    return command_of(conf, experiment) in (None, COMMANDS.get(config_name))


def listed(conf: Path, config_name: str) -> str:
    """Return the groups of a command with their options, a line each, those of `--config-dir` too.

    Nothing where no help is asked for: Hydra evaluates the text all the same, and finding the options takes a second.
    """
    if not {"--help", "-h"} & set(sys.argv):
        return ""
    return "\n".join(f"{group}: {', '.join(options)}" for group, options in _groups(conf, config_name))


def _groups(conf: Path, config_name: str) -> Iterator[tuple[str, list[str]]]:
    loader = GlobalHydra.instance().config_loader()
    defaults = yaml.safe_load((conf / f"{config_name}.yaml").read_text("utf-8"))["defaults"]
    names = (name for entry in defaults if isinstance(entry, dict) for name in entry)
    for group in sorted(name for name in names if " " not in name):  # no `override ...` and `optional ...`
        options = loader.get_group_options(group)
        if group == "experiment":
            options = [name for name in options if _is_of(conf, config_name, name)]
        yield group, options
        cells = ((f"{group}/{name}", loader.get_group_options(f"{group}/{name}")) for name in options)
        yield from (cell for cell in cells if cell[1])
