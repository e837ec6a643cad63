"""Between raw input and answers: what stands around a model in the exported graph, and what comes out by task.

Knows tasks and modules; no data, no format.
"""

from __future__ import annotations

import torch
from torch import nn

from edgekit.edge_runtime.bundle.contract import Holds


class Deployable(nn.Module):
    """input module -> model -> head, as one module: raw input (N, …) in, answers (N, …) float32 out."""

    def __init__(self, inputs: nn.Module, model: nn.Module, head: nn.Module):
        super().__init__()
        self.inputs = inputs
        self.model = model
        self.head = head

    def forward(self, raw: torch.Tensor) -> torch.Tensor:
        return self.head(self.model(self.inputs(raw)))


class DeployableDetector(Deployable):
    """The same for a detector: raw input in; scores (N, A, C) behind the head, and boxes (N, A, 4), out."""

    def forward(self, raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        scores, boxes = self.model(self.inputs(raw))
        return self.head(scores), boxes


# By task: the name of the first output, and what turns it into answers inside the exported graph.
HEADS: dict[str, tuple[str, nn.Module]] = {
    "classification": ("probabilities", nn.Softmax(dim=-1)),
    "multi_label": ("probabilities", nn.Sigmoid()),
    "regression": ("prediction", nn.Identity()),
    "next_character": ("log_probabilities", nn.Identity()),
    "segmentation": ("mask", nn.Identity()),
    "detection": ("scores", nn.Sigmoid()),
}
BOXES = "boxes"  # a detector's second output
# What the first outputs of a deployed model hold, by its task, where the model says nothing else; others are values.
HOLDS: dict[str, tuple[Holds, ...]] = {
    "classification": ("probabilities",),
    "multi_label": ("independent_probabilities",),
    "next_character": ("log_probabilities",),
    "segmentation": ("mask",),
    "detection": ("scores", "boxes"),
}
