"""`python -m experiments.doctor_models`: makes the tiny int8 bundles that `edgekit doctor` runs. They are committed.

One convolution and one linear layer that tell which quarter of a picture is brightest, through our own pipeline.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.edge_runtime.doctor.diagnosis import model_path
from edgekit.optimize.deploy import Deployable, DeployModel
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.verify import FloatReference
from edgekit.train.preprocess import PixelNormalize

EXPORTER_OF = {"onnx": "onnx", "executorch": "executorch_xnnpack"}  # by engine
SAMPLES = 4  # golden ones; the files stay small


def tiny_model() -> DeployModel:
    """Right by construction: the convolution averages, and the linear layer compares the means of the quarters."""
    convolution, head = nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.Linear(8, 4, bias=False)
    with torch.no_grad():
        convolution.weight.fill_(1 / 9)
        head.weight.copy_(0.5 * torch.eye(4).repeat(1, 2))  # far from sure, so that an error shows
    net = nn.Sequential(convolution, nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(), head)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), np.uint8)
    for i, (row, column) in enumerate([(0, 0), (0, 4), (4, 0), (4, 4)] * 16):
        pixels[i] //= 2
        pixels[i, row : row + 4, column : column + 4] += 120
    return DeployModel(
        name="doctor",
        task="classification",
        module=Deployable(PixelNormalize((0.0,), (0.25,)), net, nn.Softmax(-1)).eval().requires_grad_(False),
        inputs=(TensorSpec(name="image", dtype="uint8", shape=(1, 8, 8, 1)),),
        outputs=(TensorSpec(name="probabilities", dtype="float32", shape=(1, 4)),),
        preprocessing=None,
        labels=("top left", "top right", "bottom left", "bottom right"),
        calibration={"image": pixels[SAMPLES:]},
        validation={"image": pixels[:SAMPLES]},
        targets=np.arange(SAMPLES) % 4,
        weights_sha256="0" * 64,
        origin="made by experiments/doctor_models.py",
    )


def make(engine: str, target: Path) -> None:
    """Packs the engine's int8 bundle, verified like any other, into the single file `target`."""
    model = tiny_model()
    exporter, recipe = EXPORTERS[EXPORTER_OF[engine]], RECIPES["w8a8_static"]
    with tempfile.TemporaryDirectory(prefix="edgekit-doctor-") as folder:
        packed = pack_bundle(model, exporter, recipe, Path(folder), reference=FloatReference.of(model))
        with Bundle.open(packed.path) as bundle:
            bundle.save_zip(target)


def main() -> None:
    for engine in EXPORTER_OF:
        path = model_path(engine)
        make(engine, path)
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
