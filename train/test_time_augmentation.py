"""Test-time augmentation: a classifier's answers averaged over mirrored and moved views of each picture.

Each view costs a run of the model, so a device does without. Training reports it beside the plain figure.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class SixViews(nn.Module):
    """(N, C, H, W) to the logits of `module`, averaged: the picture and its mirror image, each also moved two ways.

    The unmoved views count half, the views moved by one pixel up left and down right a quarter each. Source: arXiv
    2404.00498, on evaluation with several views.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, pictures: Tensor) -> Tensor:
        height, width = pictures.shape[2:]
        padded = F.pad(pictures, (1, 1, 1, 1), mode="reflect")
        up_left, down_right = padded[:, :, :height, :width], padded[:, :, 2:, 2:]
        views = ((pictures, 0.5), (up_left, 0.25), (down_right, 0.25))
        answers = [share / 2 * (self.module(view) + self.module(view.flip(3))) for view, share in views]
        return answers[0] + answers[1] + answers[2]
