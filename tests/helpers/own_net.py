"""Models as users bring them, good and bad; tests name them as `own_net.py:NAME`."""

import numpy as np
import torch
from torch import Tensor, nn

LABELS = ("top left", "top right", "bottom left", "bottom right")


class Net(nn.Module):
    """(N, 3, 8, 8) to logits (N, 4): which quarter of the picture is brightest; right by construction."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(4)
        self.mix = nn.Conv2d(3, 1, 1, bias=False)
        self.fc = nn.Linear(4, classes)
        with torch.no_grad():
            self.mix.weight.fill_(1 / 3)
            self.fc.weight.copy_(20 * torch.eye(classes, 4))
            self.fc.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.mix(self.pool(x)).flatten(1))


class TwoInTwoOut(nn.Module):
    """Tokens (N, 6) int64 and numbers (N, 4) float32 to scores (N, 3) and features (N, 12)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(10, 8)
        self.fc = nn.Linear(12, 3)

    def forward(self, tokens: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        features = torch.cat([self.embedding(tokens).mean(1), numbers], 1)
        return self.fc(features), features


class Named(TwoInTwoOut):
    """The same, its outputs in a dict."""

    def forward(self, tokens: Tensor, numbers: Tensor) -> dict[str, Tensor]:
        scores, features = super().forward(tokens, numbers)
        return {"scores": scores, "features": features}


class Branching(Net):
    """Takes another way for dark pictures, which only scripting can keep."""

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.mean() > 0.5):
            x = x * 2
        return self.fc(self.mix(self.pool(x)).flatten(1))


class NotANumber(Net):
    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x.mean((1, 2, 3)) - 2).reshape(-1, 1).repeat(1, 4)


def build() -> nn.Module:
    return Net()


def probabilities() -> nn.Module:
    return nn.Sequential(Net(), nn.Softmax(-1))


def nan_weights() -> nn.Module:
    net = Net()
    with torch.no_grad():
        net.fc.weight[1, 2] = float("nan")
    return net


def fails() -> nn.Module:
    return Net(classes="ten")  # type: ignore[arg-type]


def text() -> str:
    return "no module"


net = Net()
number = 7


def pixels(count, seed=0):
    """(N, 8, 8, 3) uint8, each with one brightest quarter, and which one it is."""
    found = np.random.default_rng(seed).integers(0, 60, (count, 8, 8, 3), np.uint8)
    truth = np.arange(count) % 4
    for i, quarter in enumerate(truth):
        row, column = quarter // 2 * 4, quarter % 2 * 4
        found[i, row : row + 4, column : column + 4] += 120
    return found, truth
