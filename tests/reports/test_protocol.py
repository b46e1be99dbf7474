from pathlib import Path
from typing import Any

import pytest

from longtail import runs
from longtail.reports import protocol
from longtail.reports.protocol import Difference, differences

from ..conftest import write_run, write_sweep

A = "a" * 64
B = "b" * 64


def two(tmp_path: Path, *overrides: str, facts: dict[str, Any] | None = None) -> list[runs.Run]:
    """Two runs, the second of which has further overrides and facts."""
    return [runs.read(write_run(tmp_path / "a")), runs.read(write_run(tmp_path / "b", *overrides, facts=facts))]


def names(found: list[Difference]) -> list[str]:
    return [difference.what for difference in found]


def test_runs_alike_do_not_differ(tmp_path: Path) -> None:
    assert differences(two(tmp_path, "seed=7", facts={"seed": 7}), []) == []


@pytest.mark.parametrize(
    "fact",
    [
        {"train_indices_sha256": B},
        {"class_counts": [500, 100, 20, 3]},
        {"parameters": 1},
        {"steps": 1},
        {"images_seen": 1},
        {"augmentation.pad": 1},
        {"reduction": "weighted_mean"},
        {"selection": "best_validation"},
        {"precision": "bf16-mixed"},
        {"versions.torch": "2.14.0"},
        {"git_revision": None},
        {"a_fact_of_a_fork": 1},
    ],
    ids=lambda fact: next(iter(fact)),
)
def test_every_fact_counts(tmp_path: Path, fact: dict[str, Any]) -> None:
    [(name, value)] = fact.items()
    group, _, key = name.partition(".")
    nested = {"_target_": "longtail.augment.PadCropFlip"} if group == "augmentation" else {"longtail": "0.1.0"}
    assert names(differences(two(tmp_path, facts={group: {**nested, key: value} if key else value}), [])) == [name]


@pytest.mark.parametrize(
    "override",
    [
        "epochs=20",
        "optimizer=adam",
        "optimizer.lr=0.2",
        "trainer.gradient_clip_val=1",
        "trainer.check_val_every_n_epoch=2",
    ],
)
def test_a_setting_that_is_not_compared_counts(tmp_path: Path, override: str) -> None:
    found = two(tmp_path, override)
    assert override.partition("=")[0] in names(differences(found, []))
    assert override.partition("=")[0] not in names(differences(found, [override.partition("=")[0]]))


@pytest.mark.parametrize(
    "override",
    [
        "name=x",
        "data_dir=/x",
        "compile=default",
        "eval_batch_size=1",
        "trainer.accelerator=gpu",
        "dataset.num_workers=2",
    ],
)
def test_a_setting_that_changes_no_result_does_not(tmp_path: Path, override: str) -> None:
    assert differences(two(tmp_path, override), []) == []


def test_a_fact_of_the_name_of_a_setting_is_told_once(tmp_path: Path) -> None:
    assert names(differences(two(tmp_path, "reduction=weighted_mean"), [])) == ["reduction"]


def test_a_folder_of_images_may_lie_elsewhere_but_not_be_another(tmp_path: Path) -> None:
    places = ("/one/cifar", "/two/cifar", "/one/mnist")
    found = [runs.read(write_run(tmp_path / str(i), f"dataset.root={root}")) for i, root in enumerate(places)]
    assert differences(found[:2], []) == []
    assert names(differences(found, [])) == ["dataset.root"]


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("imbalance.ratio=10", {"train_indices_sha256", "class_counts", "steps", "images_seen"}),
        ("sampler=uniform_minibatch", {"steps", "images_seen"}),
        ("model=resnet20", {"parameters"}),
        ("trainer.precision=bf16-mixed", {"precision"}),
        ("epochs=20", {"steps", "images_seen"}),
        ("reduction=weighted_mean", {"reduction"}),
    ],
)
def test_what_an_option_must_change_is_no_difference(tmp_path: Path, override: str, changed: set[str]) -> None:
    found = two(tmp_path, override)
    compared = [name for name in protocol.varied(found) if name.startswith(override.partition("=")[0].split(".")[0])]
    assert differences(found, compared) == []
    assert changed <= set(names(differences(found, [])))  # that it has changed


def test_an_option_explains_no_fact_that_it_cannot_change(tmp_path: Path) -> None:
    found = two(tmp_path, "loss=focal", facts={"steps": 1})
    assert names(differences(found, protocol.varied(found))) == ["steps"]


def test_runs_with_the_same_ratio_must_have_the_same_images(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", "imbalance.ratio=10,50", "reweight=none,class_balanced")
    odd = write_run(tmp_path / "odd", "imbalance.ratio=10", "loss=focal", facts={"train_indices_sha256": B})
    found = [runs.read(path) for path in (*runs.find(sweep), odd)]
    [difference] = differences(found, protocol.varied(found))
    assert difference.what == "train_indices_sha256"
    assert [len(members) for _, members in difference.values] == [2, 1]
    assert difference.unusual == {odd}


def test_a_difference_says_which_value_is_how_frequent_and_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, epochs in (("a", 20), ("b", 10), ("c", 10)):
        write_run(tmp_path / name, f"epochs={epochs}")
    difference = differences([runs.read(tmp_path / name) for name in "abc"], [])[0]
    assert str(difference) == "epochs: 10 in 2 runs (b, ...); 20 in 1 run (a)"


def test_long_values_are_cut_where_they_are_alike(tmp_path: Path) -> None:
    counts = list(range(1000, 900, -1))
    found = two(tmp_path, facts={"class_counts": counts})
    longer = runs.read(write_run(tmp_path / "c", facts={"class_counts": [*counts[:-1], 7]}))
    [difference] = differences([found[1], longer], [])
    shown = [part.split(" in ")[0] for part in str(difference).removeprefix("class_counts: ").split("; ")]
    assert len(set(shown)) == 2
    assert all(len(text) <= 60 for text in shown)


def test_a_fact_that_one_run_lacks_is_a_difference(tmp_path: Path) -> None:
    [difference] = differences(two(tmp_path, facts={"selection": "last"}), [])
    assert [value for value, _ in difference.values] == ["not set", "last"]
    [difference] = differences(
        [runs.read(write_run(tmp_path / n, facts={"git_revision": r})) for n, r in (("c", None), ("d", A))], []
    )
    assert [value for value, _ in difference.values] == ["not known", A]


def test_what_varies_is_in_the_order_of_the_groups(tmp_path: Path) -> None:
    found = two(tmp_path, "epochs=20", "seed=1", "reweight=class_balanced", "imbalance=none")
    varied = [name for name in protocol.varied(found) if "_target_" not in name]
    assert varied == ["imbalance", "imbalance.ratio", "reweight", "reweight.beta", "epochs"]
