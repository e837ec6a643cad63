"""Chapter 2's net for MNIST's digits, from its notebook; the book's two published weight files load into it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.edge_runtime.bundle.manifest import ImagePreprocessing
from edgekit.train.book_model import BookModel, FitConfig, Normalization, Target
from edgekit.train.data import mnist


class MnistNet(nn.Module):
    """(N, 1, 28, 28) float32 to logits (N, 10): 21,840 parameters, named as in the published weights.

    The book's net ends in a log-softmax, under a negative log-likelihood; together these are our cross-entropy. On a
    device the log-softmax would be wasted work, because the deployed graph ends in a softmax anyway.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.dropout_channels = nn.Dropout2d(0.5)
        self.fc1 = nn.Linear(20 * 4 * 4, 50)
        self.dropout = nn.Dropout(0.5)
        self.fc2 = nn.Linear(50, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(F.max_pool2d(self.conv1(x), 2))  # (N, 10, 12, 12)
        x = torch.relu(F.max_pool2d(self.dropout_channels(self.conv2(x)), 2))  # (N, 20, 4, 4)
        x = self.dropout(torch.relu(self.fc1(x.flatten(1))))
        return self.fc2(x)


MODEL = BookModel(
    name="mnist_net",
    chapter=2,
    summary="handwritten digits of 28 x 28 pixels: the convnet of chapter 2's notebook",
    task="classification",
    build=MnistNet,
    data=mnist.mnist,
    normalization=Normalization(mean=(0.1307,), std=(0.3081,)),
    preprocessing=ImagePreprocessing(
        kind="image",
        mode="L",
        height=28,
        width=28,
        resize="stretch",
        resize_to=28,
        interpolation="bilinear",
        in_graph=("uint8 (N, H, W, C) to float32 (N, C, H, W)", "pixel / 255, minus the mean, over the std"),
        expects="one handwritten digit, bright strokes on black, in the middle of the picture with a margin round it",
    ),
    labels=mnist.LABELS,
    fit=FitConfig(
        epochs=10, batch_size=64, learning_rate=0.01, optimizer="sgd", momentum=0.5, cpu_threads=1, channels_last=True
    ),
    target=Target(
        metric="accuracy",
        value=0.9843,
        source="measured by edgekit on the weights published with the book's chapter 2, which reports no accuracy",
        differs="The notebook prints the loss of each epoch's last batch, which is noise (0.4354 after the first "
        "epoch, 0.1881 after the tenth); ours is the mean over all batches, so they are not set side by side.",
    ),
)
