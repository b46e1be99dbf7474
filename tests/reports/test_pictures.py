from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from longtail import figures, runs
from longtail.reports.comparison import Comparison, compare
from longtail.reports.pictures import MOST_CONDITIONS, MOST_METHODS, Picture, left_out, panels_of, pictures

from ..conftest import write_run, write_sweep

PER_CONDITION = ["classes", "by_count", "weights", "boundary", "confusion"]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """What each function that draws was given, by its name; nothing is drawn."""
    calls: dict[str, list[Any]] = {}
    for name in ("methods", "by_class", "classes", "by_count", "weights", "confusions", "boundary", "focal", "along"):
        monkeypatch.setattr(
            figures, name, lambda *arguments, name=name, **score: calls.setdefault(name, []).append(arguments)
        )
    return calls


def read(directory: Path) -> Comparison:
    return compare([runs.read(path) for path in runs.find(directory)])


def drawn(compared: Comparison, **baseline: str) -> list[Picture]:
    found = list(pictures(compared, baseline, panels_of(compared, baseline)))
    for picture in found:
        picture.draw()
    return found


def names(found: list[Picture]) -> list[str]:
    return [picture.name for picture in found]


@pytest.mark.usefixtures("given")
def test_one_condition_has_each_figure_once(tmp_path: Path) -> None:
    compared = read(write_sweep(tmp_path / "sweep", "reweight=none,class_balanced", "seed=0,1"))
    found = drawn(compared)
    assert names(found) == ["methods", "by_class", *PER_CONDITION]
    assert all(picture.caption.endswith(".") for picture in found)


@pytest.mark.usefixtures("given")
def test_the_focal_loss_is_drawn_where_a_run_has_it(tmp_path: Path) -> None:
    assert names(drawn(read(write_sweep(tmp_path / "sweep", "loss=focal", "loss.gamma=1,2"))))[-1] == "focal"


@pytest.mark.usefixtures("given")
def test_every_condition_has_figures_of_a_name_of_their_own(tmp_path: Path) -> None:
    for job, root in enumerate(("a b", "a_b", "x" * 300)):
        write_run(tmp_path / str(job), f"dataset.root={root}")
    found = drawn(read(tmp_path))
    assert len(found) == 2 + 3 * len(PER_CONDITION)
    assert len(set(names(found))) == len(found)
    assert all(len(name) < 120 and name.replace("-", "_").isidentifier() for name in names(found))


def test_methods_are_drawn_by_condition(tmp_path: Path, given: dict[str, list[Any]]) -> None:
    compared = read(write_sweep(tmp_path / "sweep", "imbalance.ratio=10,50", "loss=softmax,focal", "seed=0,1"))
    drawn(compared)
    [[panels]] = given["methods"]
    assert {condition: list(methods) for condition, methods in panels.items()} == {
        "ratio 10": ["softmax", "focal"], "ratio 50": ["softmax", "focal"],
    }  # fmt: skip
    scores, cell = panels["ratio 50"]["focal"], compared.cells[3]
    assert scores.score == [run.test["accuracy"] for run in cell.runs]
    assert scores.std == [run.test["accuracy_std"] for run in cell.runs]
    assert scores.per_class.tolist() == cell.per_class()
    [[classes]] = given["by_class"]
    assert classes["ratio 50"]["focal"] == cell.per_class()


def test_the_std_over_classes_in_a_figure_is_that_of_the_table(tmp_path: Path) -> None:
    for seed, spread in enumerate((0.1, 0.2)):
        write_run(tmp_path / str(seed), f"seed={seed}", test={"accuracy_std": spread})
    compared = read(tmp_path)
    found = {picture.name: picture for picture in pictures(compared, {}, panels_of(compared, {}))}
    drawn_classes = found["classes"].draw()
    assert isinstance(drawn_classes, Figure)
    assert drawn_classes.axes[1].get_title() == "accuracy, std over classes 0.150"
    assert "that of each run, mean over the seeds." in found["classes"].caption


def test_one_run_of_a_condition_is_the_baseline(tmp_path: Path, given: dict[str, list[Any]]) -> None:
    compared = read(write_sweep(tmp_path / "sweep", "reweight=class_balanced,none"))
    found = drawn(compared, reweight="none")
    [(class_names, counts, accuracy)] = given["classes"]
    assert accuracy == compared.cells[1].per_class()
    assert class_names == [f"class {c}" for c in range(4)]
    assert counts == compared.used[0].fingerprint["class_counts"]
    assert found[2].caption == "Training images and accuracy per class: none."
    drawn(compared)
    assert given["classes"][1][2] == compared.cells[0].per_class()


def test_a_weighting_is_drawn_once(tmp_path: Path, given: dict[str, list[Any]]) -> None:
    compared = read(write_sweep(tmp_path / "sweep", "loss=softmax,focal", "reweight=none,class_balanced"))
    drawn(compared)
    [(_, weights)] = given["weights"]
    assert list(weights) == ["none", "class_balanced"]
    assert weights["none"] == [row[4] for row in compared.cells[0].rows]


def test_a_weighting_has_its_settings_where_they_vary(tmp_path: Path, given: dict[str, list[Any]]) -> None:
    drawn(read(write_sweep(tmp_path / "sweep", "reweight=class_balanced", "reweight.beta=0.9,0.99")))
    drawn(read(write_run(tmp_path / "run", "reweight=class_balanced")))
    assert [list(weights) for _, weights in given["weights"]] == [["beta 0.9", "beta 0.99"], ["class_balanced"]]


