from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from longtail.errors import text_of
from longtail.models import (
    BasicBlock,
    CosineHead,
    FastCNN,
    ImageClassifier,
    ResNet,
    SmallCNN,
    TorchvisionModel,
    check_cosines,
)

NAMES = ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "densenet121", "vit_b_16"]


def torchvision_model(name: str, in_channels: int = 3, num_classes: int = 7) -> TorchvisionModel:
    options: dict[str, Any] = {"image_size": 32} if name.startswith("vit") else {}
    return TorchvisionModel(in_channels, num_classes, name, **options).eval()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("depth", "num_classes", "expected"),
    [(32, 10, 464_154), (32, 100, 470_004), (20, 10, 269_722), (44, 10, 658_586), (56, 10, 853_018)],
)
def test_resnet_has_the_published_number_of_parameters(depth: int, num_classes: int, expected: int) -> None:
    assert parameters(ResNet(3, num_classes, depth)) == expected


@pytest.mark.parametrize("kind", [ResNet, SmallCNN, FastCNN])
def test_the_two_parts_of_a_model_are_its_features(kind: type[ResNet | SmallCNN | FastCNN]) -> None:
    model, images = kind(3, 7).eval(), torch.rand(2, 3, 16, 16)
    early, late = model.split()
    maps = early(images)
    assert maps.ndim == 4
    assert torch.equal(late(maps), model.features(images))
    own = [id(p) for part in (early, late, model.head) for p in part.parameters()]
    assert sorted(own) == sorted(map(id, model.parameters()))


@pytest.mark.parametrize("depth", [8, 20, 44, 56])
def test_resnet_has_as_many_weighted_layers_as_its_depth(depth: int) -> None:
    layers = [m for m in ResNet(3, 10, depth).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


@pytest.mark.parametrize(
    ("depth", "height", "width", "channels"),
    [(20, 8, 8, 1), (20, 32, 32, 3), (20, 28, 20, 4), (44, 8, 8, 1), (56, 8, 8, 1)],
)
def test_resnet_takes_images_of_any_size(depth: int, height: int, width: int, channels: int) -> None:
    model = ResNet(channels, 5, depth)
    features: list[torch.Size] = []
    model.stages.register_forward_hook(lambda module, inputs, output: features.append(output.shape))
    assert model(torch.randn(2, channels, height, width)).shape == (2, 5)
    assert features == [(2, 64, height // 4, width // 4)]


@pytest.mark.parametrize(("height", "width", "channels"), [(8, 8, 1), (32, 32, 3), (28, 20, 4)])
def test_small_cnn_takes_images_of_any_size(height: int, width: int, channels: int) -> None:
    assert SmallCNN(channels, 5, width=4)(torch.randn(2, channels, height, width)).shape == (2, 5)


@pytest.mark.parametrize(
    ("height", "width", "channels"), [(8, 8, 1), (9, 11, 3), (8, 40, 1), (28, 20, 4), (32, 32, 3), (224, 224, 3)]
)
def test_fast_cnn_takes_images_of_any_size_from_8_x_8(height: int, width: int, channels: int) -> None:
    model = FastCNN(channels, 5)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        images = torch.randn(2, channels, height, width).to(memory_format=memory_format)
        assert model(images).shape == (2, 5)


@pytest.mark.parametrize(
    ("channels", "num_classes", "expected"), [(3, 10, 392_138), (1, 10, 391_114), (3, 100, 415_268)]
)
def test_fast_cnn_has_its_number_of_parameters(channels: int, num_classes: int, expected: int) -> None:
    assert parameters(FastCNN(channels, num_classes)) == expected


def test_fast_cnn_never_works_at_full_size_and_in_multiples_of_32_channels() -> None:
    model, shapes = FastCNN(3, 10), []
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
    model(torch.randn(2, 3, 32, 32))
    assert max(shape[-1] for shape in shapes) == 16
    assert all(shape[1] % 32 == 0 for shape in shapes)


@pytest.mark.parametrize(("height", "width"), [(7, 8), (8, 7), (4, 4), (1, 1)])
def test_fast_cnn_refuses_images_below_8_x_8(height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"images of {height} x {width}: must be at least 8 x 8"):
        FastCNN(1, 10)(torch.zeros(2, 1, height, width))


@pytest.mark.parametrize("model", [SmallCNN, FastCNN])
@pytest.mark.parametrize("width", [0, -32, 1.5, None])
def test_a_width_that_is_no_number_of_channels_is_refused(model: type[SmallCNN | FastCNN], width: Any) -> None:
    with pytest.raises(ValueError, match=f"^width={text_of(width)}: must be a whole number >= 1"):
        model(3, 10, width)


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 32)])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_fast_cnn_learns_a_batch_by_heart(channels: int, size: int, bfloat16: bool) -> None:
    model = FastCNN(channels, 5, width=8).to(memory_format=torch.channels_last)
    images, targets = torch.randn(20, channels, size, size), torch.arange(20) % 5
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    for _ in range(30):
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = model(images)
        sgd.zero_grad()
        nn.functional.cross_entropy(logits.float(), targets).backward()
        sgd.step()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.parameters())
    assert torch.equal(logits.argmax(1), targets)


