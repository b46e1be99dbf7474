"""The parts that the wing's README shows work as they stand there."""

import re
from pathlib import Path

import pytest

import longtail.detection
from longtail.cli import detect

from ..cli.test_detect import call
from ..conftest import enter, metrics

README = (Path(longtail.detection.__file__).parent / "README.md").read_text()
IMPORTS = """import numpy as np, torch
from collections.abc import Callable
from torch import Tensor, nn
from longtail.datasets import ArrayImages
from longtail.detection.boxes import Objects
from longtail.detection.scenes import Scenes
"""


def test_the_examples_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], sketched: None
) -> None:
    enter(tmp_path, monkeypatch)
    monkeypatch.syspath_prepend(str(tmp_path))
    shown = re.findall(r"    # conf/(\S+\.yaml): (_target_: mine\.\w+)\n((?:    .*\n|\n)+)", README)
    assert [name for name, _, _ in shown] == ["detection_loss/squared.yaml", "detection_data/mine.yaml"]
    (tmp_path / "mine.py").write_text(IMPORTS + re.sub("^    ", "", "".join(code for *_, code in shown), flags=re.M))
    for name, target, _ in shown:
        (tmp_path / "parts" / name).parent.mkdir(parents=True)
        (tmp_path / "parts" / name).write_text(target)
    own = ["--config-dir", str(tmp_path / "parts"), "detection_loss=squared", "detection_data=mine", "imbalance=none"]
    done = call(detect, capfd, *own, "trainer=debug", "logger=none", f"hydra.run.dir={tmp_path}/run")
    assert done.code == 0, done.err
    assert metrics(tmp_path / "run")["fingerprint"]["class_counts"] == [100]
