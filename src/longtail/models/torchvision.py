"""Any classification model of torchvision."""

import difflib
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from longtail.models.classifier import ImageClassifier
from longtail.models.heads import Head, make_head
from longtail.models.weights import are_left_out, start


class TorchvisionModel(ImageClassifier):
    """Any classification model of torchvision, by name, with its last layer replaced by a head of C outputs.

    Grey images are repeated to three channels, so that pretrained filters can be kept; for any other number of
    channels than 3 the first convolution is replaced.

    Args:
        in_channels: channels of the images.
        num_classes: C.
        name: one of `torchvision.models.list_models()`.
        weights: None, "DEFAULT", the name of a weight set of that model, or a file, as in `weights.start`: a state
            dict of torchvision's, or one of this class.
        head: the last layer, as in `make_head`.
        **options: arguments of the model's builder, such as image_size=32 for the vision transformers.

    Raises:
        ValueError: the name, the weight set or the head is unknown, or pretrained filters do not fit the channels.
        OSError: the weights cannot be downloaded.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        name: str,
        weights: str | None = None,
        head: Head = "linear",
        **options: object,
    ) -> None:
        super().__init__()
        known = torchvision.models.list_models(module=torchvision.models)
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=3, cutoff=0)
            raise ValueError(f"name={name}: must be a classification model of torchvision, such as {', '.join(near)}")
        sets = [w.name for w in torchvision.models.get_model_weights(name)] + ["DEFAULT"]
        file = None if weights in sets else weights
        if file is not None and not Path(str(file)).is_file():
            raise ValueError(f"weights={file}: must be null, a file, or one of {', '.join(sets)}")
        self.body = self._make_body(name, weights if file is None else None, options)
        if name == "inception_v3":
            # Pretrained, it always has its auxiliary output, which would be a second loss.
            self.body.aux_logits, self.body.AuxLogits = False, None
        last, in_features = self._take_off_head()
        self.head = make_head(head, in_features, num_classes)
        self.repeat_grey = in_channels == 1
        if in_channels not in (1, 3):
            if weights is not None and file is None:
                raise ValueError(f"weights={weights}: must be null for images of {in_channels} channels")
            self._replace_first_convolution(in_channels)

        def renamed(name: str) -> str:
            in_head = name.startswith(f"{last}.")
            return f"head.{name.removeprefix(f'{last}.')}" if in_head else f"body.{name}"

        start(self, file, renamed)

    def features(self, images: Tensor) -> Tensor:
        """Images (B, in_channels, H, W) -> features (B, F)."""
        if self.repeat_grey:
            images = images.expand(-1, 3, -1, -1)
        features: Tensor = self.body(images)
        return features

    def _make_body(self, name: str, weights: str | None, options: dict[str, Any]) -> Any:
        """Build the network, with a weight set, or only as that set has it if weights are left out."""
        if weights is not None and are_left_out():
            meta = torchvision.models.get_model_weights(name)[weights].meta
            implied = {
                "image_size": meta["min_size"][0] if name.startswith("vit_") else None,
                "input_size": meta["min_size"] if name.startswith("maxvit") else None,
                "transform_input": name in ("googlenet", "inception_v3") or None,
            }
            options = {option: value for option, value in implied.items() if value is not None} | options
            weights = None
        if name in ("googlenet", "inception_v3") and weights is None:
            options = {"aux_logits": False, "init_weights": True, **options}
        try:
            return torchvision.models.get_model(name, weights=weights, **options)
        except OSError as error:
            folder = f"{torch.hub.get_dir()}/checkpoints"
            raise OSError(f"weights={weights}: the download failed ({error}); put the file into {folder}") from error

    def _take_off_head(self) -> tuple[str, int]:
        """Leave out the body's last layer; return its name and the number of its inputs."""
        if isinstance(self.body, torchvision.models.SqueezeNet):
            # Its classifier is a 1 x 1 convolution: leave the pooled features.
            self.body.classifier = nn.Sequential(nn.Dropout(), nn.AdaptiveAvgPool2d(1))
            return "classifier.1", 512
        path, last = [(p, m) for p, m in self.body.named_modules() if isinstance(m, nn.Linear)][-1]
        parent, _, child = path.rpartition(".")
        setattr(self.body.get_submodule(parent), child, nn.Identity())
        return path, last.in_features

    def _replace_first_convolution(self, in_channels: int) -> None:
        path, old = next((p, m) for p, m in self.body.named_modules() if isinstance(m, nn.Conv2d))
        parent, _, child = path.rpartition(".")
        new = nn.Conv2d(
            in_channels,
            old.out_channels,
            old.kernel_size,  # type: ignore[arg-type]
            old.stride,  # type: ignore[arg-type]
            old.padding,  # type: ignore[arg-type]
            bias=old.bias is not None,
        )
        setattr(self.body.get_submodule(parent), child, new)
