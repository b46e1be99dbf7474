"""Weights to start from: which files fit which models, what becomes of the head, and what is refused."""

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from longtail.models import ResNet, SmallCNN, TorchvisionModel
from longtail.models.weights import left_out

from ..conftest import Cli, Finished

IMAGES = torch.rand(2, 3, 32, 32)


def saved(path: Path, content: object) -> str:
    torch.save(content, path)
    return str(path)


def test_a_state_dict_of_the_same_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = ResNet(3, 5, depth=8).eval()
    file = saved(tmp_path / "a.pth", first.state_dict())
    same = ResNet(3, 5, depth=8, weights=file).eval()
    assert torch.equal(same(IMAGES), first(IMAGES))
    assert capsys.readouterr().out == f"model.weights={file}: starts from all of its layers\n"
    other = ResNet(3, 7, depth=8, weights=file).eval()
    assert torch.equal(other.features(IMAGES), first.features(IMAGES))
    shapes = "bias 5, weight 5 x 64 in the file and bias 7, weight 7 x 64 here"
    assert f"starts from all of its layers but the head, which is {shapes}" in capsys.readouterr().out


def test_a_state_dict_of_torchvision(tmp_path: Path) -> None:
    theirs = torchvision.models.shufflenet_v2_x0_5().eval()
    state = {name: value for name, value in theirs.state_dict().items() if not name.endswith("num_batches_tracked")}
    file = saved(tmp_path / "a.pth", state)
    ours = TorchvisionModel(3, 1000, "shufflenet_v2_x0_5", weights=file).eval()
    assert torch.equal(ours(IMAGES), theirs(IMAGES))
    theirs.fc = nn.Identity()
    ours = TorchvisionModel(3, 4, "shufflenet_v2_x0_5", weights=file).eval()
    assert torch.equal(ours.features(IMAGES), theirs(IMAGES))


@pytest.mark.parametrize("wrap", ["state_dict", "model", "module."])
def test_weights_are_found_in_what_they_are_wrapped_in(wrap: str, tmp_path: Path) -> None:
    first = SmallCNN(3, 5, width=2)
    state = first.state_dict()
    if wrap == "module.":
        content: object = {f"module.{name}": value for name, value in state.items()}
    else:
        content = {wrap: state, "epoch": 3}
    file = saved(tmp_path / "a.pth", content)
    assert torch.equal(SmallCNN(3, 5, width=2, weights=file).eval()(IMAGES), first.eval()(IMAGES))


def test_a_run_starts_from_the_checkpoint_of_another(finished: Finished, cli: Cli, run_dir: Path) -> None:
    file = finished.directory / "checkpoints" / "last.ckpt"
    settings = [f"model.weights={file}", "model.width=4", "epochs=1", "optimizer.lr=0", "trainer.precision=32-true"]
    done = cli(*settings, "optimizer.weight_decay=0", f"hydra.run.dir={run_dir}", "seed=1")
    assert done.code == 0, done.err
    assert f"model.weights={file}: starts from all of its layers\n" in done.out
    weights = [
        torch.load(path, weights_only=True)["state_dict"]["method.model.head.weight"]
        for path in (file, run_dir / "checkpoints" / "last.ckpt")
    ]
    assert torch.equal(*weights)
    config = (run_dir / ".hydra" / "config.yaml").read_text()
    (run_dir / ".hydra" / "config.yaml").write_text(config.replace(str(file), "gone.ckpt"))
    evaluated = cli(f"run_dir={run_dir}", "accelerator=cpu", evaluation=True)  # the file is not needed any more
    assert evaluated.code == 0, evaluated.err


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "weights, and there is no such file"),
        ("text", "weights, which cannot be read (IndexError)"),
        ([1], "weights, not of list"),
        ({"a": 1}, "weights, and there are none in it"),
        (
            SmallCNN(3, 5, width=2).state_dict(),
            "weights that fit the model; its features.0.weight is 2 x 3 x 3 x 3, not 3 x 3 x 3 x 3",
        ),
        ({"head.weight": torch.zeros(5, 6)}, "weights that fit the model; it lacks features.0.weight and 19 more"),
        (
            SmallCNN(3, 5, width=3).state_dict() | {"x": torch.zeros(1)},
            "weights that fit the model; it has x besides",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(content: object, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    if content == "text":
        file.write_text("text")
    elif content is not None:
        torch.save(content, file)
    with pytest.raises(ValueError, match="weights=") as refused:
        SmallCNN(3, 5, width=3, weights=str(file))
    assert str(refused.value) == f"weights={file}: must be null or a file of {reason}"


def test_nothing_is_loaded_where_a_checkpoint_follows() -> None:
    with left_out():
        SmallCNN(3, 5, weights="gone.pth")
        pretrained = {"googlenet": "DEFAULT", "vit_b_16": "IMAGENET1K_SWAG_E2E_V1"}
        googlenet, vit = (TorchvisionModel(3, 5, name, weights=chosen) for name, chosen in pretrained.items())
    assert googlenet.body.transform_input
    assert vit.body.image_size == 384
