"""PixelNormalize computes in torch what numpy says the preprocessing is."""

import numpy as np
import pytest
import torch

from edgekit.train.preprocess import PixelNormalize

MEAN, STD = (0.4915, 0.4823, 0.4468), (0.2470, 0.2435, 0.2616)


def test_it_is_pixel_over_255_minus_mean_over_std():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    found = PixelNormalize(MEAN, STD)(torch.from_numpy(pixels))
    wanted = ((pixels / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    assert found.shape == (4, 3, 5, 6)
    assert found.dtype == torch.float32
    assert np.abs(found.numpy() - wanted).max() < 1e-6


def test_every_value_of_one_channel():
    found = PixelNormalize((0.5,), (0.25,))(torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1))
    assert np.abs(found.numpy().ravel() - (np.arange(256) / 255 - 0.5) / 0.25).max() < 1e-6


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.2, 0.2)), ((0.5,), (0.0,)), ((), ())])
def test_impossible_constants_are_refused(mean, std):
    with pytest.raises(ValueError, match="one number a channel"):
        PixelNormalize(mean, std)