def test_shortcut_takes_every_second_pixel_and_pads_the_channels_with_zeros() -> None:
    block = BasicBlock(16, 32, stride=2)
    nn.init.zeros_(block.norm2.weight)
    x = torch.randn(2, 16, 7, 6)
    expected = torch.zeros(2, 32, 4, 3)
    expected[:, 8:24] = x[:, :, [0, 2, 4, 6]][:, :, :, [0, 2, 4]].clamp(min=0)
    assert torch.equal(block(x), expected)


@pytest.mark.parametrize(("in_channels", "channels", "stride"), [(4, 4, 1), (4, 8, 2)])
def test_block_is_two_convolutions_and_the_shortcut(in_channels: int, channels: int, stride: int) -> None:
    block = BasicBlock(in_channels, channels, stride).double().eval()
    for norm in (block.norm1, block.norm2):
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            assert tensor is not None
            nn.init.uniform_(tensor, 0.5, 2)
    x = torch.randn(2, in_channels, 8, 8, dtype=torch.float64)
    hidden = block.norm1(nn.functional.conv2d(x, block.conv1.weight, stride=stride, padding=1)).clamp(min=0)
    out = block.norm2(nn.functional.conv2d(hidden, block.conv2.weight, padding=1))
    shortcut = torch.zeros_like(out)
    first = (channels - in_channels) // 2
    shortcut[:, first : first + in_channels] = x[:, :, ::stride, ::stride]
    kept = x.clone()
    torch.testing.assert_close(block(x), (out + shortcut).clamp(min=0))
    assert torch.equal(x, kept)


@pytest.mark.parametrize("depth", [-4, 0, 2, 7, 18, 31, 34])
def test_a_depth_that_is_not_6n_plus_2_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=f"depth={depth}: must be 6n"):
        ResNet(3, 10, depth)


