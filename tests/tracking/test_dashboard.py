"""The saved view: which panels, of which keys of a run."""

import re
from typing import Any

import pytest

from longtail.runs import GROUPS, Task, read_per_class
from longtail.tracking.dashboard import SHOWN, Dashboard

from .conftest import Trained


def sections(class_names: list[str], **given: Any) -> dict[str, list[dict[str, Any]]]:
    """The panels of each section, as the server is sent them."""
    view = Dashboard("p", class_names=class_names, **given).workspace("lab")
    spec = view._to_model().spec.model_dump(by_alias=True, exclude_none=True)
    found = spec["section"]["panelBankConfig"]["sections"]
    return {section["name"]: section["panels"] for section in found}


def strings(value: Any) -> set[str]:
    """All strings in a specification."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return set().union(*map(strings, value))
    return {value} if isinstance(value, str) else set()


def test_the_view_has_a_section_for_each_question() -> None:
    found = sections(["cat", "dog"])
    assert list(found) == ["accuracy", "classes", "train", "sampler", "groups", "media"]
    scatter = found["accuracy"][0]
    assert scatter["viewType"] == "Scatter Plot"
    assert scatter["config"]["xAxis"] == "summary:test/accuracy"
    assert scatter["config"]["yAxis"] == "summary:test/accuracy_std"
    grouped = {panel["config"].get("groupBy") for panel in found["accuracy"]}
    assert {"options.value.sampler", "options.value.loss", "options.value.reweight"} <= grouped
    accessors = [column["accessor"] for column in found["groups"][0]["config"]["columns"]]
    assert accessors == [
        *(f"config:options.value.{group}" for group in SHOWN["images"].groups),
        "summary:test/accuracy",
        "summary:test/accuracy_std",
    ]


@pytest.mark.parametrize("classes", [3, 120])
def test_each_class_has_a_bar_by_its_safe_name(classes: int) -> None:
    panels = [p for p in sections([f"{c} owl" for c in range(classes)])["classes"] if p["viewType"] == "Bar Chart"]
    bars = [panel["config"]["metrics"] for panel in panels]
    assert [key for panel in bars for key in panel] == [f"test/class/_{c}_owl" for c in range(classes)]
    assert max(map(len, bars)) <= 50


@pytest.mark.parametrize("classes", [0, 201])
def test_no_names_or_too_many_are_a_pattern(classes: int) -> None:
    panels = sections([f"c{c}" for c in range(classes)])["classes"]
    assert [panel["config"]["metricRegex"] for panel in panels] == ["test/class/.*", "val/class/.*"]


def test_another_task_has_its_own_metrics() -> None:
    found = sections(["cat"], task=Task("mAP", "AP"))
    assert next(iter(found)) == "mAP"
    assert not any(re.search("accuracy", text) for text in strings(list(found.values())))
    assert {"summary:test/mAP", "test/mAP_few", "val/mAP_min"} <= strings(list(found.values()))


def test_a_detector_has_its_own_groups_curves_and_figures() -> None:
    found = sections(["cat"], task=Task("mAP", "AP", counted="boxes"))
    assert {"train/easy_negatives", "train/classification_to_box"} <= strings(found["train"])
    assert "val/loss" not in strings(found["train"])
    assert {"figures/examples", "figures/precision_recall"} <= strings(found["media"])
    assert "options.value.detection_loss" in {panel["config"].get("groupBy") for panel in found["mAP"]}
    assert "test mAP by training boxes" in strings(found["groups"])


def test_methods_are_compared_as_losses_are() -> None:
    assert "options.value.method" in {panel["config"].get("groupBy") for panel in sections([])["accuracy"]}


def test_evaluations_have_a_view_with_their_tables() -> None:
    found = sections(["cat"], evaluations=True)
    assert list(found) == ["without further training", "accuracy", "classes", "groups", "media"]
    assert {"test/posthoc", "test/prior_shift"} <= strings(found["without further training"])
    assert not {"test/posthoc", "test/prior_shift"} & strings(list(sections(["cat"]).values()))
    views = [Dashboard("p", evaluations=evaluations).workspace("lab") for evaluations in (True, False)]
    filters = [str(view.runset_settings.filters) for view in views]
    assert filters == ["Metric(\"JobType\") == 'eval'", "Metric(\"JobType\") != 'eval'"]


def test_every_group_is_shown_in_the_order_of_all() -> None:
    for shown in SHOWN.values():
        assert [group for group in GROUPS if group in shown.groups] == list(shown.groups)
        assert set(shown.compared) <= set(shown.groups)
    assert set().union(*(shown.groups for shown in SHOWN.values())) == set(GROUPS)


def test_a_run_sends_every_key_that_a_panel_shows(online_run: Trained) -> None:
    (run,) = online_run.server.runs.values()
    sent = set(run["summary"]) | {key for row in run["history"] for key in row}
    shown = set()
    names = [row.class_name for row in read_per_class(online_run.directory)]
    for text in strings(sections(names)):
        key = text.removeprefix("summary:")
        if key.startswith(("train/", "val/", "test/", "sampler/", "figures/")) and " " not in key and "*" not in key:
            shown.add(key)
    assert len(shown) > 20
    assert shown <= sent, shown - sent
