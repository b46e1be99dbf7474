"""A trained model without its dataset: it says of the test images what the run has said of them."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import longtail
from longtail import runs
from longtail.augment import Normalize
from longtail.datasets import FileImages, digits
from longtail.errors import InputError
from longtail.inference import Transform

from ..conftest import Cli, Finished, metrics

BEFORE = Path(__file__).parents[1] / "runs" / "before"
PLAIN = Normalize(torch.zeros(3), torch.full((3,), 1 / 255))  # leaves pixels as they are


def scores_of(loaded: Any) -> dict[str, float]:
    """Return what a loaded model scores on the test images."""
    test = digits().test
    found = loaded.model.probabilities(loaded.transform(test.batch(range(len(test)))))
    assert torch.allclose(found.sum(1), torch.ones(len(test)), atol=1e-5)
    nll = -found.gather(1, test.targets[:, None]).log().mean()
    return {"accuracy": float((found.argmax(1) == test.targets).float().mean()), "nll": float(nll)}


def test_it_says_what_the_run_has_said(finished: Finished) -> None:
    state = torch.random.get_rng_state()
    loaded = longtail.load(finished.directory)
    assert torch.equal(state, torch.random.get_rng_state())
    wanted = metrics(finished.directory)["test"]
    assert scores_of(loaded) == pytest.approx({name: wanted[name] for name in ("accuracy", "nll")}, abs=0.02)
    assert loaded.class_names == [str(c) for c in range(10)]
    assert not loaded.model.training
    grey = Image.fromarray(digits().test.batch([0])[0, ..., 0].numpy())
    for image in (grey, grey.convert("RGB"), grey.convert("P"), grey.convert("RGBA")):
        assert torch.equal(loaded.transform(image), loaded.transform(digits().test.batch([0]))[0])
    assert loaded.transform(grey.resize((31, 20))).shape == (1, 8, 8)


def test_a_method_of_two_stages_averaged_weights_and_a_chosen_epoch(cli: Cli, run_dir: Path) -> None:
    overrides = ["method=crt", "loss=ldam", "model.head=cosine", "callbacks=ema", "callbacks.ema.decay=0.5"]
    overrides += ["selection=best_validation", "validation_per_class=5", "trainer.precision=32-true", "epochs=3"]
    done = cli(*overrides, "model.width=4", f"hydra.run.dir={run_dir}")
    assert done.code == 0, done.err
    wanted = metrics(run_dir)["test"]
    found = scores_of(longtail.load(str(run_dir)))
    assert found == pytest.approx({name: wanted[name] for name in ("accuracy", "nll")}, abs=1e-4)


def test_a_run_of_an_earlier_version_is_evaluated_first(cli: Cli, tmp_path: Path) -> None:
    import shutil

    run_dir = shutil.copytree(BEFORE, tmp_path / "run")
    with pytest.raises(InputError, match=r"no image_shape of three numbers; longtail-eval run_dir=\S+ notes that"):
        longtail.load(run_dir)
    assert cli(f"run_dir={run_dir}", "accelerator=cpu", evaluation=True).code == 0
    assert scores_of(longtail.load(run_dir))["accuracy"] == pytest.approx(
        metrics(run_dir)["test"]["accuracy"], abs=0.02
    )


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("fingerprint", {}, "its metrics.json is missing, or has no image_shape"),
        ("fingerprint", {"image_shape": [1, 8, True]}, "its metrics.json is missing, or has no image_shape"),
    ],
)
def test_a_damaged_run_is_one_line(name: str, value: Any, line: str, finished_run: Path) -> None:
    runs.write_metrics(finished_run, metrics(finished_run) | {name: value})
    with pytest.raises(InputError) as refused:
        longtail.load(finished_run)
    assert str(refused.value).startswith(f"run_dir={finished_run}: must be a finished run of longtail: {line}")
    with pytest.raises(InputError, match="must be one that this machine has"):
        longtail.load(finished_run, accelerator="abacus")
    with pytest.raises(InputError, match=r"^trust=mylab: must be a list of packages, such as \[mylab\]"):
        longtail.load(finished_run, trust="mylab")


def test_images_are_made_as_those_of_the_test(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, shape in zip(paths, [(40, 30, 3), (25, 60)], strict=True):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
    wanted = FileImages(paths, [0, 0], 16, train=False).batch([0, 1])
    cropped, whole = Transform((3, 16, 16), True, PLAIN), Transform((3, 16, 20), False, PLAIN)
    for path, pixels in zip(paths, wanted, strict=True):
        assert torch.equal(torch.tensor(cropped.read(path)), pixels)
        with Image.open(path) as image:
            assert torch.equal(cropped(image), pixels.permute(2, 0, 1).float())
            resized = image.convert("RGB").resize((20, 16), Image.Resampling.BILINEAR)
        assert whole.read(path).shape == (16, 20, 3)
        assert np.abs(whole.read(path).astype(int) - np.asarray(resized)).max() <= 1
    deep = Image.fromarray((np.asarray(load_digits().images[0]) * 4095).astype(np.uint16))
    assert cropped(deep).shape == (3, 16, 16)


@pytest.mark.parametrize(
    "images", [torch.zeros(1, 9, 8, 1, dtype=torch.uint8), torch.zeros(1, 8, 8, 1), torch.zeros(8, 8, 1).byte()]
)
def test_a_tensor_of_another_shape_or_type_is_refused(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"must be B x 8 x 8 x 1, torch.uint8"):
        Transform((1, 8, 8), False, PLAIN)(images)


def test_files_are_refused_where_images_have_other_channels() -> None:
    with pytest.raises(ValueError, match="images of 4 channels: must be tensors, not files"):
        Transform((4, 8, 8), False, PLAIN)(Image.new("RGB", (8, 8)))


def test_the_package_is_imported_without_pytorch() -> None:
    import subprocess

    code = "import longtail, sys; assert not {'torch', 'hydra'} & {*sys.modules}; assert not hasattr(longtail, 'lod')"
    subprocess.run([sys.executable, "-c", code], check=True)
