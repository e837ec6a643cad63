"""A model for tests that is right by construction in float, and that 8-bit integers ruin."""

import numpy as np
import torch
from torch import nn

from edge_runtime.manifest import TensorSpec
from optimize.deploy import Deployable, DeployModel
from train.preprocess import PixelNormalize


def drowned_model() -> DeployModel:
    """The brightest quarter of a picture, read from a channel that a useless one, 3,000 times as large, drowns."""
    drowned, read = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 1, 1)
    net = nn.Sequential(nn.AvgPool2d(2), drowned, nn.ReLU(), read, nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 4))
    with torch.no_grad():
        drowned.weight.copy_(torch.tensor([1.0, 3000.0]).reshape(2, 1, 1, 1))
        drowned.bias.fill_(3.0)
        read.weight.copy_(torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1))
        read.bias.fill_(-3.0)
        for linear in (net[5], net[6]):
            linear.weight.copy_(3 * torch.eye(4))
            linear.bias.zero_()
    pixels = np.random.default_rng(0).integers(0, 256, (160, 4, 4, 1), dtype=np.uint8)
    quarters = pixels[..., 0].reshape(160, 2, 2, 2, 2).mean(axis=(2, 4)).reshape(160, 4)
    return DeployModel(
        name="drowned",
        task="classification",
        module=Deployable(PixelNormalize((0.5,), (0.25,)), net, nn.Softmax(-1)).eval().requires_grad_(False),
        inputs=(TensorSpec(name="image", dtype="uint8", shape=(1, 4, 4, 1)),),
        outputs=(TensorSpec(name="probabilities", dtype="float32", shape=(1, 4)),),
        preprocessing=None,
        labels=("top left", "top right", "bottom left", "bottom right"),
        calibration={"image": pixels[:32]},
        validation={"image": pixels[32:]},
        targets=quarters[32:].argmax(axis=1),
        weights_sha256="0" * 64,
        origin="made by the test",
    )
