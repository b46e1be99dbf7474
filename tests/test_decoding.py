"""Files decoded in parallel, and what is kept of them on disk."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from longtail.decoding import ImageFiles, once, read


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


@pytest.mark.parametrize("values", [[0.25, 0.5], [0, 70000]])
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
    assert once(tmp_path / "made", lambda: "yes").read_text() == "yes"
