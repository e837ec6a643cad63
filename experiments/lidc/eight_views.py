"""Test-time augmentation for pictures that have no upright, such as a nodule's slice; several nets make an ensemble."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class EightViews(nn.Module):
    """(N, C, H, H) to the logits of `modules`, averaged over them and the eight turns and mirrors of a square."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.members = nn.ModuleList(modules)

    def forward(self, pictures: Tensor) -> Tensor:
        turned = [torch.rot90(pictures, turns, (2, 3)) for turns in range(4)]
        views = [*turned, *(view.flip(3) for view in turned)]
        return torch.stack([member(view) for member in self.members for view in views]).mean(dim=0)
