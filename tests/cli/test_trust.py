"""Run directories of strangers: they may be looked at, evaluated and continued, and run no code of their own."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from longtail import runs
from longtail.cli import evaluate, installed, predict, saved, trust
from longtail.cli import report as report_command
from longtail.cli.app import CONF
from longtail.errors import InputError
from longtail.training import checkpoints

from ..conftest import Outcome, enter, outcome

BEFORE = Path(__file__).parents[1] / "runs" / "before"
Stranger = Callable[[str, Any], Path]


class Marker:
    """Whoever unpickles it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marker: Path, sketched: None) -> Stranger:
    """A run directory, one setting of which is a stranger's; beside it lie a pickle and a hubconf.py."""
    enter(tmp_path, monkeypatch)
    np.save(tmp_path / "payload.npy", np.array([Marker(marker)], dtype=object), allow_pickle=True)
    (tmp_path / "hubconf.py").write_text(f"open({str(marker)!r}, 'w')\ndef part(*_, **__): ...\n")
    (tmp_path / "outside.py").write_text(f"open({str(marker)!r}, 'w')\nclass Part: ...\n")
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str, value: Any) -> Path:
        directory = shutil.copytree(BEFORE, tmp_path / "run")
        path = directory / ".hydra" / "config.yaml"
        config = OmegaConf.load(path)
        OmegaConf.update(config, name, value, merge=False, force_add=True)
        OmegaConf.save(config, path)
        return directory

    return make


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    def run(program: Callable[[], None], *arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["longtail", *arguments])
        return outcome(program, capfd)

    return run


def pickled(place: Path) -> dict[str, Any]:
    return {"_target_": "numpy.load", "file": str(place / "payload.npy"), "allow_pickle": True}


def hub(place: Path) -> dict[str, Any]:
    return {"_target_": "torch.hub.load", "repo_or_dir": str(place), "model": "part", "source": "local"}


@pytest.mark.parametrize("attack", [pickled, hub])
def test_the_fixtures_would_leave_their_marker(attack: Any, stranger: Stranger, marker: Path) -> None:
    from hydra.utils import instantiate

    instantiate(attack(marker.parent))
    assert marker.exists()


@pytest.mark.parametrize(("attack", "place"), [(pickled, "reweight"), (hub, "callbacks.mine")])
def test_no_command_calls_what_a_config_names(
    attack: Any, place: str, stranger: Stranger, marker: Path, call: Callable[..., Outcome]
) -> None:
    target = attack(marker.parent)
    directory = stranger(place, target)
    refused = f"{place}._target_={target['_target_']}: must be named in conf/, or in a package that you trust"
    assert call(evaluate.main, f"run_dir={directory}", "accelerator=cpu").error.startswith(refused)
    assert not (directory / "evaluation").exists()
    assert call(lambda: report_command.main([str(directory), "--out", str(marker.parent / "out")])).code == 0
    config: Any = OmegaConf.load(directory / ".hydra" / "config.yaml")
    config.detector = {"_target_": "longtail.detection.detector.Detector"}
    for part in ("detection_data", "detection_loss"):
        config[part] = dict(config.detector)
    OmegaConf.save(config, directory / ".hydra" / "config.yaml")
    found = call(predict.main, f"run_dir={directory}", f"images={directory}")
    assert found.error.startswith(refused)
    assert not marker.exists()


@pytest.mark.parametrize(
    "target",
    [
        "torch.optim.sgd.torch.hub.load",  # out of a package by what it has imported
        "longtail.losses.torch.load",
        "longtail.runs.clear",  # this version's, but no part
        "longtail.reweight.none.__globals__",
        "torch.optim.lr_scheduler.partial",
        "torch.optim.SGD.__init__.__globals__",
        "torch.optim.SGD.__class__",
        "torch.optim.sgd.__builtins__.eval",
        "torch.optim.sgd.__loader__",
        "torch.optim.nope.SGD",
        "lightning.pytorch.callbacks.ModelCheckpoint.to_yaml",  # writes to any file
        "lightning.pytorch.callbacks.ModelCheckpoint",  # writes and deletes in any directory
        "lightning.pytorch.callbacks.OnExceptionCheckpoint",
        "lightning.pytorch.callbacks.SpikeDetection",
        "lightning.pytorch.callbacks.model_checkpoint.os.system",
        "outside.Part",
        "torch.optim/../outside",
        "",
        ["longtail.losses.Softmax"],
        None,
    ],
)
@pytest.mark.parametrize("nested", [{}, {"_recursive_": False}])
def test_only_known_parts_are_let_in(target: Any, nested: Any, stranger: Stranger, marker: Path) -> None:
    config = OmegaConf.create({"a": [{"b": {"_target_": target, **nested}}]})
    with pytest.raises(InputError, match=r"^a\.0\.b\._target_=.*: must be") as refused:
        trust.check(config, [])
    assert "\n" not in str(refused.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    "overrides",
    [
        ["train", "method=crt", "method.optimizer={_target_: torch.optim.SGD, _partial_: true, lr: 0.01}"],
        ["train", "reweight=deferred", "sampler=deferred", "callbacks=ema", "experiment=methods/ldam_drw"],
        ["train", "logger=[wandb,csv,tensorboard,mlflow]", "name=lab/tails"],
        ["detect", "detector=faster_rcnn", "detection_data=coco_folder", "optimizer=adamw", "scheduler=one_cycle"],
    ],
)
def test_what_a_command_composes_is_let_in(overrides: list[str], tmp_path: Path) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        OmegaConf.save(compose(overrides[0], overrides[1:]), tmp_path / "config.yaml")
    trust.check(DictConfig(OmegaConf.load(tmp_path / "config.yaml")), [])


