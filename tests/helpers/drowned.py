"""A model for tests that is right by construction in float, and that 8-bit integers ruin."""

import torch
from quarters import quarters_model
from torch import nn

from edgekit.optimize.deploy import DeployModel


def drowned_model(samples: int = 160) -> DeployModel:
    """The brightest quarter of a picture, read from a channel that a useless one, 3,000 times as large, drowns."""
    drowned, read = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 1, 1)
    net = nn.Sequential(nn.AvgPool2d(2), drowned, nn.ReLU(), read, nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 4))
    with torch.no_grad():
        drowned.weight.copy_(torch.tensor([1.0, 3000.0]).reshape(2, 1, 1, 1))
        drowned.bias.fill_(3.0)
        read.weight.copy_(torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1))
        read.bias.fill_(-3.0)
        for linear in (net[5], net[6]):
            linear.weight.copy_(3 * torch.eye(4))
            linear.bias.zero_()
    return quarters_model(net, name="drowned", samples=samples)
