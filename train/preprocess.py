"""The torch half of preprocessing: from raw pixels to what the model was trained on.

The same module normalizes the training data and begins the exported graph, so the two cannot drift apart. Decoding and
resizing a picture is the device's half (`edge_runtime/preprocess/image.py`).
"""

# No `from __future__ import annotations` here: torch.jit.script cannot read a module's attribute types from strings.

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PixelNormalize(nn.Module):
    """(N, H, W, C) uint8 in 0..255 to (N, C, H, W) float32: (pixel / 255 - mean) / std, channel by channel.

    Computed as one multiplication and one addition, which export and quantize everywhere.

    Args:
        mean, std: one number for each channel, on the scale 0..1.

    Raises:
        ValueError: mean and std differ in length, or a std is not above 0.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not mean or min(std) <= 0:
            raise ValueError(f"mean {list(mean)} and std {list(std)} need one number a channel, each std above 0")
        means, stds = torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
        self.register_buffer("scale", (1 / (255 * stds)).float().reshape(1, -1, 1, 1))
        self.register_buffer("shift", (-means / stds).float().reshape(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        planes = pixels.permute(0, 3, 1, 2).to(torch.float32)  # (N, C, H, W)
        return planes * self.scale + self.shift


class FeatureNormalize(nn.Module):
    """(N, …, F) float32 to the same shape: (value - mean) / std, feature by feature.

    A subtraction and a division, which quantizers leave in float. A multiplication would get one 8-bit scale for all
    features, in which a density of 0.99 vanishes beside 140 mg of sulphur dioxide.

    Args:
        mean, std: one number for each of the F features.

    Raises:
        ValueError: mean and std differ in length, or a std is not above 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not mean or min(std) <= 0:
            raise ValueError(f"mean {list(mean)} and std {list(std)} need one number a feature, each std above 0")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.std


class Clip(nn.Module):
    """Numbers of any shape and type to float32 from `low` to `high`: Hounsfield units as the book's scans have them."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low = low
        self.high = high

    def forward(self, values: Tensor) -> Tensor:
        return values.to(torch.float32).clamp(self.low, self.high)
