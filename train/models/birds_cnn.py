"""The book's chapter-8 convnets for birds and airplanes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.edge_runtime.bundle.manifest import ImagePreprocessing
from edgekit.train.book_model import BookModel, FitConfig, Normalization, Target
from edgekit.train.data import cifar


class Net(nn.Module):
    """The chapter's baseline, 18,090 parameters; layer names are the book's, so that its published weights load.

    (N, 3, 32, 32) float32 to logits (N, 2). Source: chapter 8, sections 8.3 and 8.4 (`Net`). The book pools after the
    tanh; because tanh is monotonic, pooling before it gives the same answers with a quarter of the work.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(16, 8, kernel_size=3, padding=1)
        self.fc1 = nn.Linear(8 * 8 * 8, 32)
        self.fc2 = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(F.max_pool2d(self.conv1(x), 2))  # (N, 16, 16, 16)
        x = torch.tanh(F.max_pool2d(self.conv2(x), 2))  # (N, 8, 8, 8)
        x = torch.tanh(self.fc1(x.flatten(1)))
        return self.fc2(x)


MODEL = BookModel(
    name="birds_cnn",
    chapter=8,
    summary="airplane or bird, 32 x 32 colour pictures of CIFAR-10: the baseline convnet",
    task="classification",
    build=Net,
    data=cifar.birds_and_airplanes,
    # The book's, measured on all 50,000 training pictures, not only on airplanes and birds.
    normalization=Normalization(mean=(0.4915, 0.4823, 0.4468), std=(0.2470, 0.2435, 0.2616)),
    preprocessing=ImagePreprocessing(
        kind="image",
        mode="RGB",
        height=32,
        width=32,
        resize="resize_crop",
        resize_to=32,
        interpolation="bilinear",
        in_graph=("uint8 (N, H, W, C) to float32 (N, C, H, W)", "pixel / 255, minus the mean, over the std"),
        expects="an airplane or a bird in the middle of the picture",
    ),
    labels=cifar.LABELS,
    fit=FitConfig(epochs=100, batch_size=64, learning_rate=1e-2, optimizer="sgd", channels_last=True, cpu_threads=1),
    target=Target(
        metric="accuracy",
        value=0.89,
        source="Deep Learning with PyTorch, chapter 8; losses of its run on a CPU",
        curve={
            1: 0.5635,
            10: 0.3278,
            20: 0.3035,
            30: 0.2825,
            40: 0.2611,
            50: 0.2411,
            60: 0.2200,
            70: 0.2037,
            80: 0.1894,
            90: 0.1728,
            100: 0.1614,
        },
    ),
)
