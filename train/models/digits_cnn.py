"""A small convnet for 8 x 8 digits: chapter 1's example of a learned representation. Our own design."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.edge_runtime.bundle.manifest import ImagePreprocessing
from edgekit.train.book_model import BookModel, FitConfig, Normalization, Target
from edgekit.train.data import digits


class DigitsCNN(nn.Module):
    """(N, 1, 8, 8) float32 to logits (N, 10).

    Only layers that every exporter lowers and every quantizer knows; batch norm folds into the convolutions. Channel
    counts are multiples of 16, so that int8 kernels are fully used.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=3, padding=1)
        self.norm1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1)
        self.norm2 = nn.BatchNorm2d(32)
        self.conv3 = nn.Conv2d(32, 32, kernel_size=3, padding=1)
        self.norm3 = nn.BatchNorm2d(32)
        self.fc1 = nn.Linear(32 * 2 * 2, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)))  # (N, 16, 8, 8)
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)  # (N, 32, 4, 4)
        x = F.max_pool2d(F.relu(self.norm3(self.conv3(x))), 2)  # (N, 32, 2, 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


MODEL = BookModel(
    name="digits_cnn",
    chapter=1,
    summary="handwritten digits of 8 x 8 pixels, a small convnet; its data come with scikit-learn",
    task="classification",
    build=DigitsCNN,
    data=digits.digits,
    normalization=Normalization(mean=(0.3042,), std=(0.3751,)),  # of the training split
    preprocessing=ImagePreprocessing(
        kind="image",
        mode="L",
        height=8,
        width=8,
        resize="stretch",
        resize_to=8,
        interpolation="bilinear",
        in_graph=("uint8 (N, H, W, C) to float32 (N, C, H, W)", "pixel / 255, minus the mean, over the std"),
        expects="one handwritten digit, bright strokes on black, filling the picture",
    ),
    labels=digits.LABELS,
    fit=FitConfig(epochs=30, batch_size=64, learning_rate=1e-3, optimizer="adam", cpu_threads=1),
    target=Target(metric="accuracy", value=0.98, source="edgekit's own aim; chapter 1 reports no figure"),
)
