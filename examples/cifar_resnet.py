"""ResNets for CIFAR-10 as a user would bring them: a plain nn.Module with the names that published weights have.

    edgekit optimize examples/cifar_resnet.py:resnet20 --weights resnet20.th --sample-shape 1,3,32,32 \\
        --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --calibration DIR --validation DIR --labels labels.txt

Source: K. He et al., "Deep Residual Learning for Image Recognition", 2016, section 4.2: 3 stages of n blocks, 6n + 2
layers, and shortcuts without weights ("option A"). Weights with these names are published in the GitHub repository
akamaster/pytorch_resnet_cifar10.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut: (N, inside, H, W) to (N, outside, H / stride, W / stride)."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.stride = stride
        self.added = (outside - inside) // 2  # channels of zeros on either side of the shortcut

    def forward(self, x: Tensor) -> Tensor:
        found = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.added, self.added))
        return F.relu(found + x)


class ResNet(nn.Module):
    """(N, 3, 32, 32) float32, normalized with ImageNet's mean and std, to logits (N, 10)."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = stage(16, 16, blocks, stride=1)
        self.layer2 = stage(16, 32, blocks, stride=2)
        self.layer3 = stage(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer1(F.relu(self.bn1(self.conv1(x))))  # (N, 16, 32, 32)
        x = self.layer3(self.layer2(x))  # (N, 64, 8, 8)
        return self.linear(F.avg_pool2d(x, 8).flatten(1))


def stage(inside: int, outside: int, blocks: int, stride: int) -> nn.Sequential:
    """`blocks` blocks, the first of which has the stride."""
    return nn.Sequential(*(Block(outside if i else inside, outside, 1 if i else stride) for i in range(blocks)))


def resnet20() -> ResNet:
    """272,474 parameters; the published weights reach 91.73 % on CIFAR-10's 10,000 test pictures."""
    return ResNet(3)


def resnet56() -> ResNet:
    """855,770 parameters; the published weights reach 93.39 %."""
    return ResNet(9)
