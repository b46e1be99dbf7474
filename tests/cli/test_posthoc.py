"""`longtail-eval posthoc=...`: what it adds to an evaluation, and when it asks the model again."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from longtail import runs
from longtail.training import posthoc

from ..conftest import Cli, metrics

Change = Callable[[Any], Any]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Count how often predictions are collected."""
    calls: list[Any] = []
    collect = posthoc.collect

    def counted(*given: Any) -> Any:
        calls.append(given)
        return collect(*given)

    monkeypatch.setattr(posthoc, "collect", counted)
    return calls


def test_the_predictions_are_kept_once_and_adjusted(cli: Cli, finished_run: Path, asked: list[Any]) -> None:
    before = metrics(finished_run)
    done = cli(f"run_dir={finished_run}", "posthoc=all", evaluation=True)
    assert done.code == 0, done.err
    assert "the same numbers as the run" in done.out
    assert "parameters are chosen on 100 images that were held out, 10 of each class" in done.out
    assert metrics(finished_run) == before
    evaluation = finished_run / "evaluation"
    plain, *adjusted = runs.read_lines(evaluation / "posthoc.csv")
    for name in ("accuracy", "accuracy_std", "accuracy_few", "ece", "nll"):
        assert plain[name] == pytest.approx(before["test"][name], rel=1e-5), name
    assert len(adjusted) == 6
    assert len(runs.read_lines(evaluation / "prior_shift.csv")) == 11
    with np.load(evaluation / "predictions.npz") as found:
        sizes = {name: found[name].shape for name in found.files if name != "digest"}
    assert sizes == {
        **{"test_logits": (500, 10), "test_targets": (500,), "test_features": (500, 8)},
        **{"held_out_logits": (100, 10), "held_out_targets": (100,), "held_out_features": (100, 8)},
        **{"class_means": (10, 8), "centre": (8,)},
    }

    again = cli(f"run_dir={finished_run}", "posthoc=[temperature,nearest_mean]", evaluation=True)
    assert "predictions as kept in run/evaluation/predictions.npz" in again.out
    assert len(asked) == 1
    named = ["as trained", "nearest_mean", "temperature"]
    assert [line["adjustment"] for line in runs.read_lines(evaluation / "posthoc.csv")] == named

    checkpoint = finished_run / "checkpoints" / "last.ckpt"
    saved = torch.load(checkpoint, weights_only=True)
    saved["state_dict"]["method.model.head.bias"] += torch.arange(10) / 10
    torch.save(saved, checkpoint)
    other = cli(f"run_dir={finished_run}", "posthoc=temperature", evaluation=True)
    assert len(asked) == 2
    assert "as kept" not in other.out
    accuracy = runs.read_lines(evaluation / "posthoc.csv")[0]["accuracy"]
    assert accuracy == pytest.approx(metrics(evaluation)["test"]["accuracy"])


def set_to(value: Any) -> Change:
    return lambda array: np.full_like(array, value)


def test_what_a_stranger_put_in_the_place_of_predictions_is_not_taken(
    cli: Cli, finished_run: Path, asked: list[Any]
) -> None:
    file = finished_run / "evaluation" / "predictions.npz"
    evaluate = partial(cli, f"run_dir={finished_run}", "posthoc=[temperature,nearest_mean]", evaluation=True)
    evaluate()
    table = (file.parent / "posthoc.csv").read_text()
    with np.load(file) as found:
        whole = {name: found[name] for name in found.files}
    changes: dict[str, Change] = {
        "test_logits": lambda array: np.eye(10, dtype=np.float32)[whole["test_targets"]],
        "held_out_logits": lambda array: array[:, :3],
        "held_out_targets": set_to(100),
        "test_targets": lambda array: array.astype(np.float32),
        "test_features": set_to(np.nan),
        "class_means": lambda array: np.array("text"),
        "further": lambda array: np.zeros(3, np.float32),
    }
    for name, change in changes.items():
        np.savez(file, **{**whole, name: change(whole.get(name, np.zeros(1)))})
        asked.clear()
        done = evaluate()
        assert (done.code, len(asked), done.err) == (0, 1, ""), name
        assert (file.parent / "posthoc.csv").read_text() == table, name
    assert "as kept" in evaluate().out


@pytest.mark.parametrize("given", ["nope", "[temperature,nope]"])
def test_an_adjustment_that_does_not_exist_is_one_line(given: str, cli: Cli, finished_run: Path) -> None:
    done = cli(f"run_dir={finished_run}", f"posthoc={given}", evaluation=True)
    assert done.error.startswith("posthoc=nope: must be all, or some of [logit_adjustment, tau_norm, ")
    assert not (finished_run / "evaluation").exists()


def test_several_heads_have_no_weights_to_normalise_and_several_runs_go_at_once(
    cli: Cli, quick: list[str], run_dir: Path, finished_run: Path, tmp_path: Path
) -> None:
    other = f"hydra.run.dir={tmp_path / 'experts'}"
    assert cli(other, *quick[1:], "method=experts", "reweight=none", "logger=none").code == 0
    done = cli(
        "-m", f"run_dir={tmp_path / 'experts'},{finished_run}", "posthoc=[tau_norm,nearest_mean]", evaluation=True
    )
    assert done.code == 0, done.err
    assert "parameters are chosen on the test set" in done.out
    assert done.out.count("tau_norm: left out") == 1
    for run, rows in ((tmp_path / "experts", 2), (finished_run, 4)):
        assert len(runs.read_lines(run / "evaluation" / "posthoc.csv")) == rows
