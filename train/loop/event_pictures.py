"""What TensorBoard shows of a validation pass: how two classes are told apart, and masks over the slices they are of.

Writes into a log that is open; trains and evaluates nothing. Sources: chapter 12 (ROC, histograms), chapter 13 (masks).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from edgekit.edge_runtime.tasks.detection_metrics import roc
from edgekit.train.figures import Figures

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_SHOWN = 16
_OVERLAY = 0.6


class Kept:
    """Keeps a validation pass: `outputs` and `targets`, each (N, ...), besides what `figures` makes of them."""

    def __init__(self, figures: Figures | None) -> None:
        self._figures = figures
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []

    def update(self, outputs: np.ndarray, targets: np.ndarray) -> None:
        self._parts.append((outputs, targets))
        if self._figures:
            self._figures.update(outputs, targets)

    def values(self) -> dict[str, float]:
        return self._figures.values() if self._figures else {}

    @property
    def outputs(self) -> np.ndarray:
        return np.concatenate([outputs for outputs, _ in self._parts])

    @property
    def targets(self) -> np.ndarray:
        return np.concatenate([targets for _, targets in self._parts])


def grey(inputs: Tensor) -> Tensor:
    """The middle slice of crops (N, 1, D, H, W), or of slices (N, C, H, W) and neighbours: (N, 1, H, W), 0 to 1."""
    slices = inputs[:_SHOWN].detach().float().cpu()
    slices = slices[:, :, slices.shape[2] // 2] if slices.ndim == 5 else slices
    slices = slices[:, slices.shape[1] // 2][:, None]
    low, high = slices.amin(), slices.amax()
    return (slices - low) / (high - low).clamp(min=1e-6)


def add_two_classes(writer: SummaryWriter, kept: Kept, epoch: int) -> None:
    """The ROC curve, precision over recall, and the probabilities of class 1 of either class; logits (N, 2)."""
    found, truth = torch.from_numpy(kept.outputs).float().softmax(1)[:, 1].numpy(), kept.targets == 1
    if truth.all() or not truth.any():
        return  # there is nothing to tell apart
    from matplotlib.figure import Figure  # a run without --tensorboard neither waits for it nor needs it

    curve = roc(found, truth)
    page = Figure(figsize=(4, 4), layout="constrained")
    axes = page.subplots()
    axes.plot(curve.false_positive_rate, curve.true_positive_rate)
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.01))
    writer.add_figure("roc/validation", page, epoch)
    writer.add_pr_curve("precision_recall/validation", truth, found, epoch)
    for name, rows in (("class 0", ~truth), ("class 1", truth)):
        writer.add_histogram(f"probability/{name}", found[rows], epoch)


def add_masks(writer: SummaryWriter, kept: Kept, inputs: Tensor, epoch: int) -> None:
    """Validation slices in grey, flagged pixels red, true ones green, both yellow; masks (N, 1, H, W), 0 to 1."""
    pictures = grey(inputs).repeat(1, 3, 1, 1)  # (N, 3, H, W)
    for channel, masks in ((0, kept.outputs), (1, kept.targets)):
        on = torch.from_numpy(masks[:_SHOWN, 0] > 0.5)
        pictures[:, channel] = torch.where(on, pictures[:, channel] * (1 - _OVERLAY) + _OVERLAY, pictures[:, channel])
    writer.add_images("masks/validation", pictures, epoch)