def test_what_an_earlier_version_has_composed_is_let_in() -> None:
    for target in ("torch.optim.SGD", "torch.optim.lr_scheduler.StepLR", "lightning.pytorch.callbacks.Timer"):
        trust.check(OmegaConf.create({"a": {"_target_": target}}), [])
    trust.check(DictConfig(OmegaConf.load(BEFORE / ".hydra" / "config.yaml")), [])


def test_a_package_is_let_in_by_the_user_or_by_its_entry_point(
    stranger: Stranger, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (marker.parent / "otherlab.py").write_text("import os\nfrom outside import Part\nclass Loss: ...\n")
    loss, leads_out, part = (
        OmegaConf.create({"loss": {"_target_": f"otherlab.{name}"}}) for name in ("Loss", "os.system", "Part")
    )
    with pytest.raises(InputError, match=r"^loss._target_=otherlab.Loss: .* \(trust=\[otherlab\]\)$"):
        trust.check(loss, [])
    assert not marker.exists()
    trust.check(loss, ["otherlab"])
    for config, home in ((leads_out, "os"), (part, "outside")):
        with pytest.raises(InputError, match=f"not in {home}$"):
            trust.check(config, ["otherlab"])
    monkeypatch.setattr(installed, "modules", lambda: frozenset({"otherlab"}))
    trust.check(loss, [])


@pytest.mark.parametrize(
    "value",
    [
        "${oc.env:SECRET}",
        "${oc.env:SECRET,data}/${seed}",
        "${oc.decode:${oc.env:SECRET}}",
        "${oc.decode:${oc.env:LONGTAIL_DATA,data}}",
        "${oc.create:'{a: 1}'}",
        "${${name}}",
        "\\${oc.env:SECRET}",
        "${dollar}{oc.env:SECRET}",  # which is resolved when it is resolved a second time
    ],
)
def test_a_resolver_of_a_strangers_config_is_not_evaluated(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hush")
    with pytest.raises(InputError, match=r"^reduction.*: must not be computed") as refused:
        trust.check(OmegaConf.create({"name": "a", "dollar": "$", "reduction": value}), [])
    assert "hush" not in str(refused.value)


def test_an_evaluation_prints_no_secret(
    stranger: Stranger, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "hush")
    done = call(evaluate.main, f"run_dir={stranger('reduction', '${oc.env:SECRET}')}", "accelerator=cpu")
    assert done.error.startswith("reduction=${oc.env:SECRET}: must not be computed")
    assert "hush" not in done.out + done.err


def test_a_resolver_in_hydras_own_settings_is_not_evaluated(
    stranger: Stranger, call: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "hush")
    directory = stranger("name", "x")
    path = directory / ".hydra" / "hydra.yaml"
    config = OmegaConf.load(path)
    config.hydra.mode, config.hydra.sweep.dir = "MULTIRUN", "${oc.env:SECRET}"
    OmegaConf.save(config, path)
    assert saved.read(directory, "hydra.yaml").hydra.sweep.dir == str(directory.parent)
    config.hydra.runtime.choices.loss = "${oc.env:SECRET}"
    OmegaConf.save(config, path)
    with pytest.raises(
        InputError, match=r"^hydra\.runtime\.choices\.loss=\$\{oc\.env:SECRET\}: must not be computed"
    ):
        saved.read(directory, "hydra.yaml")


def test_the_users_own_data_dir_takes_the_place_of_one_that_is_computed(
    stranger: Stranger, call: Callable[..., Outcome]
) -> None:
    directory = stranger("data_dir", "${oc.env:SCRATCH}")
    assert call(evaluate.main, f"run_dir={directory}", "accelerator=cpu").error.startswith(
        "data_dir=${oc.env:SCRATCH}"
    )
    assert call(evaluate.main, f"run_dir={directory}", "accelerator=cpu", "data_dir=data").code == 0


def test_what_does_not_resolve_is_one_line() -> None:
    with pytest.raises(InputError, match=r"^Interpolation key 'nope' not found [^\n]*$"):
        trust.check(OmegaConf.create({"seed": "${nope}"}), [])


CSV = {"_target_": "lightning.pytorch.loggers.CSVLogger", "_partial_": True}


@pytest.mark.parametrize(
    ("name", "node"),
    [
        ("trainer", {"logger": {**CSV, "save_dir": "logs"}}),
        ("logger", {"csv": {**CSV, "name": "/etc"}}),
        ("logger", {"csv": {**CSV, "version": "../../.."}}),
        ("logger", {"csv": {**CSV, "name": "~/x"}}),
        ("logger", {"tensorboard": {"_target_": "lightning.pytorch.loggers.TensorBoardLogger", "sub_dir": "$HOME"}}),
        ("logger", {"mlflow": {"_target_": "lightning.pytorch.loggers.MLFlowLogger", "tracking_uri": "file:/home"}}),
    ],
)
def test_no_logger_of_a_config_from_disk_writes_outside_of_the_run(name: str, node: Any) -> None:
    with pytest.raises(InputError, match=r"^(trainer|logger)\.\w+\..*: must be"):
        trust.check(OmegaConf.create({name: node}), [])
    trust.check(OmegaConf.create({name: node}), ["lightning.pytorch.loggers"])


def test_trust_is_a_list(stranger: Stranger, call: Callable[..., Outcome]) -> None:
    done = call(evaluate.main, f"run_dir={stranger('name', 'x')}", "trust=mylab")
    assert done.error == "trust=mylab: must be a list of packages, such as [mylab]"


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system [touch marker]", "!!python/name:os.system"])
def test_a_tag_in_yaml_makes_no_object(
    tag: str, stranger: Stranger, marker: Path, call: Callable[..., Outcome]
) -> None:
    directory = stranger("name", "x")
    for name in ("config.yaml", "hydra.yaml"):
        with (directory / ".hydra" / name).open("a") as file:
            file.write(f"further: {tag}\n")
    assert "cannot be read" in call(evaluate.main, f"run_dir={directory}").error
    assert "command-line" not in call(lambda: report_command.main([str(directory)])).err
    assert not marker.exists()


def test_a_checkpoint_makes_no_object(stranger: Stranger, marker: Path, call: Callable[..., Outcome]) -> None:
    directory = stranger("name", "x")
    torch.save({"state_dict": {}, "scores": Marker(marker)}, directory / "checkpoints" / "last.ckpt")
    done = call(evaluate.main, f"run_dir={directory}", "accelerator=cpu")
    assert "it cannot be read as a checkpoint (UnpicklingError)" in done.error
    assert not marker.exists()


def test_a_link_leads_no_command_out_of_the_directory(
    stranger: Stranger, tmp_path: Path, call: Callable[..., Outcome]
) -> None:
    directory, mine = stranger("name", "x"), tmp_path / "mine"
    mine.write_text("mine")
    for place in ("evaluation", "predictions", "report"):
        (directory / place).mkdir()
        (directory / place / "metrics.json.part").symlink_to(mine)
    (directory / "failure.txt").symlink_to(mine)
    (directory / "metrics.json").unlink()
    evaluated = call(evaluate.main, f"run_dir={directory}", "accelerator=cpu")
    predicted = call(predict.main, f"run_dir={directory}", f"images={tmp_path}")
    reported = call(lambda: report_command.main([str(directory)]))
    for done, place in ((evaluated, "evaluation"), (predicted, "predictions"), (reported, "report")):
        assert done.error.startswith(f"{directory / place / 'metrics.json.part'}: must not be a link")
    assert mine.read_text() == "mine"
    assert runs.read(directory).reason == "its failure.txt is a link"
    (directory / "evaluation" / "metrics.json.part").unlink()
    os.mkfifo(directory / "evaluation" / "posthoc.csv.part")  # at which writing would wait without end
    waited = call(evaluate.main, f"run_dir={directory}", "accelerator=cpu")
    assert waited.error == f"{directory / 'evaluation' / 'posthoc.csv.part'}: must be a file or a directory"


def test_aliases_and_pipes_are_refused(stranger: Stranger) -> None:
    directory = stranger("name", "x")
    path = directory / ".hydra" / "config.yaml"
    with path.open("a") as file:
        file.write("a: &a [1, 1]\nb: [*a, *a]\n")
    with pytest.raises(InputError, match="it has aliases"):
        saved.read(directory, "config.yaml")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match="it is no file"):
        saved.read(directory, "config.yaml")


def test_the_precision_of_a_checkpoint_is_not_evaluated(tmp_path: Path) -> None:
    saved = {"epoch": 0, "global_step": 1, "drawn": torch.zeros(2), "scores": {}, "precision": "${oc.env:SECRET}"}
    torch.save(saved, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="its precision is"):
        checkpoints.read(tmp_path / "last.ckpt")
