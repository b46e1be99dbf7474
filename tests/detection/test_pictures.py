"""What the pictures of a detector are drawn from."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from longtail.detection import pictures
from longtail.detection.boxes import Objects


class Blind(nn.Module):
    """A detector of one anchor in a box and one outside, with a logit of 0 for each of two classes."""

    anchors = torch.tensor([[0.0, 0, 8, 8], [20, 20, 28, 28]])

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(len(images), 2, 2), torch.zeros(len(images), 2, 4)


class Images:
    """Ten images with one box each."""

    targets = Objects.padded([Blind.anchors[:1]] * 10, [torch.tensor([1])] * 10)

    def __len__(self) -> int:
        return 10

    def batch(self, indices: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(indices), 32, 32, 1)


@pytest.mark.parametrize(("enough", "images"), [(1000, 10), (7, 3)])
def test_images_are_looked_at_until_there_are_enough_scores(
    enough: int, images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "ENOUGH", enough)
    method = SimpleNamespace(model=Blind())
    module: Any = SimpleNamespace(method=method, device=torch.device("cpu"), normalize=lambda pixels: pixels)
    scenes: Any = SimpleNamespace(test=Images())
    negatives, positives = pictures.probabilities(module, scenes)
    assert (negatives.tolist(), positives.tolist()) == ([0.5] * 3 * images, [0.5] * images)