@pytest.mark.parametrize("name", ["resnet20", "small_cnn", "fast_cnn", *NAMES])
def test_head_is_the_only_classifier_and_makes_the_logits(name: str) -> None:
    own: dict[str, nn.Module] = {
        "resnet20": ResNet(4, 7, 20),
        "small_cnn": SmallCNN(4, 7, width=4),
        "fast_cnn": FastCNN(4, 7, width=4),
    }
    model = own.get(name) or torchvision_model(name, in_channels=4)
    head = model.eval().head
    assert isinstance(head, nn.Linear)
    assert head is [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    assert 1000 not in {getattr(m, "out_features", getattr(m, "out_channels", 0)) for m in model.modules()}
    images, shift = torch.randn(2, 4, 32, 32), torch.arange(7.0)
    with torch.no_grad():
        before = model(images)
        head.bias.add_(shift)
        torch.testing.assert_close(model(images) - before, shift.expand(2, 7), rtol=0, atol=1e-4)
        head.weight.zero_()
        assert torch.equal(model(images), head.bias.expand(2, 7))


def own_models(**settings: Any) -> dict[str, ImageClassifier]:
    return {
        "resnet": ResNet(3, 7, 8, **settings),
        "small_cnn": SmallCNN(3, 7, width=4, **settings),
        "fast_cnn": FastCNN(3, 7, width=4, **settings),
        "torchvision": TorchvisionModel(3, 7, "resnet18", **settings),
    }


def test_cosine_head_gives_the_cosines_times_its_scale() -> None:
    features, head = torch.randn(6, 5, dtype=torch.float64), CosineHead(5, 3, scale=30).double()
    expected = torch.nn.functional.cosine_similarity(features[:, None], head.weight[None], dim=2)
    torch.testing.assert_close(head(features), 30 * expected)
    torch.testing.assert_close(head(7 * features), head(features))
    with torch.no_grad():
        head.weight.mul_(torch.tensor([[0.1], [1.0], [9.0]]))
    torch.testing.assert_close(head(features), 30 * expected)


def test_cosine_head_starts_with_rows_of_length_one() -> None:
    head = CosineHead(64, 10)
    torch.testing.assert_close(head.weight.norm(dim=1), torch.ones(10))
    before = head.weight.clone()
    head.reset_parameters()
    assert not torch.equal(head.weight, before)
    assert [name for name, _ in head.named_parameters()] == ["weight"]


def test_cosine_head_has_a_finite_gradient_for_zero_features() -> None:
    head, features = CosineHead(5, 3), torch.zeros(2, 5, requires_grad=True)
    logits = head(features)
    assert not logits.any()
    nn.functional.cross_entropy(30 * logits, torch.tensor([0, 2])).backward()
    assert features.grad is not None
    assert head.weight.grad is not None
    assert bool(features.grad.isfinite().all() and head.weight.grad.isfinite().all())


@pytest.mark.parametrize("name", ["resnet", "small_cnn", "fast_cnn", "torchvision"])
def test_a_model_takes_any_head_and_only_its_head_differs(name: str) -> None:
    torch.manual_seed(1)
    linear = own_models()[name]
    for head in ("cosine", lambda features, classes: CosineHead(features, classes, scale=30)):
        model = own_models(head=head)[name]
        assert isinstance(model.head, CosineHead)
        assert set(linear.state_dict()) - set(model.state_dict()) == {"head.bias"}
        model.load_state_dict({k: v for k, v in linear.state_dict().items() if k != "head.bias"})
        images = torch.randn(2, 3, 32, 32)
        features = linear.eval().features(images)
        torch.testing.assert_close(model.eval().features(images), features)
        cosines = torch.nn.functional.cosine_similarity(features[:, None], model.head.weight[None], dim=2)
        torch.testing.assert_close(model(images), model.head.scale * cosines, rtol=1e-4, atol=1e-5)


def test_checkpoints_keep_their_keys() -> None:
    keys = {name: list(model.state_dict()) for name, model in own_models().items()}
    assert {key.split(".")[0] for key in keys["resnet"]} == {"stem", "stages", "head"}
    assert {key.split(".")[0] for key in keys["torchvision"]} == {"body", "head"}
    convolutions = {"small_cnn": ["0", "3", "7", "10"], "fast_cnn": ["0", "3", "7", "11"]}
    for name, numbers in convolutions.items():
        assert [f"features.{number}.weight" for number in numbers] == [
            key for key, value in own_models()[name].state_dict().items() if value.ndim == 4
        ]
        assert keys[name][-2:] == ["head.weight", "head.bias"]


def test_only_a_cosine_head_of_scale_one_gives_plain_cosines() -> None:
    check_cosines(SmallCNN(3, 7, head="cosine"))
    for head, name in (("linear", "linear"), (lambda f, c: CosineHead(f, c, scale=30), "CosineHead")):
        with pytest.raises(ValueError, match=f"^head={name}: must be cosine, of scale 1"):
            check_cosines(SmallCNN(3, 7, head=head))


@pytest.mark.parametrize("head", ["cos", "", None, 3])
def test_an_unknown_head_is_refused(head: Any) -> None:
    with pytest.raises(ValueError, match=f"^head={head}: must be linear or cosine"):
        SmallCNN(3, 7, head=head)


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf"), "30", None])
def test_a_scale_outside_its_range_is_refused(scale: Any) -> None:
    with pytest.raises(ValueError, match=f"^scale={text_of(scale)}: must be a finite number > 0"):
        CosineHead(5, 3, scale)


@torch.no_grad()
def test_torchvision_model_sees_a_grey_image_as_three_equal_channels() -> None:
    model, grey = torchvision_model("resnet18", in_channels=1), torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(model(grey), model.head(model.body(grey.repeat(1, 3, 1, 1))))


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
def test_torchvision_model_uses_each_of_four_channels(name: str) -> None:
    images = torch.randn(2, 4, 32, 32, requires_grad=True)
    torchvision_model(name, in_channels=4)(images).square().sum().backward()
    assert images.grad is not None
    assert bool((images.grad.abs().amax((0, 2, 3)) > 0).all())


def test_four_channels_change_nothing_of_the_first_convolution_but_its_input() -> None:
    three, four = (torchvision_model("resnet18", channels).body.conv1 for channels in (3, 4))
    assert four.in_channels == 4
    for setting in ("out_channels", "kernel_size", "stride", "padding", "dilation", "groups"):
        assert getattr(four, setting) == getattr(three, setting)
    assert (four.bias is None) == (three.bias is None)


@pytest.mark.parametrize(("name", "nearest"), [("resnet118", "resnet18"), ("vitb16", "vit_b_16"), ("", "alexnet")])
def test_an_unknown_name_suggests_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"name={name}: must be a classification model") as error:
        TorchvisionModel(3, 10, name)
    assert nearest in str(error.value) or not name


def test_a_model_that_does_not_classify_is_unknown() -> None:
    with pytest.raises(ValueError, match="name=fcos_resnet50_fpn"):
        TorchvisionModel(3, 10, "fcos_resnet50_fpn")


def test_an_unknown_weight_set_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"weights=IMAGENET.*IMAGENET1K_V1.*DEFAULT"):
        TorchvisionModel(3, 10, "resnet18", weights="IMAGENET")
