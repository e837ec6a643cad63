"""Chapter 7's fully connected nets for birds and airplanes, which chapter 8's convolutions are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from edgekit.train.book_model import FitConfig, Target
from edgekit.train.models import birds_cnn

PIXELS = 3 * 32 * 32


class BirdsMLP(nn.Module):
    """(N, 3, 32, 32) float32 to logits (N, 2): linear layers with tanh between them. Source: chapter 7, section 7.2.

    The book's nets end in a log-softmax before the negative log-likelihood; together these are our cross-entropy.

    Args:
        hidden: widths of the hidden layers. (512,) has 1,574,402 parameters, (1024, 512, 128) has 3,737,474.
    """

    def __init__(self, hidden: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for wide, narrow in zip([PIXELS, *hidden[:-1]], hidden, strict=True):
            layers += [nn.Linear(wide, narrow), nn.Tanh()]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden[-1], 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def _birds_mlp() -> BirdsMLP:
    return BirdsMLP((512,))


def _birds_mlp_deep() -> BirdsMLP:
    return BirdsMLP((1024, 512, 128))


_FIT = FitConfig(epochs=100, batch_size=64, learning_rate=1e-2, optimizer="sgd", cpu_threads=1)
_DIFFERS = (
    "The book prints the loss of each epoch's last batch, which is noise; ours is the mean over all batches, so the "
    "losses are not set side by side. Its text and its published notebook give two different accuracies; the text's "
    "is the one to reach."
)

MODEL = replace(
    birds_cnn.MODEL,
    name="birds_mlp",
    chapter=7,
    summary="airplane or bird: one hidden layer of 512, fully connected",
    build=_birds_mlp,
    fit=_FIT,
    target=Target(
        metric="accuracy",
        value=0.794,
        train_value=0.9977,
        source="Deep Learning with PyTorch, chapter 7, text; its notebook prints 0.821, and 0.9977 in training",
        differs=_DIFFERS,
    ),
)

DEEP = replace(
    birds_cnn.MODEL,
    name="birds_mlp_deep",
    chapter=7,
    summary="airplane or bird: hidden layers of 1024, 512 and 128, fully connected",
    build=_birds_mlp_deep,
    fit=_FIT,
    target=Target(
        metric="accuracy",
        value=0.802,
        train_value=0.9981,
        source="Deep Learning with PyTorch, chapter 7, text; its notebook prints 0.801, and 0.9997 in training",
        differs=_DIFFERS,
    ),
)
