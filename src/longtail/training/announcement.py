"""What a run says before it starts, and when it has ended."""

from collections.abc import Mapping
from pathlib import Path

from longtail.errors import console, warn
from longtail.runs import relative_path
from longtail.runs.task import GROUPS_OF_CLASSES, Task
from longtail.training.training import Training


def announce(training: Training) -> None:
    """Say in three lines what is about to be trained, and warn of what is rarely meant."""
    options = " x ".join(training.options.values())
    console.print(f"[bold]{options}[/bold], seed {training.settings['seed']}\n{training.summary()}", soft_wrap=True)
    for line in training.mistakes():
        warn(line)


def say_scores(run_dir: Path, scores: Mapping[str, float], task: Task) -> None:
    """Print the test scores, and where the files are."""
    groups = {name: scores[f"{task.primary}_{name}"] for name in GROUPS_OF_CLASSES}
    shown = "  ".join(f"{name} {score:.3f}" for name, score in groups.items() if score == score)  # not NaN
    primary, spread = (scores[name] for name in task.compared)
    console.print(
        f"[bold]test {task.primary} {primary:.4f}  std over classes {spread:.4f}[/bold]  "
        f"min {scores[f'{task.primary}_min']:.3f}  {shown}\nfiles in {relative_path(run_dir)}",
        soft_wrap=True,
    )
