"""What is kept of a model's predictions, which prior it has learned, and the lines of the tables."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from longtail import runs
from longtail.losses import Softmax
from longtail.methods import Criterion, Method, Stage
from longtail.metrics import OLTR
from longtail.settings import ADJUSTMENTS
from longtail.training.posthoc import LINES, Adjustments, learned_prior, listening

COUNTS = torch.tensor([60, 30, 10])


def training(
    head: nn.Module | None = None, weights: Tensor | None = None, loss: bool = False, method: bool = False, **own: Any
) -> Any:
    """Return what is looked at of a run of three classes, of which some parts may balance the classes."""
    criterion = Criterion(Softmax(COUNTS), torch.ones(3) if weights is None else weights)
    criterion.loss.balances_classes = loss  # type: ignore[assignment]
    model = nn.Sequential()
    model.head = head or nn.Linear(4, 3)
    made = Method(model, criterion, COUNTS)
    made.balances_classes = method
    made.stages = lambda: own.get("stages", [Stage()])  # type: ignore[method-assign]
    data = SimpleNamespace(class_counts=COUNTS, num_classes=3, sampler=SimpleNamespace(balances_classes=False))
    data.begin = lambda sampler: setattr(data, "sampler", sampler or data.sampler)
    evaluation = SimpleNamespace(task=runs.CLASSIFICATION, shots=OLTR)
    return SimpleNamespace(module=SimpleNamespace(method=made, evaluation=evaluation), data=data)


balanced = SimpleNamespace(balances_classes=True)


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (training(), [0.6, 0.3, 0.1]),
        (training(loss=True), [1 / 3] * 3),
        (training(method=True), [1 / 3] * 3),
        (training(weights=torch.tensor([1.0, 2.0, 6.0])), [1 / 3] * 3),
        (training(weights=torch.tensor([1.0, 1.0, 3.0])), [0.5, 0.25, 0.25]),
        (training(stages=[Stage(0.8), Stage(0.2, sampler=balanced)]), [1 / 3] * 3),  # type: ignore[arg-type]
        (training(stages=[Stage(0.8, sampler=balanced), Stage(0.2)]), [0.6, 0.3, 0.1]),  # type: ignore[arg-type]
    ],
)
def test_the_prior_is_that_which_the_last_stage_has_shown(run: Any, expected: list[float]) -> None:
    prior = learned_prior(run)
    assert (prior / prior.sum()).tolist() == pytest.approx(expected)


def kept(head: nn.Linear, held_out: bool = True, images: int = 30, seed: int = 0) -> dict[str, Tensor]:
    """Return predictions of a linear head that is sure of the first class, as `collect` does."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        for split in ("test", "held_out") if held_out else ("test",):
            features = torch.randn(3 * images, 4, generator=generator)
            targets = torch.arange(3).repeat(images)
            features[torch.arange(3 * images), targets] += 2
            found |= {f"{split}_features": features, f"{split}_targets": targets, f"{split}_logits": head(features)}
    return found | {"class_means": torch.eye(3, 4), "centre": torch.zeros(4)}


def biased() -> nn.Linear:
    head = nn.Linear(4, 3)
    with torch.no_grad():
        head.weight.copy_(2 * torch.eye(3, 4))
        head.bias.copy_(4 * COUNTS.log())
    return head


def of(lines: list[Any], name: str) -> list[Any]:
    return [line for line in lines if line["adjustment"] == name]


def test_a_line_for_each_adjustment_fixed_and_chosen() -> None:
    head = biased()
    made = Adjustments(kept(head), training(head))
    lines = made.lines(ADJUSTMENTS)
    said = [(line["adjustment"], line["chosen_on"]) for line in lines]
    assert said == [
        ("as trained", ""),
        *(("logit_adjustment", on) for on in ("fixed", "held-out images")),
        *(("tau_norm", on) for on in ("fixed", "held-out images")),
        ("nearest_mean", ""),
        ("temperature", "held-out images"),
    ]
    [plain], [fixed, chosen] = of(lines, "as trained"), of(lines, "logit_adjustment")
    assert fixed["parameter"] == 1 < chosen["parameter"] <= 2
    assert plain["accuracy"] < fixed["accuracy"] < chosen["accuracy"]
    [scaled] = of(lines, "temperature")
    assert scaled["accuracy"] == plain["accuracy"]
    assert scaled["nll"] < plain["nll"]
    assert of(lines, "nearest_mean")[0]["ece"] != of(lines, "nearest_mean")[0]["ece"]
    assert made.notes == ["parameters are chosen on 90 images that were held out, 30 of each class"]


def test_without_held_out_images_it_says_that_the_test_set_chose() -> None:
    head = biased()
    made = Adjustments(kept(head, held_out=False), training(head))
    lines = made.lines(["logit_adjustment", "temperature"])
    assert [line["chosen_on"] for line in lines] == ["", "fixed", "the test set", "the test set"]
    best = max(lines, key=lambda line: line["accuracy"])
    assert of(lines, "logit_adjustment")[1]["accuracy"] == best["accuracy"]
    assert made.notes == ["parameters are chosen on the test set"]


def test_tau_normalisation_takes_a_linear_head_that_makes_the_predictions() -> None:
    head = biased()
    for run, found in (
        (training(nn.Sequential(head)), kept(head)),
        (training(head), kept(head) | {"test_logits": 2 * kept(head)["test_logits"]}),
        (training(head), {name: tensor for name, tensor in kept(head).items() if "features" not in name}),
    ):
        made = Adjustments(found, run)
        assert [line["adjustment"] for line in made.lines(["tau_norm"])] == ["as trained"]
        assert "tau_norm: left out, the predictions are not those of one linear head" in made.notes[-1]
    assert [line["adjustment"] for line in made.lines(["nearest_mean"])] == ["as trained"]


def test_who_knows_the_prior_of_the_test_is_right_more_often() -> None:
    head = biased()
    head.bias.data = COUNTS.log().float()
    made = Adjustments(kept(head, images=100), training(head))
    lines: list[Any] = made.prior_shift()
    assert [line["test_prior"] for line in lines] == [*["forward"] * 5, "uniform", *["backward"] * 5]
    assert [line["ratio"] for line in lines] == [50, 25, 10, 5, 2, 1, 2, 5, 10, 25, 50]
    assert lines[0]["images"] == lines[-1]["images"] == 100 + 14 + 2
    assert lines[5]["images"] == 300
    for line in lines[5:]:
        assert line["accuracy_known_prior"] > line["accuracy"]
    small = Adjustments(kept(head, images=3), training(head))
    assert [line["ratio"] for line in small.prior_shift()] == [2, 1, 2]
    assert "prior_shift: forward 50 left out, there are too few test images" in small.notes


def test_each_name_has_its_lines() -> None:
    assert {*LINES, "prior_shift"} == {*ADJUSTMENTS}


def test_what_a_module_is_given_is_heard() -> None:
    head, features = nn.Linear(4, 3), torch.randn(2, 4)
    with listening(head) as heard:
        head(features)
    head(features)
    assert len(heard) == 1
    assert heard[0] is features
