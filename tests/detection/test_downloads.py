"""Sets that are downloaded: read where they lie already, and what is said where there is no network."""

from pathlib import Path
from typing import Any

import pytest

from longtail.detection import downloads
from longtail.imbalance import none

from .test_coco import CONTENT, write_coco


def refuse(*args: Any, **kwargs: Any) -> None:
    raise OSError("no network")


def test_archives_are_checked_and_unpacked_where_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def fetch(url: str, root: str, md5: str) -> None:
        asked.append((url, md5))
        if not (Path(root) / "annotations").exists():
            write_coco(Path(root), CONTENT, "{part}", ("train2017", "val2017"))

    monkeypatch.setattr(downloads, "download_and_extract_archive", fetch)
    downloads.coco2017(none, str(tmp_path), train="train2017", test="val2017", images="{part}", num_workers=0)
    assert asked == [("http://images.cocodataset.org/zips/train2017.zip", "cced6f7f71b7629ddf16f17bbcfab6b2")]


@pytest.mark.parametrize("name", ["voc2007", "coco2017"])
def test_without_network_it_says_what_is_needed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "VOCDetection", refuse)
    monkeypatch.setattr(downloads, "download_and_extract_archive", refuse)
    with pytest.raises(OSError, match=r"^data_dir=.*: must hold .*2007|coco2017.*the download failed \(no network\)"):
        getattr(downloads, name)(none, str(tmp_path))
