"""A task for tests whose answers are right by construction: which quarter of a 4 x 4 picture is the brightest."""

import numpy as np
from torch import nn

from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.optimize.deploy import Deployable, DeployModel
from edgekit.train.preprocess import PixelNormalize


def quarters_model(net: nn.Module, *, name: str, samples: int) -> DeployModel:
    """`net`, of normalized pixels (N, 1, 4, 4) to four logits, with 32 samples to calibrate on, the rest to prove."""
    pixels = np.random.default_rng(0).integers(0, 256, (samples, 4, 4, 1), dtype=np.uint8)
    quarters = pixels[..., 0].reshape(samples, 2, 2, 2, 2).mean(axis=(2, 4)).reshape(samples, 4)
    return DeployModel(
        name=name,
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
