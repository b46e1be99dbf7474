"""What must agree for runs to stand in one table: everything but the options compared and the seed."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from longtail.runs import GROUPS, Run, flatten, relative_path

# Settings that change no result; compared only where a sweep varies them. The precision computed in, also where
# `auto` was asked for, is a fact of the fingerprint.
INDIFFERENT = (
    r"experiment(/.+)?|name|data_dir|compile|eval_batch_size"
    r"|(dataset|detection_data)\.(data_dir|num_workers|memory_limit|verify)"
    r"|trainer\.(accelerator|devices|strategy|num_nodes|precision|log_every_n_steps|enable_\w+|num_sanity_val_steps"
    r"|use_distributed_sampler|max_epochs)"
)
# The settings, by the first part of their name, that may change a fact of the fingerprint. Of other facts it is the
# setting of the same name.
SOURCE = {"dataset", "detection_data"}
DATA = SOURCE | {"imbalance", "validation_per_class"}
LENGTH = DATA | {"sampler", "batch_size", "epochs", "trainer", "method"}
EXPLAINED_BY = {
    "train_indices_sha256": DATA | {"subset_seed"},
    "train_boxes_sha256": DATA | {"subset_seed"},
    "class_counts": DATA,
    "parameters": SOURCE | {"model", "method", "detector"},
    "anchors": SOURCE | {"detector"},
    "steps": LENGTH,
    "images_seen": LENGTH,
    "boxes_seen": LENGTH,
    "augmentation": SOURCE,
    "precision": {"trainer"},
    "groups": SOURCE,
    "image_shape": SOURCE,
    "streamed": SOURCE,
}
LONGEST = 60  # letters of a value in a list of differences


@dataclass(frozen=True)
class Difference:
    """Something that runs differ in beside the options compared and the seed.

    Attributes:
        what: a setting or a fact of the fingerprint.
        values: each value as text, with the runs that have it; the most frequent first.
    """

    what: str
    values: Sequence[tuple[str, Sequence[Run]]]

    def __str__(self) -> str:
        """`what: value in 3 runs (a, ...), other value in 1 run (b)`."""
        parts = []
        for value, runs in self.values:
            number = f"{len(runs)} run{'s' if len(runs) > 1 else ''}"
            where = f"{relative_path(runs[0].directory)}{', ...' if len(runs) > 1 else ''}"
            parts.append(f"{_cut(value)} in {number} ({where})")
        return f"{self.what}: {'; '.join(parts)}"

    @property
    def unusual(self) -> set[Path]:
        """The directories of the runs that do not have the most frequent value."""
        return {run.directory for _, runs in self.values[1:] for run in runs}


def varied(runs: Sequence[Run]) -> list[str]:
    """The settings, but the seed, in which the runs differ: groups first, then as in the config."""
    names = dict.fromkeys(name for run in runs for name in run.settings if name != "seed")
    found = [name for name in names if len({run.settings.get(name) for run in runs}) > 1]
    return sorted(found, key=lambda name: GROUPS.index(root(name)) if root(name) in GROUPS else len(GROUPS))


def indifferent(name: str, runs: Sequence[Run]) -> bool:
    """Whether a setting in which the runs differ changes no result.

    The same folder of images in another place is taken for the same images.
    """
    if name in ("dataset.root", "detection_data.root"):
        return len({Path(run.settings[name]).name for run in runs if name in run.settings}) == 1
    return re.fullmatch(INDIFFERENT, name) is not None


def differences(runs: Sequence[Run], compared: Collection[str]) -> list[Difference]:
    """What runs differ in, settings and facts of the fingerprint, beside the seed and the settings compared.

    A fact that a setting compared may change, as another ratio the class counts, is held against the runs in which
    that setting is the same. Of a setting and a fact of the same name the setting alone is told.
    """
    found = [
        _difference(name, [(run.settings.get(name, "not set"), run) for run in runs])
        for name in varied(runs)
        if name not in compared and not indifferent(name, runs)
    ]
    told = {"seed", *(difference.what for difference in found)}
    facts = {run.directory: fingerprint(run) for run in runs}
    for name in dict.fromkeys(name for known in facts.values() for name in known if name not in told):
        roots = EXPLAINED_BY.get(root(name), {root(name)})
        explaining = [setting for setting in compared if root(setting) in roots]
        alike: dict[tuple[str | None, ...], list[tuple[str, Run]]] = {}
        for run in runs:
            same = tuple(run.settings.get(setting) for setting in explaining)
            alike.setdefault(same, []).append((facts[run.directory].get(name, "not set"), run))
        found += [_difference(name, members) for members in alike.values()]
    return [difference for difference in found if len(difference.values) > 1]


def fingerprint(run: Run) -> dict[str, str]:
    """The facts of a run as text, flat: `versions.torch`; what is null is not known."""
    return {name: "not known" if value is None else str(value) for name, value in flatten(run.fingerprint)}


def root(name: str) -> str:
    """The first part of a setting's name, most often its config group."""
    return name.partition(".")[0]


def _difference(what: str, values: Sequence[tuple[str, Run]]) -> Difference:
    groups: dict[str, list[Run]] = {}
    for value, run in values:
        groups.setdefault(value, []).append(run)
    return Difference(what, sorted(groups.items(), key=lambda item: -len(item[1])))


def _cut(text: str) -> str:
    """The beginning and the end, for the class counts of two long tails may differ in their last ones alone."""
    half = (LONGEST - 3) // 2
    return text if len(text) <= LONGEST else f"{text[:half]}...{text[-half:]}"
