"""Every number and every flag of conf/ refuses what is none, by its full name; new files are tested too."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from longtail.cli.app import CONF
from longtail.errors import InputError
from longtail.sweeps import arguments, trials
from longtail.sweeps.arguments import fits, words
from longtail.sweeps.composition import parts

NO_PARTS = ("experiment", "hydra", "local", "logger", "wandb")
OPTIONS = [
    (path.parent.name, path.stem) for path in sorted(CONF.glob("*/*.yaml")) if path.parent.name not in NO_PARTS
]
NUMBERS_OR_NULL = {"image_size", "num_workers", "high", "classes_per_batch", "gradient_clip_val", "alpha", "prior"}
NUMBERS_OR_NULL |= {"threshold"}
NULLABLE = NUMBERS_OR_NULL | {
    *("fused", "deterministic", "enable_progress_bar", "enable_model_summary"),
    *("limit_train_batches", "limit_val_batches", "limit_test_batches", "check_val_every_n_epoch"),
    *("log_every_n_steps", "num_sanity_val_steps"),
}
NOT_FINITE: list[object] = [math.nan, math.inf, -math.inf]
Leaf = tuple[str, Callable[[object], Any], object]


@cache
def composed(primary: str, number: int, without: str) -> dict[str, Any]:
    """The parts of a config with the option of that number of each group, which saves composing one for each."""
    groups = {group: options(group) for group, _ in OPTIONS if (group.startswith("detect")) == (primary == "detect")}
    groups.pop(without, None)
    chosen = [f"{group}={names[number]}" for group, names in groups.items() if number < len(names)]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return parts(compose(primary, chosen))


def options(group: str) -> list[str]:
    return [option for other, option in OPTIONS if other == group]


def node(group: str, option: str) -> Any:
    without = "dataset" if group == "augment" else "augment"  # which a fork's dataset need not take
    made = composed("detect" if group.startswith("detect") else "train", options(group).index(option), without)
    return made["dataset"]["augment"] if group == "augment" else made[group]  # whose files set a node of the dataset


def leaves(name: str, given: Any, replace: Callable[[object], Any]) -> Iterator[Leaf]:
    """The settings of a node: name, a function that gives the whole node with another value for it, its value."""

    def within(key: object) -> Callable[[object], Any]:
        def other(value: object) -> Any:
            changed = copy.copy(given)
            changed[key] = value
            return replace(changed)

        return other

    if isinstance(given, dict):
        for key, value in given.items():
            if not key.startswith("_"):
                yield from leaves(f"{name}.{key}", value, within(key))
    elif isinstance(given, list):
        for i, value in enumerate(given):
            yield name, within(i), value
    else:
        yield name, replace, given


def wrong_values(key: str, value: object) -> Iterator[object]:
    yield {"a": 1}
    yield from NOT_FINITE
    yield from () if key in NULLABLE else (None,)
    yield from () if key == "devices" else ("text",)
    yield from () if key in ("devices", "image_size") else ([1],)
    yield from (1, 0.5) if isinstance(value, bool) else (True,)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_what_is_shipped_is_accepted(group: str, option: str) -> None:
    if (given := node(group, option)) is not None:
        arguments.check(group, given)
        trials.attempt(group, given)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_each_number_and_flag_refuses_each_wrong_kind(group: str, option: str) -> None:
    for name, replaced, value in leaves(group, node(group, option), lambda changed: changed):
        key = name.rpartition(".")[2]
        if isinstance(value, bool | int | float) or (value is None and key in NUMBERS_OR_NULL):
            for wrong in wrong_values(key, value):
                with pytest.raises(InputError) as refused:
                    arguments.check(group, replaced(wrong))
                line = str(refused.value)
                assert line.startswith(f"{name}="), line
                assert ": must be " in line
                assert "\n" not in line


class OfALab(nn.Module):
    """A part of a fork, with a hint of each kind."""

    def __init__(
        self,
        class_counts: Tensor,
        whole: int = 1,
        path: Path | None = None,
        either: Literal["a", 2] = "a",
        weights: Sequence[float] = (1.0,),
        table: Mapping[str, int] | None = None,
        pair: tuple[int, int] = (1, 2),
        part: nn.Module | None = None,
        unknown: Any = None,
    ) -> None:
        super().__init__()


@pytest.mark.parametrize(
    ("setting", "takes", "refuses", "said"),
    [
        ("whole", [0, -3], [1.0, True, "1"], "a whole number"),
        ("path", ["a/b", None], [3], "null"),
        ("either", ["a", 2], ["b", True, 2.0], "a or 2"),
        ("weights", [[], [1, 2.5]], [["a"], [math.nan], "abc", 1], "a list of numbers"),
        ("table", [{"a": 1}, None], [[1], "a"], "a mapping or null"),
        ("pair", [[3, 4]], [[3], [3, 4, 5], ["a", 1]], "a list of numbers"),
        ("part", [None, {"_target_": "torch.nn.ReLU"}], ["abc", 1, {"a": 1}], "what has a _target_ or null"),
        ("unknown", [None, 1, "abc", [1], math.nan], [], ""),
    ],
)
def test_the_hints_of_a_part_of_a_fork_are_its_types(
    setting: str, takes: list[object], refuses: list[object], said: str
) -> None:
    target = {"_target_": f"{__name__}.OfALab"}
    for value in takes:
        arguments.check("loss", target | {setting: value})
    for value in refuses:
        with pytest.raises(InputError, match=rf"^loss\.{setting}=.*: must be .*{said}"):
            arguments.check("loss", target | {setting: value})


def test_an_entry_of_a_mapping_is_named() -> None:
    with pytest.raises(InputError, match=r"^loss\.table\.a=b: must be a whole number$"):
        arguments.check("loss", {"_target_": f"{__name__}.OfALab", "table": {"a": "b"}})


def test_parts_within_a_part_and_in_lists_are_checked_by_their_own_hints() -> None:
    focal = {"_target_": "longtail.losses.Focal", "gamma": "high"}
    with pytest.raises(InputError, match=r"^sampler\.first\.gamma=high: must be a finite number$"):
        arguments.check("sampler", {"_target_": "longtail.samplers.Deferred", "first": focal})
    with pytest.raises(InputError, match=r"^callbacks\.several\[1\]\.gamma=high: must be a finite number$"):
        arguments.check("callbacks", {"several": [None, focal]})


def test_a_setting_that_a_part_does_not_have_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"^loss\.gama=2: no such setting; did you mean gamma\?$"):
        arguments.check("loss", {"_target_": "longtail.losses.Focal", "gama": 2})
    arguments.check("model", {"_target_": "longtail.models.TorchvisionModel", "name": "vit_b_16", "image_size": 32})


@pytest.mark.parametrize("target", ["nowhere.Nothing", "longtail.losses.Nothing", "builtins.dict", 3])
def test_what_has_no_signature_to_go_by_is_left_alone(target: object) -> None:
    arguments.check("loss", {"_target_": target, "gamma": "high"})


def test_hints_in_words() -> None:
    assert words(float | int | None) == "a finite number or null"
    assert words(bool | None) == "true, false or null"
    assert fits(3, float)
    assert not fits(3.0, int)
