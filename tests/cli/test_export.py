"""`longtail-export`: programs that agree with the model and say what they take, or nothing."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch

import longtail
from longtail.cli import export
from longtail.datasets import digits
from longtail.inference import exporting

from ..conftest import Finished, Outcome, enter, outcome

Call = Callable[..., Outcome]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    enter(tmp_path, monkeypatch)

    def run(*overrides: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["longtail-export", *overrides])
        return outcome(export.main, capfd)

    return run


def test_both_programs_give_the_models_log_probabilities(finished: Finished, tmp_path: Path, call: Call) -> None:
    done = call(f"run_dir={finished.directory}", "out=out", "format=onnx")
    assert done.code == 0, done.err
    assert done.err == ""
    assert "model.onnx: log probabilities differ from the model's by " in done.out
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {"model.pt2", "model.onnx", "model.json"}
    model, class_names, transform = longtail.load(finished.directory)
    images = digits().test.batch(range(7))
    wanted = model.probabilities(transform(images))
    program = torch.export.load(out / "model.pt2").module()
    session = onnxruntime.InferenceSession(out / "model.onnx")
    for found in (program(images), torch.from_numpy(session.run(None, {"images": images.numpy()})[0])):
        torch.testing.assert_close(found.exp(), wanted, atol=1e-5, rtol=0)
    said = json.loads((out / "model.json").read_text())
    assert said["class_names"] == class_names
    assert said["input"]["shape"] == ["batch", 8, 8, 1]
    checkpoint = finished.directory / "checkpoints" / "last.ckpt"
    assert said["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert (
        call(f"run_dir={finished.directory}", "out=out").error
        == "out=out: must not hold an export, or overwrite=true"
    )


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (lambda found: found + 0.1, "model.pt2: differs from the model by "),
        (lambda found: found * torch.nan, "model.pt2: differs from the model by inf"),
        (lambda found: found[:1], "model.pt2: differs from the model by inf"),
        (lambda found: 1 / 0, "model.pt2: the model cannot be exported (ZeroDivisionError: division by zero)"),
    ],
)
def test_what_does_not_agree_is_not_written(
    wrong: Any, line: str, finished: Finished, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "_program", lambda program: (b"", lambda x: wrong(program(x))))
    done = call(f"run_dir={finished.directory}", "out=new/out", "format=torch")
    assert done.error.startswith(line)
    assert not (tmp_path / "new").exists()


def test_without_the_extra_onnx_is_left_out_or_asked_for(
    finished: Finished, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "EXTRA", ("no_such_package",))
    done = call(f"run_dir={finished.directory}", "format=onnx")
    assert done.error == "format=onnx: must have no_such_package installed: pip install 'longtail[onnx]'"
    monkeypatch.setattr(exporting, "_program", lambda program: (b"", program))
    done = call(f"run_dir={finished.directory}", "out=out")
    assert "no ONNX: pip install 'longtail[onnx]' adds it" in done.out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.pt2", "model.json"}
    assert (
        call(f"run_dir={finished.directory}", "format=tflite").error
        == "format=tflite: must be one of null, torch, onnx"
    )


def test_what_onnx_cannot_follow_is_one_line_with_its_cause(
    finished: Finished, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(program: Any) -> Any:
        raise RuntimeError("a long\nstory") from ValueError("no such operator")

    monkeypatch.setattr(exporting, "_program", lambda program: (b"", program))
    monkeypatch.setattr(exporting, "_onnx", fail)
    reason = "the model cannot be exported (ValueError: no such operator); format=torch leaves it out"
    assert call(f"run_dir={finished.directory}", "out=out", "format=onnx").error == f"model.onnx: {reason}"
    assert not (tmp_path / "out").exists()
