"""The two sides of the comparison with torchvision's RetinaNet do the same."""

import pytest
import torch

from longtail.benchmark import detection
from longtail.benchmark.report import Settings


def test_both_sides_have_the_same_layers_and_nearly_the_same_loss() -> None:
    (ours, our_loss), (theirs, their_loss) = detection.ours(), detection.theirs()
    shapes = [sorted(tuple(p.shape) for p in model.parameters()) for model in (ours, theirs)]
    assert shapes[0] == shapes[1]
    # Theirs has anchors of whole pixels, half a cell aside, and divides by the positives image by image.
    assert our_loss().item() == pytest.approx(their_loss().item(), rel=0.2)


def test_a_step_is_measured_on_both_sides() -> None:
    measured = detection.step(Settings(rounds=1, steps=1, quick=True), torch.float32)
    assert len(measured.ours) == len(measured.theirs) == 1
