"""Every option of the group keeps its contract; a new file is tested by being there."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from longtail.cli.app import CONF
from longtail.datasets import ArrayImages, channel_stats
from longtail.detection import downloads
from longtail.detection.boxes import Objects
from longtail.detection.scattered import scattered_digits
from longtail.detection.scenes import Scenes, check, letterbox
from longtail.imbalance import none

from .test_coco import CONTENT, write_coco
from .test_downloads import refuse
from .test_voc import PLAIN, write_voc

FACTS: dict[str, dict[str, object]] = {
    "voc_folder": {"root": "VOCdevkit/VOC2007"},
    "coco_folder": {"root": "coco"},
    "scattered_digits": {"objects_per_class": 40, "test_images": 12},
}


@pytest.mark.parametrize("option", sorted(path.stem for path in (CONF / "detection_data").glob("*.yaml")))
def test_option(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(downloads, "VOCDetection", refuse)  # what lies there is not downloaded again
    monkeypatch.setattr(downloads, "download_and_extract_archive", refuse)
    write_voc(tmp_path / "VOCdevkit" / "VOC2007", PLAIN)
    write_coco(tmp_path / "coco", CONTENT)
    write_coco(tmp_path / "coco2017", CONTENT, "{part}", ("train2017", "val2017"))
    content = OmegaConf.load(CONF / "detection_data" / f"{option}.yaml")
    cfg = OmegaConf.create({"data_dir": str(tmp_path), "data": OmegaConf.merge(content, FACTS.get(option, {}))})
    data = instantiate(cfg.data, none, _convert_="all")
    assert isinstance(data, Scenes)
    channels, height, width = data.image_shape
    for images in (data.train, data.test, *([data.validation] if data.validation else [])):
        targets = images.for_evaluation().targets
        assert isinstance(targets, Objects)
        assert len(images) == len(targets.boxes) == len(targets.scale) > 0
        boxes = targets.boxes[targets.present]
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, :2] < boxes[:, 2:]).all()
        assert (boxes[:, 2:] <= torch.tensor([width, height])).all()
        assert targets.labels.max() < len(data.class_names)
        batch = images.batch([0, len(images) - 1])
        assert batch.dtype == torch.uint8
        assert batch.shape == (2, height, width, channels)
    mean, std = channel_stats(data.train, np.arange(len(data.train)))
    assert mean.shape == std.shape == (channels,)
    assert data.train.targets.class_counts(len(data.class_names)).min() > 0


def test_a_letterbox_scales_grey_of_16_bits(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 40), 30000, np.uint16)).save(tmp_path / "a.png")
    assert (letterbox(tmp_path / "a.png", (40, 40))[0] == 117).all()


@pytest.fixture(scope="module")
def made() -> Scenes:
    return scattered_digits(none, objects_per_class=10, validation_images=0, test_images=4)


def boxed(box: list[float], label: int) -> Objects:
    return Objects.padded([torch.tensor([box])], [torch.tensor([label])])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"image_shape": (3, 128, 128)},
            r"must have images torch.uint8 of \(128, 128, 3\) for train by its image_shape, not",
        ),
        ({"image_shape": (128, 128)}, r"must have image_shape \(channels, height, width\), not \(128, 128\)"),
        ({"class_names": list("0123456788")}, r"must have different class_names, not \[0, 1"),
        ({"class_names": list("012345678")}, r"must have labels in \[0, 9\) for train"),
        ({"test": boxed([5, 5, float("nan"), 9], 0)}, "must have boxes x1, y1, x2, y2 for test, finite"),
        ({"test": boxed([9, 5, 5, 9], 0)}, "must have boxes x1, y1, x2, y2 for test, finite"),
        ({"test": boxed([5, 5, 9, 9], -2)}, r"must have labels in \[0, 10\) for test"),
        ({"test": torch.zeros(1, dtype=torch.int64)}, "must have Objects as targets of the images for test"),
    ],
)
def test_what_a_data_part_returns_is_checked(made: Scenes, changes: dict[str, Any], complaint: str) -> None:
    check(made)
    if "test" in changes:
        changes = {"test": ArrayImages(torch.zeros(1, 128, 128, 1, dtype=torch.uint8), changes["test"])}
    with pytest.raises(ValueError, match=f"^{complaint}"):
        check(replace(made, **changes))


def test_a_data_part_returns_scenes() -> None:
    with pytest.raises(ValueError, match=r"^must return Scenes, not list"):
        check([])
