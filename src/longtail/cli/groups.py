"""Which config groups and experiments belong to a command."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from hydra.core.global_hydra import GlobalHydra

COMMANDS = {"train": "longtail", "detect": "longtail-detect"}  # by their primary configs


def files(group: str, folders: Sequence[Path]) -> dict[str, Path]:
    """Return the files of a group by their options; where two have one name, that of the first folder."""
    found = {path.stem: path for folder in reversed(folders) for path in (folder / group).glob("*.yaml")}
    return dict(sorted(found.items()))


def command_of(experiment: Path) -> str | None:
    """Return the command that the head of an experiment's file names, `# command: longtail ...`; None without one."""
    lines = experiment.read_text("utf-8").splitlines()
    named = (line.removeprefix("# command:").split() for line in lines if line.startswith("# command:"))
    return next((words[0] for words in named if words), None)


def foreign_experiment(folders: Sequence[Path], config_name: str, arguments: Sequence[str]) -> str | None:
    """Return what to say of an experiment of another command among the arguments; None if there is none."""
    chosen = [argument.partition("=")[2] for argument in arguments if argument.startswith("experiment=")]
    others = _others(folders, config_name) if chosen else {}
    for name in (name for values in chosen for name in values.split(",")):
        if name in others:
            own = [option for option in files("experiment", folders) if option not in others]
            return f"experiment={name}: must be one of {', '.join(own)}; it is one of {others[name]}"
    return None


def _others(folders: Sequence[Path], config_name: str) -> dict[str, str]:
    """Return the experiments of other commands, with these."""
    commands = {name: command_of(path) for name, path in files("experiment", folders).items()}
    return {name: command for name, command in commands.items() if command not in (None, COMMANDS.get(config_name))}


def listed(folders: Sequence[Path], config_name: str) -> str:
    """Return the groups of a command with their options, a line each, those of `--config-dir` too.

    Nothing where no help is asked for: Hydra evaluates the text all the same, and finding the options takes a second.
    """
    if not {"--help", "-h"} & set(sys.argv):
        return ""
    return "\n".join(f"{group}: {', '.join(options)}" for group, options in _groups(folders, config_name))


def _groups(folders: Sequence[Path], config_name: str) -> Iterator[tuple[str, list[str]]]:
    loader = GlobalHydra.instance().config_loader()
    defaults = yaml.safe_load((folders[0] / f"{config_name}.yaml").read_text("utf-8"))["defaults"]
    names = (name for entry in defaults if isinstance(entry, dict) for name in entry)
    for group in sorted(name for name in names if " " not in name):  # no `override ...` and `optional ...`
        options = loader.get_group_options(group)
        if group == "experiment":
            others = _others(folders, config_name)
            options = [name for name in options if name not in others]
        yield group, options
        cells = ((f"{group}/{name}", loader.get_group_options(f"{group}/{name}")) for name in options)
        yield from (cell for cell in cells if cell[1])
