"""Images in arrays, and in the tables of the `datasets` library."""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from longtail.datasets import arrays, huggingface

RNG = np.random.default_rng(0)
GOOD: dict[str, Any] = {
    "x_train": RNG.integers(0, 256, (6, 5, 4, 3), np.uint8),
    "y_train": np.array([0, 0, 0, 1, 1, 2], np.uint8),
    "x_test": RNG.integers(0, 256, (3, 5, 4, 3), np.uint8),
    "y_test": np.array([[2], [1], [0]]),
}


def write(path: Path, **changed: Any) -> str:
    np.savez(path, **{name: array for name, array in {**GOOD, **changed}.items() if array is not None})
    return str(path)


def test_arrays_are_taken_as_they_are(tmp_path: Path) -> None:
    data = arrays(write(tmp_path / "a.npz"), names=["x", "y", "z"], many=2, few=2)
    assert data.image_shape == (3, 5, 4)
    assert data.class_names == ["x", "y", "z"]
    assert torch.equal(data.train.batch([5, 0]), torch.from_numpy(GOOD["x_train"][[5, 0]]))
    assert data.test.targets.tolist() == [2, 1, 0]
    assert data.validation is None
    assert str(data.shots) == "many > 2, few < 2"


def test_grey_arrays_and_held_out_ones(tmp_path: Path) -> None:
    grey = {name: GOOD[name][..., 0] for name in ("x_train", "x_test")}
    data = arrays(write(tmp_path / "a.npz", **grey, x_val=grey["x_test"][:1], y_val=np.array([1])))
    assert data.image_shape == (1, 5, 4)
    assert data.class_names == ["0", "1", "2"]
    assert data.validation is not None
    assert data.validation.targets.tolist() == [1]


@pytest.mark.parametrize(("changed", "message"), [
    ({"x_test": None}, r"must have an array x_test, has x_train, y_train, y_test$"),
    ({"x_train": GOOD["x_train"] / 255}, r"x_train must be uint8 \(N, H, W\) or .*, not float64 \(6, 5, 4, 3\)$"),
    ({"y_train": GOOD["y_train"][:5]}, r"y_train must be whole numbers \(6,\), not uint8 \(5,\)$"),
    ({"y_test": np.array([0.0, 1, 2])}, r"y_test must be whole numbers \(3,\), not float64 \(3,\)$"),
    ({"y_test": np.array([0, 1, 3])}, r"y_test must have classes 0 to 2, as in train, has 3$"),
    ({"y_test": np.array([0, 1, 1])}, r"y_test must have images of every class, has none of 2$"),
    ({"y_train": np.array([0, 0, 0, 1, 1, 10**12])}, r"y_train must .* 2, 3, 4, 5, 6 and 999,999,999,993 more$"),
    ({"y_train": np.array([0, 0, 0, 2, 2, 2])}, r"y_train must have images of every class, has none of 1$"),
    ({"x_test": GOOD["x_test"][:, :4]}, r"must have images of one size$"),
    ({"y_test": np.array([0, 1, None])}, r"must be an npz file of plain arrays"),
])  # fmt: skip
def test_other_arrays_are_refused(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"^path=.*a.npz: {message}"):
        arrays(write(tmp_path / "a.npz", **changed))


def write_damaged(path: Path, how: str) -> str:
    """Write a zip file of what is no array, or has a header of no array, or cannot be unpacked."""
    content = b"\x93NUMPY\x01\x00\x08\x00{{{{ 'd'\n" if how == "header" else b"no array"
    with zipfile.ZipFile(path, "w") as file:
        for name in GOOD:
            file.writestr(f"{name}.npy", content)
    written = bytearray(path.read_bytes())
    for entry in re.finditer(b"PK\x01\x02", bytes(written)):  # of the central directory
        written[entry.start() + 8] |= how == "encrypted"
        written[entry.start() + 10] = 99 if how == "method" else 0
    path.write_bytes(written)
    return str(path)


def test_what_is_no_file_of_arrays_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^path=null: must be an npz file"):
        arrays(None)
    (tmp_path / "a.npz").write_text("no")
    with pytest.raises(ValueError, match=r"^path=.*a.npz: must be an npz file of plain arrays"):
        arrays(str(tmp_path / "a.npz"))
    for damaged in ("raw", "header", "method", "encrypted"):
        with pytest.raises(ValueError, match=r"^path=.*a.npz: (must be an npz file of plain arrays|x_train must be)"):
            arrays(write_damaged(tmp_path / "a.npz", damaged))
    with pytest.raises(ValueError, match=r"^names=\[x, y\]: must be 3 different names"):
        arrays(write(tmp_path / "a.npz"), names=["x", "y"])


def encoded(size: tuple[int, int], grey: int) -> dict[str, bytes]:
    file = io.BytesIO()
    Image.new("RGB", size, (grey,) * 3).save(file, "png")
    return {"bytes": file.getvalue()}


def write_parquet(folder: Path) -> None:
    """Write train and test images of two classes, grey levels 0 to 5."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"img": datasets.Image(), "fine": datasets.ClassLabel(names=["ant", "bee"])})
    folder.mkdir()
    for part, levels in (("train", range(4)), ("test", range(4, 6))):
        rows = {
            "img": [encoded((6, 4), level) for level in levels],
            "fine": [level % 2 for level in levels],
        }
        datasets.Dataset.from_dict(rows, features).to_parquet(folder / f"{part}-00000-of-00001.parquet")


def test_a_folder_of_parquet_files(tmp_path: Path) -> None:
    write_parquet(tmp_path / "insects")
    where: dict[str, Any] = {"path": str(tmp_path / "insects"), "data_dir": str(tmp_path / "data"), "num_workers": 0}
    columns = {"image": "img", "label": "fine"}
    data = huggingface(**where, **columns)
    assert data.train.in_memory
    assert data.image_shape == (3, 4, 6)
    assert data.class_names == ["ant", "bee"]
    assert data.train.targets.tolist() == [0, 1, 0, 1]
    assert data.train.batch([3, 0])[:, 0, 0].tolist() == [[3] * 3, [0] * 3]
    assert data.test.batch([0])[0, 0, 0].tolist() == [4] * 3
    assert len(list((tmp_path / "data" / "cache").glob("insects-*-4x6.npy"))) == 1
    streamed = huggingface(**where, **columns, validation="train[:1]", image_size=8)
    assert streamed.train.batch([2, 1]).amax((1, 2, 3)).tolist() == [2, 1]
    assert streamed.validation is not None
    assert streamed.validation.batch([0]).unique().tolist() == [0]
    for changed, message in (
        ({"image": "image"}, r"^image=image: must be a column of train, which has img, fine$"),
        ({"test": "dev"}, r"^test=dev: must be a split of .*insects"),
        ({"path": str(tmp_path / "none")}, r"^path=.*none: must be a dataset that can be read"),
        ({"path": None}, r"^path=null: must be a dataset of the Hugging Face Hub"),
        ({"label": "img"}, r"^label=img: must be whole numbers"),
        ({"image": "fine"}, r"^image=fine: must be a column of images"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            huggingface(**{**where, **columns, **changed})
