"""What a reader of a report's tables must know, in sentences."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from longtail.reports import protocol
from longtail.reports.cells import difference
from longtail.reports.comparison import Comparison
from longtail.reports.formats import MIXED
from longtail.reports.pictures import Panels
from longtail.reports.published import Published
from longtail.runs import PER_CLASS, Run, relative_path

OLTR = "many > 100, few < 20"  # unless a run says otherwise; `metrics.OLTR` in words, without importing PyTorch
TOLERATED = 0.05  # part by which a realised ratio may differ from the one asked for without a word
MOST_REPETITIONS = 3  # between the same two directories that are said one by one


def sentences(comparison: Comparison, baseline: Mapping[str, str], papers: Published) -> list[str]:
    """What a reader of the tables must know, a sentence each."""
    selections = {str(run.config.get("selection", "last")) for run in comparison.used}
    epoch = {"last": "the last epoch", "best_validation": "the epoch that was best on held-out images"}
    tested = " or ".join(epoch.get(selection, selection) for selection in sorted(selections))
    lines = [
        f"Mean ± sample standard deviation over seeds of the test metrics of {tested};"
        f" {comparison.task.title(comparison.task.spread)} is {comparison.task.spread_in_words}."
    ]
    if len(comparison.cells) > 1:
        lines.append(
            "Bold is the best mean under the same conditions; there is none where two are equal in the digits shown,"
            " or where the numbers of seeds differ."
        )
    if comparison.task.convention:
        lines.append(f"{comparison.task.primary}: {comparison.task.convention}.")
    if baseline:
        lines += _on_differences(comparison, baseline)
    elif len(comparison.cells) > 1:
        lines.append("No baseline among the options; --baseline OPTION=VALUE adds a comparison.")
    lines += groups_of_classes(comparison)
    lines += realised_ratios(comparison)
    lines += papers.sources
    for name in comparison.along:
        values = dict.fromkeys(run.settings.get(name, "not set") for run in comparison.used)
        lines.append(f"Changed along with the options: {name} ({', '.join(values)}).")
    lines += repetitions(comparison)
    if comparison.differences:
        lines.append(f"{MIXED} Mixed: these runs differ in more than the options compared and the seed.")
        lines += [str(difference) for difference in comparison.differences]
    return lines


def groups_of_classes(comparison: Comparison) -> list[str]:
    """Say which classes are many, medium and few."""
    bounds = dict.fromkeys(str(run.fingerprint.get("groups", OLTR)) for run in comparison.used)
    return [f"Groups of classes by training {comparison.task.counted}: {'; or '.join(bounds)}, medium between."]


def _on_differences(comparison: Comparison, baseline: Mapping[str, str]) -> list[str]:
    """Say what the differences to the baseline are, and what their intervals are worth."""
    options = ", ".join(f"{name}={value}" for name, value in baseline.items())
    to = f"Differences are to {options} with the same other options"
    baseline_of = comparison.baseline(baseline)
    pairs = [(cell, other) for cell in comparison.cells if (other := baseline_of(cell)) and other is not cell]
    every = (difference(*pair, metric) for pair in pairs for metric in comparison.task.compared)
    found = list(filter(None, every))
    if not found:
        return [f"{to}; no other row has such a one."]
    student, welch = "with the 95 % interval of Student's t", "with the 95 % interval of Welch's t"
    several = "where there is more than one seed"
    if all(one.paired for one in found):
        how = f"paired by seed, {student} {several}"
    elif any(one.paired for one in found):
        how = f"paired by seed, {student}, or where no seed is common unpaired, {welch}, {several}"
    else:
        how = f"unpaired, for they have no seed in common, {welch} {several}"
    few = "An interval from n = 2 is wide and says little: two runs hardly tell how much runs vary."
    constant = "A difference that is the same for all seeds has no interval: it does not show how much runs vary."
    further = [few] if any(one.n == 2 and one.low is not None for one in found) else []
    return [f"{to}, {how}.", *further, *([constant] if any(one.constant for one in found) else [])]


def realised_ratios(comparison: Comparison) -> list[str]:
    """A line per ratio that the images do not have: too few of them, or counts cut to whole numbers."""
    lines = []
    for run in comparison.used:
        asked, counts = run.values.get("imbalance.ratio"), run.fingerprint.get("class_counts")
        if not (isinstance(asked, int | float) and isinstance(counts, list) and counts):
            continue
        if all(isinstance(count, int) and count > 0 for count in counts):
            realised = max(counts) / min(counts)
            if not realised / (1 + TOLERATED) <= asked <= realised / (1 - TOLERATED):
                dataset = next((run.settings[name] for name in protocol.SOURCE if name in run.settings), "the data")
                lines.append(
                    f"imbalance.ratio {asked} is realised as {realised:.4g} on {dataset}"
                    f" ({max(counts):,} to {min(counts):,} {comparison.task.counted} per class)."
                )
    return list(dict.fromkeys(lines))


def repetitions(comparison: Comparison) -> list[str]:
    """A line per run that is not used because another one has the same options and seed; many become one line."""
    places: dict[tuple[Path, Path], list[tuple[Run, Run]]] = {}
    for run, other in comparison.dropped:
        places.setdefault((run.directory.parent, other.directory.parent), []).append((run, other))
    lines = []
    for (place, other_place), pairs in places.items():
        newer = all(other.finished_at >= run.finished_at for run, other in pairs)
        age = "newer" if newer else "older"
        if len(pairs) > MOST_REPETITIONS:
            lines.append(
                f"{len(pairs)} runs of {relative_path(place)} repeat runs of {relative_path(other_place)}"
                f" (same options and seed); the {age} ones are used."
            )
            continue
        lines += [
            f"{relative_path(run.directory)} and {relative_path(other.directory)} have the same options and seed;"
            f" the {age} one, {relative_path(other.directory)}, is used."
            for run, other in pairs
        ]
    return lines


def without_classes(panels: Panels) -> list[str]:
    """Say if some of the runs drawn have no rows per class, for they are missing in the figures of these."""
    cells = [cell for panel in panels.values() for cell in panel.values()]
    lacking = [relative_path(run.directory) for cell in cells for run in cell.runs if not run.rows]
    if not lacking:
        return []
    where = f"{lacking[0]}{', ...' if len(lacking) > 1 else ''}"
    number = f"{len(lacking)} run{'s' if len(lacking) > 1 else ''}"
    return [f"No {PER_CLASS}, or a broken one, in {number} ({where}): not in the figures that show classes."]


def incomplete(runs: Sequence[Run]) -> list[str]:
    """A line per run that has no result, with the reason."""
    return [f"{relative_path(run.directory)} {run.status}: {run.reason}" for run in runs if not run.done]
