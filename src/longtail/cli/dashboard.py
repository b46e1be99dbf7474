"""`longtail-dashboard --project P`: save a W&B view of a project's runs."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from longtail.errors import InputError, refuse
from longtail.runs import Task, read_metrics, read_per_class


def main(arguments: Sequence[str] | None = None) -> None:
    """Save the view and print its address; exit with 1 and one line if that is not possible."""
    chosen = parser().parse_args(arguments)
    try:
        task, names = measured(chosen.run) if chosen.run else (Task.of({}), [])
        try:
            from longtail.tracking.dashboard import Dashboard
        except ImportError as error:
            raise InputError("wandb-workspaces is not installed: pip install 'longtail[dashboard]'") from error
        print(Dashboard(chosen.project, chosen.entity, chosen.name, names, task, chosen.evaluations).save())
    except InputError as error:
        refuse(str(error))


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    line = argparse.ArgumentParser("longtail-dashboard", description="Save a W&B view of a project's runs.")
    line.add_argument(
        "--project", required=True, help="the runs' logger.project; at least one run must have been sent"
    )
    line.add_argument("--entity", help="owner of the project (default: you)")
    line.add_argument("--name", default="longtail", help="of the view; each call saves a new one")
    line.add_argument("--run", type=Path, metavar="DIR", help="a finished run, for a bar for each of its classes")
    line.add_argument("--evaluations", action="store_true", help="a view of what `longtail-eval posthoc=` has sent")
    return line


def measured(directory: Path) -> tuple[Task, list[str]]:
    """Return what a run measured and its class names.

    Raises:
        InputError: The directory is not that of a finished run.
    """
    try:
        return Task.of(read_metrics(directory) or {}), [row.class_name for row in read_per_class(directory)]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"--run={directory}: must be the directory of a finished run, with per_class.csv") from error


if __name__ == "__main__":
    main()
