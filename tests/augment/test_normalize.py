import numpy as np
import pytest
import torch

from longtail.augment import Normalize

from .images import random_images


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normalize_equals_the_formula_in_float64(channels: int, dtype: torch.dtype) -> None:
    images = random_images(3, 5, 4, channels)
    mean, std = torch.linspace(0.1, 0.6, channels, dtype=dtype), torch.linspace(0.2, 0.4, channels, dtype=dtype)
    out = Normalize(mean, std)(images)
    expected = (images.numpy() / 255.0 - mean.double().numpy()) / std.double().numpy()
    assert out.dtype == torch.float32
    assert out.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(out.numpy(), expected.transpose(0, 3, 1, 2), rtol=0, atol=2e-6)


def test_normalised_images_have_mean_zero_and_deviation_one() -> None:
    images = random_images(50, 8, 8, 3)
    scaled = images.double().div(255).view(-1, 3)
    out = Normalize(scaled.mean(0).float(), scaled.std(0, correction=0).float())(images).double()
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        out.std((0, 2, 3), correction=0), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-5
    )
