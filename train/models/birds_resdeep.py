"""Chapter 8's residual net of 100 blocks (section 8.5.3): as published, one block 100 times, and with 100 blocks."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.train.models.birds_designs import FIT, UNSHUFFLED, design

BLOCKS = 100


class ResBlock(nn.Module):
    """(N, C, H, W) float32 to the same shape: convolution, batch norm and ReLU, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.norm = _conv(channels), _norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.norm(self.conv(x)))


class SharedResBlocks(nn.Module):
    """The same `ResBlock` in each of `places` places, as a recurrent net repeats its step; the weights exist once.

    The running mean and variance of batch norm are kept for each place. They play no part in training. But a single
    pair for all places, as in the published code, fits none of them: after 80 batches such a net had 50 % in evaluation
    mode, and 76 % with the statistics of the batch. Source of the remedy: T. Cooijmans et al., "Recurrent Batch
    Normalization", arXiv 1603.09025, section 3.
    """

    def __init__(self, channels: int, places: int) -> None:
        super().__init__()
        self.conv = _conv(channels)
        self.norms = nn.ModuleList([_norm(channels) for _ in range(places)])
        for norm in self.norms:
            norm.weight, norm.bias = self.norms[0].weight, self.norms[0].bias

    def forward(self, x: Tensor) -> Tensor:
        for norm in self.norms:
            x = x + torch.relu(norm(self.conv(x)))
        return x


def _conv(channels: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)  # batch norm has a bias
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return conv


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    nn.init.constant_(norm.weight, 0.5)
    return norm


class NetResDeep(nn.Module):
    """(N, 3, 32, 32) float32 to logits (N, 2): 75,810 parameters with one shared block, 994,530 with 100 of their own.

    Source: chapter 8, section 8.5.3 (`NetResDeep`). The published code multiplies a list with one block, so that all
    100 places hold the same object, while the text describes 100 blocks. Both are here.
    """

    def __init__(self, blocks: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, kernel_size=3, padding=1)
        self.blocks = blocks
        self.fc1 = nn.Linear(32 * 8 * 8, 32)
        self.fc2 = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(torch.relu(self.conv1(x)), 2)  # (N, 32, 16, 16)
        x = F.max_pool2d(self.blocks(x), 2)  # (N, 32, 8, 8)
        x = torch.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)


def shared(blocks: int = BLOCKS) -> NetResDeep:
    """The net as published: one block, `blocks` times."""
    return NetResDeep(SharedResBlocks(32, blocks))


def independent(blocks: int = BLOCKS) -> NetResDeep:
    """The net as described: `blocks` blocks, each with weights of its own."""
    return NetResDeep(nn.Sequential(*(ResBlock(32) for _ in range(blocks))))


_FIT = replace(FIT, learning_rate=3e-3, cpu_threads=None)  # large enough for every core
_TRAINING_MODE = (
    "The book also measured its accuracy in training mode, each batch normalized by its own statistics; ours is "
    "measured in evaluation mode, picture by picture, as the net is deployed."
)

MODEL = design(
    "birds_cnn_resdeep",
    f"{BLOCKS} residual blocks that share one set of weights, as the book published it",
    shared,
    validation=0.86,
    train=0.97,
    losses=(2.2735, 0.3779, 0.3002, 0.2492, 0.2079, 0.1587, 0.1213, 0.0873, 0.0725, 0.0578, 0.0660),
    differs=f"{UNSHUFFLED} {_TRAINING_MODE} For that, the running statistics are kept for each of the {BLOCKS} places: "
    "the published net has one pair for all, which fits none and would have it guess. Training is the same.",
    fit=_FIT,
)
INDEPENDENT = design(
    "birds_cnn_resdeep_independent",
    f"{BLOCKS} residual blocks, each with weights of its own, as the book's text describes it",
    independent,
    validation=0.86,
    train=0.97,
    source="Deep Learning with PyTorch, chapter 8; its figures are of the net whose blocks share their weights",
    differs=f"The book's figures are of the net whose {BLOCKS} blocks share one set of weights; it trained none with "
    "weights of their own, so nothing is reproduced here, and the settings are ours. At the shared net's constant rate "
    "one of two seeds had 31 of the 32 units of `fc1` dead after 16 epochs, and an accuracy of 50 %; the other swung "
    "between 66 and 88 % over its last ten epochs. So the rate rises slowly to 0.002 and falls again, in half as many "
    f"epochs; and the net is trained in bfloat16, which takes two thirds of the time of float32. {_TRAINING_MODE}",
    fit=replace(_FIT, epochs=50, learning_rate=2e-3, schedule="one_cycle", precision="bf16-mixed"),
)
