"""Small models that engines treat differently; tests name them as `preflight_net.py:NAME`."""

import torch
from torch import Tensor, nn


class Plain(nn.Module):
    """(N, 3, 8, 8) to (N, 2); every engine runs all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(144, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).relu().flatten(1))


class Singular(Plain):
    """(N, 3, 8, 8) to (N, 24), by an operator that only torch has."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        return torch.linalg.svdvals(x).flatten(1)


class Volume(nn.Module):
    """(N, 1, 4, 6, 6) to (N, 2, 4, 6, 6): a convolution that ExecuTorch has no kernel for."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Normed(nn.Module):
    """(N, 3, 8, 8) to (N, 4, 6, 6): a norm that XNNPACK leaves to a portable kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.InstanceNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Branching(nn.Module):
    """(N, 4) to (N, 2), one way or the other by what the numbers are."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.mean() > 0):
            x = x * 2
        return self.fc(x)
