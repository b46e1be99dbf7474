"""Sets that are downloaded: read where they lie already, and what is said where there is no network."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from longtail.detection import downloads
from longtail.imbalance import none

from .test_coco import CONTENT, write_coco


def refuse(*args: Any, **kwargs: Any) -> None:
    raise OSError("no network")


def test_archives_are_checked_and_read_once_they_are_unpacked_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []
    write_coco(tmp_path / "archive", CONTENT, "{part}", ("train2017", "val2017"))

    def fetch(url: str, root: str, unpacked: str, md5: str) -> None:
        asked.append((url, md5))
        if len(asked) == 1:
            (Path(unpacked) / "train2017").mkdir(parents=True)
            raise OSError("the disk is full")
        name = Path(unpacked).stem
        shutil.copytree(tmp_path / "archive" / name, Path(unpacked) / name)

    monkeypatch.setattr(downloads, "download_and_extract_archive", fetch)
    settings: dict[str, Any] = {"train": "train2017", "test": "val2017", "images": "{part}", "num_workers": 0}
    with pytest.raises(OSError, match=r"^data_dir=.*: must hold .*train2017; .*\(the disk is full\)"):
        downloads.coco2017(none, str(tmp_path / "data"), **settings)
    assert len(downloads.coco2017(none, str(tmp_path / "data"), **settings).train) == 2
    assert asked[0] == ("http://images.cocodataset.org/zips/train2017.zip", "cced6f7f71b7629ddf16f17bbcfab6b2")
    assert len(asked) == 4
    assert sorted(path.name for path in (tmp_path / "data/coco2017").iterdir()) == sorted(downloads.COCO_ARCHIVES)


@pytest.mark.parametrize("name", ["voc2007", "coco2017"])
def test_without_network_it_says_what_is_needed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "VOCDetection", refuse)
    monkeypatch.setattr(downloads, "download_and_extract_archive", refuse)
    needed = r"^data_dir=.*: must hold .*(VOC2007|coco2017)/.*the download failed \(no network\)"
    with pytest.raises(OSError, match=needed):
        getattr(downloads, name)(none, str(tmp_path))
