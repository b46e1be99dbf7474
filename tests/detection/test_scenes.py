"""Every option of the group keeps its contract; a new file is tested by being there."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from longtail.cli.app import CONF
from longtail.detection import downloads
from longtail.detection.boxes import Objects
from longtail.detection.scenes import Scenes
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
    mean, std = data.channel_stats()
    assert mean.shape == std.shape == (channels,)
    assert data.train.targets.class_counts(len(data.class_names)).min() > 0