def test_the_boundary_has_the_weights_that_the_runs_recorded(tmp_path: Path, given: dict[str, list[Any]]) -> None:
    compared = read(write_sweep(tmp_path / "sweep", "reweight=none,class_balanced", "imbalance.ratio=50"))
    drawn(compared)
    [(pairs, counts)] = given["boundary"]
    assert pairs == dict.fromkeys(("none", "class_balanced"), (0.5, 1.5))
    assert counts == (5000, 100)


def test_of_many_conditions_and_methods_some_are_drawn(tmp_path: Path, given: dict[str, list[Any]]) -> None:
    ratios, gammas = range(10, 10 + MOST_CONDITIONS + 1), range(MOST_METHODS + 4)
    for ratio in ratios:
        for gamma in gammas:
            path, options = tmp_path / f"{ratio}-{gamma}", (f"imbalance.ratio={ratio}", f"loss.gamma={gamma}")
            write_run(path, "loss=focal", *options, accuracy=0.5 + gamma / 100)
    compared = read(tmp_path)
    drawn(compared, **{"loss.gamma": "1"})
    [[panels]] = given["methods"]
    assert list(panels) == [f"ratio {ratio}" for ratio in ratios[:-1]]
    best = gammas[-MOST_METHODS + 1 :]
    assert set(panels["ratio 10"]) == {"gamma 1", *(f"gamma {gamma}" for gamma in best)}
    assert left_out(compared, panels_of(compared, {})) == [
        "The figures show 4 of 5 conditions; the tables have all.",
        "The figures show 16 of 20 methods, the best and the baseline; the tables have all.",
    ]


def test_confusions_are_those_of_all_seeds_that_left_a_fitting_one(
    tmp_path: Path, given: dict[str, list[Any]]
) -> None:
    sweep = write_sweep(tmp_path / "sweep", "seed=0,1,2,3", num_classes=3)
    (sweep / "1/confusion.csv").unlink()
    (sweep / "2/confusion.csv").write_text("1,2\n3,4\n")
    drawn(read(sweep))
    [(_, confusions)] = given["confusions"]
    [total] = confusions.values()
    assert np.array_equal(total, 2 * np.eye(3, dtype=int))


def test_the_first_run_may_lack_its_classes(tmp_path: Path, given: dict[str, list[Any]]) -> None:
    sweep = write_sweep(tmp_path / "sweep", "loss=softmax,focal", "seed=0,1")
    (sweep / "0/per_class.csv").unlink()
    (sweep / "2/per_class.csv").unlink()
    (sweep / "3/per_class.csv").unlink()
    compared = read(sweep)
    drawn(compared, loss="focal")
    [(class_names, _, accuracy)] = given["classes"]
    assert len(class_names) == 4
    assert accuracy == [row[5] for row in compared.used[1].rows]
    [[panels]] = given["methods"]
    assert list(panels[""]) == ["softmax"]


@pytest.mark.usefixtures("given")
def test_failures_alone_have_no_panel(tmp_path: Path) -> None:
    sweep = write_sweep(tmp_path / "sweep", "imbalance.ratio=10,50")
    (sweep / "1/metrics.json").unlink()
    assert names(drawn(read(sweep))) == ["methods", "by_class", *PER_CONDITION]


def test_mixed_runs_of_other_images_are_left_out_where_that_matters(
    tmp_path: Path, given: dict[str, list[Any]]
) -> None:
    write_run(tmp_path / "0")
    write_run(tmp_path / "1", "loss=focal")
    write_run(tmp_path / "2", "reweight=class_balanced", num_classes=2)
    found = drawn(read(tmp_path))
    [[panels]] = given["methods"]
    [(_, by_count)], [(_, weights)], [(_, confusions)] = (
        given[name] for name in ("by_count", "weights", "confusions")
    )
    assert list(panels[""]) == ["softmax, none", "focal, none", "softmax, class_balanced"]
    assert list(by_count) == list(confusions) == ["softmax, none", "focal, none"]
    assert list(weights) == ["none"]
    assert found[2].caption.endswith(" Not in the next figures, for other training images: softmax, class_balanced.")


def test_a_baseline_of_another_condition_is_not_shown_here(tmp_path: Path, given: dict[str, list[Any]]) -> None:
    compared = read(write_sweep(tmp_path / "sweep", "imbalance=none,exponential"))
    drawn(compared, imbalance="none")
    assert [counts for _, counts, _ in given["classes"]] == [run.fingerprint["class_counts"] for run in compared.used]


def test_a_number_with_several_values_has_a_figure_over_it(tmp_path: Path, given: dict[str, list[Any]]) -> None:
    betas = "reweight=class_balanced", "reweight.beta=0.9,0.99,0.999", "loss=softmax,focal", "seed=0,1"
    compared = read(write_sweep(tmp_path / "sweep", *betas))
    found = drawn(compared)
    assert "along-reweight_beta" in names(found)
    [[name, panels]] = given["along"]
    assert name == "reweight.beta"
    assert {method: list(values) for method, values in panels[""].items()} == {
        "softmax": ["0.9", "0.99", "0.999"], "focal": ["0.9", "0.99", "0.999"],
    }  # fmt: skip
    [cell] = [cell for cell in compared.cells if cell.has({"loss": "focal", "reweight.beta": "0.99"})]
    assert panels[""]["focal"]["0.99"].score == cell.values("accuracy")


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize("swept", ["reweight.beta=0.9,0.99", "loss=softmax,focal,sigmoid"])
def test_two_values_or_names_have_none(tmp_path: Path, swept: str) -> None:
    found = drawn(read(write_sweep(tmp_path / "sweep", "reweight=class_balanced", swept)))
    assert not [name for name in names(found) if name.startswith("along")]
