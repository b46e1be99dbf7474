"""Datasets that torchvision downloads, read from small files of the same form."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import CIFAR10, CIFAR100, cifar, flowers102, inaturalist, svhn

from longtail import datasets
from longtail.datasets import cifar10, digits


def write_cifar(data_dir: Path, classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a small dataset in CIFAR's own files, and let torchvision take it for the real one."""
    source = CIFAR10 if classes == 10 else CIFAR100
    folder, rng = data_dir / source.base_folder, np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name, _ in source.train_list + source.test_list:
        targets = list(range(classes))
        pixels = rng.integers(0, 256, (classes, 3072), dtype=np.uint8)
        content = {"data": pixels, "labels" if classes == 10 else "fine_labels": targets}
        (folder / name).write_bytes(pickle.dumps(content))
    names = [f"class {i}" for i in range(classes)]
    (folder / source.meta["filename"]).write_bytes(pickle.dumps({source.meta["key"]: names}))
    monkeypatch.setattr(cifar, "check_integrity", lambda *args: True)


def write_svhn(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write two images of each digit; SVHN's files call the zero 10."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        labels = np.repeat(np.arange(1, 11), 2)[:, None]
        savemat(data_dir / f"{part}_32x32.mat", {"X": rng.integers(0, 256, (32, 32, 3, 20), np.uint8), "y": labels})
    monkeypatch.setattr(svhn, "check_integrity", lambda *args: True)
    monkeypatch.setattr(svhn, "download_url", lambda *args: None)


def write_flowers(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write an image of each class for each part, its colour the class."""
    folder = data_dir / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    for i in range(306):
        Image.new("RGB", (20, 16), (i % 102, 0, 0)).save(folder / "jpg" / f"image_{i + 1:05d}.jpg", quality=100)
    savemat(folder / "imagelabels.mat", {"labels": np.arange(306) % 102 + 1})
    parts = {name: np.arange(102) + 102 * i + 1 for i, name in enumerate(("trnid", "valid", "tstid"))}
    savemat(folder / "setid.mat", parts)
    monkeypatch.setattr(flowers102, "check_integrity", lambda *args: True)


SPECIES = (
    "00000_Animalia_Chordata_Aves_Passeriformes_Corvidae_Corvus_corax",
    "00001_Animalia_Chordata_Aves_Passeriformes_Corvidae_Pica_pica",
    "00002_Plantae_Tracheophyta_Liliopsida_Poales_Poaceae_Poa_annua",
)


def write_inaturalist(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write two training images and a test image of each of three species."""
    for part, count in (("2021_train_mini", 2), ("2021_valid", 1)):
        for species in SPECIES:
            (data_dir / part / species).mkdir(parents=True)
            for i in reversed(range(count)):
                Image.new("RGB", (20, 16)).save(data_dir / part / species / f"{i}.jpg")
    monkeypatch.setattr(inaturalist, "download_and_extract_archive", offline)


def offline(*args: object, **kwargs: object) -> None:
    raise OSError("no network")


def test_digits_are_scikit_learns_with_a_balanced_test_split() -> None:
    from sklearn.datasets import load_digits

    data = digits()
    assert len(data.train) + len(data.test) == 1797
    assert data.test.targets.bincount().tolist() == [50] * 10
    assert torch.equal(data.test.targets, digits().test.targets)
    both = torch.cat([data.train.batch(range(len(data.train))), data.test.batch(range(500))])
    grey = np.round(load_digits().images * 255 / 16).astype(np.uint8)
    assert sorted(both.reshape(1797, 64).tolist()) == sorted(grey.reshape(1797, 64).tolist())


def test_cifar_reads_torchvisions_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path, 10, monkeypatch)
    data = cifar10(str(tmp_path))
    raw = pickle.loads((tmp_path / "cifar-10-batches-py" / "data_batch_1").read_bytes())["data"]
    assert torch.equal(data.train.batch([3])[0], torch.from_numpy(raw[3].reshape(3, 32, 32).transpose(1, 2, 0)))
    assert len(data.train) == 50
    assert data.class_names[9] == "class 9"


def test_svhn_reads_torchvisions_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_svhn(tmp_path, monkeypatch)
    data = datasets.svhn(str(tmp_path))
    theirs = svhn.SVHN(tmp_path)
    assert data.train.targets.tolist() == theirs.labels.tolist() == [*np.repeat([*range(1, 10), 0], 2)]
    for i in (0, 19):
        assert torch.equal(data.train.batch([i])[0], torch.from_numpy(np.array(theirs[i][0])))
    assert len(data.test) == 20
    assert (tmp_path / "cache" / "svhn.npy").exists()


@pytest.mark.parametrize("pool", [["train", "val"], ["val"]])
def test_flowers_are_those_of_the_parts(pool: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_flowers(tmp_path, monkeypatch)
    data = datasets.flowers102(str(tmp_path), pool, num_workers=0)
    assert data.train.targets.tolist() == [*range(102)] * len(pool)
    assert data.test.targets.tolist() == [*range(102)]
    red = data.train.batch(range(len(data.train)))[:, 8, 10, 0]
    assert (red.long() - data.train.targets).abs().max() <= 2
    assert data.class_names[0] in ("pink primrose", "0")


@pytest.mark.parametrize("pool", [[], ["test"], "train", ["train", "train"]])
def test_flowers_of_other_parts_are_refused(pool: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^pool=.*: must be \[train\], \[val\] or \[train, val\]$"):
        datasets.flowers102(str(tmp_path), pool)


def test_a_class_of_inaturalist_is_of_the_level_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_inaturalist(tmp_path, monkeypatch)
    species = datasets.inaturalist(str(tmp_path), num_workers=0)
    families = datasets.inaturalist(str(tmp_path), level="family", num_workers=0)
    assert species.class_names == list(SPECIES)
    assert species.train.targets.tolist() == [0, 0, 1, 1, 2, 2]
    assert families.class_names == ["Corvidae", "Poaceae"]
    assert families.train.targets.tolist() == [0, 0, 0, 0, 1, 1]
    assert families.test.targets.tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match=r"^level=tribe: must be one of full, kingdom"):
        datasets.inaturalist(str(tmp_path), level="tribe")
    with pytest.raises(ValueError, match=r"^version=2018: must be 2021_train or 2021_train_mini"):
        datasets.inaturalist(str(tmp_path), "2018")
    with pytest.raises(OSError, match=r"^dataset=inaturalist: .*no network.*put 2021_train and .* into data_dir="):
        datasets.inaturalist(str(tmp_path), "2021_train")


def test_a_failed_download_says_where_to_put_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(cifar, "download_and_extract_archive", offline)
    with pytest.raises(OSError, match=r"dataset=cifar10: .*no network.*put cifar-10-python.tar.gz .* into data_dir="):
        cifar10(str(tmp_path))
