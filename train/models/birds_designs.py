"""Chapter 8's variations on its convnet: wider, regularized, deeper, with a shortcut (section 8.5).

The 100-block residual net is in `birds_resdeep.py`. Each design keeps the baseline's data and input, and states only
what is its own. Like the baseline, the designs pool before tanh. ReLU stays before the pooling, because engines fuse it
into the convolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.train.book_model import BookModel, FitConfig, Target
from edgekit.train.models import birds_cnn

CURVE_EPOCHS = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)  # those that the book prints
SOURCE = "Deep Learning with PyTorch, chapter 8; losses of its run on a GPU"
FIT = birds_cnn.MODEL.fit
UNSHUFFLED = (
    "The book's notebook trained this design with the pictures in the same order every epoch, because its loader was "
    "made anew without shuffling; ours draws a new order every epoch, as its baseline did."
)


class NetWidth(nn.Module):
    """The baseline with twice the channels: 38,386 parameters, (N, 3, 32, 32) float32 to logits (N, 2).

    Source: chapter 8, section 8.5.1 (`NetWidth`); 8.5.2 (`NetDropout`, `NetBatchNorm`).

    Args:
        dropout: share of the channels that training drops after each pooling.
        norm: batch norm between each convolution and its tanh, which adds 96 parameters.
    """

    def __init__(self, *, dropout: float = 0.0, norm: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, kernel_size=3, padding=1)
        self.norm1 = nn.BatchNorm2d(32) if norm else nn.Identity()
        self.conv2 = nn.Conv2d(32, 16, kernel_size=3, padding=1)
        self.norm2 = nn.BatchNorm2d(16) if norm else nn.Identity()
        self.dropout = nn.Dropout2d(dropout) if dropout else nn.Identity()
        self.fc1 = nn.Linear(16 * 8 * 8, 32)
        self.fc2 = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(torch.tanh(F.max_pool2d(self.norm1(self.conv1(x)), 2)))  # (N, 32, 16, 16)
        x = self.dropout(torch.tanh(F.max_pool2d(self.norm2(self.conv2(x)), 2)))  # (N, 16, 8, 8)
        x = torch.tanh(self.fc1(x.flatten(1)))
        return self.fc2(x)


class NetDepth(nn.Module):
    """Three convolutions with ReLU: 16,130 parameters, (N, 3, 32, 32) float32 to logits (N, 2).

    Source: chapter 8, section 8.5.3 (`NetDepth`, `NetRes`).

    Args:
        shortcut: adds the third convolution's input to its output, before the last pooling.
    """

    def __init__(self, *, shortcut: bool = False) -> None:
        super().__init__()
        self.shortcut = shortcut
        self.conv1 = nn.Conv2d(3, 32, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(32, 16, kernel_size=3, padding=1)
        self.conv3 = nn.Conv2d(16, 16, kernel_size=3, padding=1)
        self.fc1 = nn.Linear(16 * 4 * 4, 32)
        self.fc2 = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(torch.relu(self.conv1(x)), 2)  # (N, 32, 16, 16)
        x = F.max_pool2d(torch.relu(self.conv2(x)), 2)  # (N, 16, 8, 8)
        deeper = torch.relu(self.conv3(x))
        if self.shortcut:
            deeper = deeper + x
        x = F.max_pool2d(deeper, 2)  # (N, 16, 4, 4)
        x = torch.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)


def design(
    name: str,
    summary: str,
    build: Callable[[], nn.Module],
    *,
    validation: float,
    train: float,
    losses: Sequence[float] = (),
    source: str = SOURCE,
    differs: str = UNSHUFFLED,
    fit: FitConfig = FIT,
) -> BookModel:
    """A design of chapter 8: the baseline's record with its own changes. `losses` are those at `CURVE_EPOCHS`."""
    return replace(
        birds_cnn.MODEL,
        name=name,
        summary=f"airplane or bird: {summary}",
        build=build,
        fit=fit,
        target=Target(
            metric="accuracy",
            value=validation,
            train_value=train,
            source=source,
            curve=dict(zip(CURVE_EPOCHS, losses, strict=True)) if losses else {},
            differs=differs,
        ),
    )


def _dropout() -> NetWidth:
    return NetWidth(dropout=0.4)


def _batchnorm() -> NetWidth:
    return NetWidth(norm=True)


def _res() -> NetDepth:
    return NetDepth(shortcut=True)


WIDTH = design(
    "birds_cnn_width",
    "the baseline with twice the channels",
    NetWidth,
    validation=0.90,
    train=0.96,
    losses=(0.5445, 0.3171, 0.2745, 0.2426, 0.2134, 0.1870, 0.1632, 0.1409, 0.1200, 0.1008, 0.0832),
)
L2 = design(
    "birds_cnn_l2",
    "the baseline, large weights penalized",
    birds_cnn.Net,
    validation=0.87,
    train=0.90,
    losses=(0.5843, 0.3663, 0.3226, 0.2962, 0.2776, 0.2637, 0.2516, 0.2401, 0.2293, 0.2190, 0.2092),
    fit=replace(FIT, l2_penalty=0.001),
)
DROPOUT = design(
    "birds_cnn_dropout",
    "the wide net with dropout",
    _dropout,
    validation=0.88,
    train=0.89,
    losses=(0.5800, 0.3807, 0.3491, 0.3298, 0.3126, 0.2921, 0.2821, 0.2724, 0.2628, 0.2537, 0.2400),
    differs=f"{UNSHUFFLED} The book also measured its accuracy in training mode, with channels still being dropped; "
    "ours is measured in evaluation mode, as the net is deployed, which is better.",
)
BATCHNORM = design(
    "birds_cnn_batchnorm",
    "the wide net with batch norm",
    _batchnorm,
    validation=0.89,
    train=1.00,
    losses=(0.4740, 0.2598, 0.1943, 0.1437, 0.1011, 0.0670, 0.0415, 0.0324, 0.0171, 0.0113, 0.0076),
    differs=f"{UNSHUFFLED} The book also measured its accuracy in training mode, each batch normalized by its own "
    "statistics; ours is measured in evaluation mode, picture by picture, as the net is deployed.",
)
DEPTH = design(
    "birds_cnn_depth",
    "three convolutions with ReLU",
    NetDepth,
    validation=0.90,
    train=0.95,
    losses=(0.6548, 0.3400, 0.3015, 0.2727, 0.2441, 0.2165, 0.1904, 0.1668, 0.1440, 0.1203, 0.0956),
)
RES = design(
    "birds_cnn_res",
    "three convolutions, a shortcut round the last",
    _res,
    validation=0.90,
    train=0.97,
    losses=(0.6650, 0.3293, 0.2860, 0.2552, 0.2281, 0.2018, 0.1763, 0.1514, 0.1257, 0.0992, 0.0764),
)
