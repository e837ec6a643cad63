"""Nodule or not? The book's net for a crop of a chest CT, chapters 11, 12 and 14."""

# No `from __future__ import annotations` here: torch.jit.script cannot read a module's attribute types from strings.

import math

import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.train.book_model import BookModel, FitConfig, Target
from edgekit.train.data import luna_samples, luna_sets
from edgekit.train.data.ct import AIR_HU, CLIP_HU
from edgekit.train.extra_metrics import DetectionMetrics

CROP = (32, 48, 48)  # slices, rows, columns
LABELS = ("no nodule", "nodule")
_DRAWN = (nn.Linear, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)


class Block(nn.Module):
    """(N, I, D, H, W) to (N, O, D/2, H/2, W/2): two 3 x 3 x 3 convolutions, each with ReLU, and max pooling."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, hidden, kernel_size=3, padding=1)
        self.conv2 = nn.Conv3d(hidden, outputs, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool3d(F.relu(self.conv2(F.relu(self.conv1(x)))), 2)


class LunaClassifier(nn.Module):
    """(N, 1, 32, 48, 48) Hounsfield units from -1000 to 1000 to logits (N, 2): no nodule, nodule; 222,220 parameters.

    Layer names are the book's, so that its published weights load. Source: chapter 11, `LunaModel`.

    Args:
        channels: of the first and the second convolution in each of the four blocks.
        depth: slices in a crop.
    """

    def __init__(
        self,
        channels: tuple[tuple[int, int], ...] = ((8, 8), (16, 16), (32, 32), (64, 64)),
        depth: int = CROP[0],
    ) -> None:
        super().__init__()
        (a, b), (c, d), (e, f), (g, h) = channels
        self.tail_batchnorm = nn.BatchNorm3d(1)
        self.block1 = Block(1, a, b)
        self.block2 = Block(b, c, d)
        self.block3 = Block(d, e, f)
        self.block4 = Block(f, g, h)
        self.head_linear = nn.Linear(h * (depth // 16) * (CROP[1] // 16) * (CROP[2] // 16), 2)
        init_weights(self)

    def forward(self, hu: Tensor) -> Tensor:
        x = self.block1(self.tail_batchnorm(hu))  # (N, 8, 16, 24, 24)
        x = self.block2(x)  # (N, 16, 8, 12, 12)
        x = self.block3(x)  # (N, 32, 4, 6, 6)
        x = self.block4(x)  # (N, 64, 2, 3, 3)
        return self.head_linear(x.flatten(1))


def init_weights(module: nn.Module) -> None:
    """Draws the weights of every convolution and linear layer as the book does: Kaiming normal by fan-out, for ReLU.

    Biases are drawn around -1 / sqrt(fan-out), with 1 / sqrt(fan-out) as their standard deviation. The head's fan-out
    is 2, which makes the first epoch's loss huge. Source: chapters 11 and 13, `_init_weights`.
    """
    for part in module.modules():
        if isinstance(part, _DRAWN):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                bound = 1 / math.sqrt(nn.init._calculate_fan_in_and_fan_out(part.weight)[1])
                nn.init.normal_(part.bias, -bound, bound)


MODEL = BookModel(
    name="luna_classifier",
    chapter=14,
    summary="nodule or not, a crop of a chest CT of 32 x 48 x 48 voxels: the 3-D convnet of chapters 11, 12 and 14",
    task="classification",
    build=LunaClassifier,
    data=luna_sets.nodules,
    normalization=None,
    preprocessing=None,
    takes=TensorSpec(name="hu", dtype="float32", shape=(1, 1, *CROP)),
    clip=(AIR_HU, CLIP_HU),
    labels=LABELS,
    fit=FitConfig(
        epochs=100,
        batch_size=24,
        learning_rate=1e-3,
        optimizer="sgd",
        weight_decay=1e-4,
        epoch_samples=50_000,
        balance="nodules",
        augment="affine",
        best_by="f1",
    ),
    crops=True,
    samples=luna_samples.crops,
    extra_metrics=DetectionMetrics,
    gated="f1",  # an artifact that never says "nodule" has 99.75 % of the accuracy
    target=Target(
        metric="accuracy",
        value=0.992,
        source="Deep Learning with PyTorch, chapter 14, on its 51,583 validation candidates, of which 154 are nodules",
    ),
)
