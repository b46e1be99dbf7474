"""Files decoded in parallel, and what is kept of them on disk."""

import resource
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from longtail.decoding import ImageFiles, once, read, text


def write(directory: Path, *sizes: tuple[int, int]) -> list[Path]:
    directory.mkdir()
    paths = [directory / f"{i}.png" for i in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        Image.new("L", size, 7).save(path)
    return paths


def test_sizes_are_width_and_height_in_order(tmp_path: Path) -> None:
    files = ImageFiles(tmp_path, write(tmp_path / "images", (3, 5), (8, 2)), str(tmp_path / "data"), workers=0)
    assert files.sizes() == [[3, 5], [8, 2]]


def test_each_size_of_the_same_files_is_an_array_of_its_own(tmp_path: Path) -> None:
    paths = write(tmp_path / "images", (6, 4), (6, 4))
    files = ImageFiles(tmp_path, paths, str(tmp_path / "data"), workers=0)
    own, small = files.decode(4, 6), files.decode(2, 3, lambda path: np.full((2, 3, 3), 9))
    assert own.shape == (2, 4, 6, 3)
    assert (own == 7).all()
    assert small.shape == (2, 2, 3, 3)
    assert (small == 9).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_of_16_bits_is_scaled_to_8(suffix: str, tmp_path: Path) -> None:
    grey = np.array([[0, 257, 1000], [30000, 65278, 65535]], np.uint16)
    Image.fromarray(grey).save(tmp_path / f"a.{suffix}")
    assert np.asarray(read(tmp_path / f"a.{suffix}"))[..., 0].tolist() == [[0, 1, 4], [117, 254, 255]]


def test_grey_of_16_bits_in_pgm_is_scaled_to_8(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 65535\n" + np.array([0, 1000, 65535], ">u2").tobytes())
    assert np.asarray(read(tmp_path / "a.pgm"))[..., 0].tolist() == [[0, 4, 255]]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("mode", "suffix"), [("RGBA", "png"), ("P", "png"), ("CMYK", "tif"), ("LA", "png")])
def test_colours_are_kept_and_alpha_is_dropped(mode: str, suffix: str, tmp_path: Path) -> None:
    colour = (128, 128, 128) if mode == "LA" else (255, 0, 51)
    image = Image.new("RGB", (2, 1), colour).convert(mode)
    if mode == "RGBA":
        image.putalpha(0)
    image.info = {"transparency": b"\x80"} if mode == "P" else {}
    image.save(tmp_path / f"a.{suffix}")
    assert np.asarray(read(tmp_path / f"a.{suffix}")).tolist() == [[list(colour)] * 2]


@pytest.mark.parametrize("values", [[0.25, 0.5], [0, 70000], [0, 255]])
def test_pixels_beyond_16_bits_are_refused_by_name(values: list[float], tmp_path: Path) -> None:
    pixels = np.array([values], np.float32 if 0.5 in values else np.int32)
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    files = ImageFiles(tmp_path, [tmp_path / "a.tif"], str(tmp_path / "data"), workers=0)
    for use in (files.verify, lambda: files.decode(1, 2)):
        with pytest.raises(OSError, match=r"^root=.*a\.tif \(ValueError: pixels of mode [FI] must be whole"):
            use()


def test_a_failed_computation_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        once(tmp_path / "made", fail)
    assert text(once(tmp_path / "made", lambda: "yes")) == "yes"


def damaged(content: bytes, how: str) -> bytes:
    """Return the content of a file after a fault."""
    changed = bytearray(content)
    changed[len(content) // 2] ^= 4
    return {"cut off": content[:-1], "empty": b"", "a bit": bytes(changed), "no checksum": content[:-4]}[how]


@pytest.mark.parametrize("how", ["cut off", "empty", "a bit", "no checksum"])
def test_a_damaged_cache_is_made_again_with_one_line(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ImageFiles(tmp_path, write(tmp_path / "images", (6, 4), (6, 4)), str(tmp_path / "data"), workers=0)
    files.sizes()
    files.decode(4, 6)
    for kind in ("json", "npy"):
        (path,) = (tmp_path / "data" / "cache").glob(f"*.{kind}")
        whole = path.read_bytes()
        path.write_bytes(damaged(whole, how))
        capsys.readouterr()
        assert files.sizes() == [[6, 4], [6, 4]]
        assert (files.decode(4, 6) == 7).all()
        line = f"warning: {path}: is damaged, or of an earlier version, and is made again\n"
        assert capsys.readouterr().err == line
        assert path.read_bytes() == whole
    files.decode(4, 6)
    assert capsys.readouterr().err == ""


def test_of_several_at_once_one_makes_the_cache(tmp_path: Path) -> None:
    cache, made = tmp_path / "cache" / "a", []

    def make() -> str:
        time.sleep(0.2)
        made.append(1)
        return "yes"

    once(cache, lambda: "no!").write_text("damaged")
    with ThreadPoolExecutor(4) as pool:  # each with a lock of its own, as in a process of its own
        assert list(pool.map(lambda _: text(once(cache, make)), range(4))) == ["yes"] * 4
    assert made == [1]


def test_a_disk_too_small_is_named_and_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ImageFiles(tmp_path, write(tmp_path / "images", (6, 4)), str(tmp_path / "data"), workers=0)
    left = tmp_path / "data" / "cache" / f"{files.cache.name}-4x6.npy.1.part"  # by a process that was killed
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # a file as large as the disk allows
    try:
        with pytest.raises(OSError, match=r"^data_dir=.*data: must have room for the 0\.0 MB of .*-4x6\.npy, has"):
            files.decode(4, 6)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "data" / "cache").glob("*.npy*.part"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=71))
    with pytest.raises(OSError, match=r"must have room"):
        files.decode(4, 6, lambda path: pytest.fail("it has been decoded"))
    monkeypatch.undo()
    assert (files.decode(4, 6) == 7).all()
