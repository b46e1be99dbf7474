"""What was asked of a report on the command line, held against the runs; a ValueError names the option."""

from collections.abc import Sequence
from pathlib import Path

from longtail.reports import pages
from longtail.reports.cells import alike
from longtail.reports.comparison import Comparison


def refuse_existing(out: Path, force: bool) -> None:
    """Refuse to write into a run, and where something of the name of a report's files stands that is no report's.

    Raises:
        ValueError: saying what is in the way.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out={out}: must be a directory")
    for name in (".hydra", "metrics.json"):
        if (out / name).exists():
            raise ValueError(f"{out}: is the directory of a run, for it holds {name}; --out=DIR writes elsewhere")
    standing = [name for name in (*pages.WRITTEN, "figures") if (out / name).exists()]
    if standing and not force and not pages.is_report(out):
        raise ValueError(
            f"{out}: holds {', '.join(standing)}, but no report of this version; --force overwrites them"
        )


def refuse_differences(compared: Comparison) -> None:
    """Refuse to put runs of different protocols into one table.

    Raises:
        ValueError: with the list of their differences, if there are any.
    """
    if compared.differences:
        options = ", ".join(compared.options) or "none"
        listed = "".join(f"\n  {difference}" for difference in compared.differences)
        raise ValueError(
            f"the runs differ in more than the options compared ({options}) and the seed;"
            f" --by SETTING compares a setting, --mixed puts them into one table, marked:{listed}"
        )


def chosen_baseline(given: Sequence[str], compared: Comparison) -> dict[str, str]:
    """Return the options of the baseline, `OPTION=VALUE` as given or the default.

    Raises:
        ValueError: one is not compared, or has another value in every run.
    """
    if not given:
        return compared.default_baseline()
    chosen = {}
    for item in (part for text in given for part in text.split(",")):
        name, separator, value = item.partition("=")
        if not separator or name not in compared.options:
            among = f"with one of {', '.join(compared.options)}" if compared.options else "but no option varies"
            raise ValueError(f"--baseline={item}: must be OPTION=VALUE, {among}")
        values = list(dict.fromkeys(cell.options[name] for cell in compared.cells))
        same = [known for known in values if alike(known, value)]
        if not same:
            raise ValueError(f"--baseline={item}: {name} must be one of {', '.join(filter(None, values))}")
        chosen[name] = value if value in same else same[0]
    return chosen


def chosen_across(given: str | None, compared: Comparison) -> list[str]:
    """Return the options whose values stand side by side: the one given, else the conditions, else the last.

    There is none where that leaves no other option to stand below each other.

    Raises:
        ValueError: it is not compared.
    """
    if given and given not in compared.options:
        allowed = ", ".join(compared.options) or "several options, and none varies"
        raise ValueError(f"--across={given}: must be one of {allowed}")
    if given:
        return [given]
    across = (compared.methods and compared.conditions) or list(compared.options[-1:])
    return across if len(across) < len(compared.options) else []
