"""What TensorBoard shows of a validation pass: how well two classes are told apart, and masks over their slices.

Writes into an open log; trains and evaluates nothing. Sources: chapter 12 (ROC, histograms), chapter 13 (masks).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from edgekit.edge_runtime.tasks.detection_metrics import roc
from edgekit.train.extra_metrics import ExtraMetrics

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_SHOWN = 16
_OVERLAY = 0.6


class ValidationPass:
    """Collects the `outputs` and `targets` of a validation pass, each (N, ...), and fills `extra` metrics with them."""

    def __init__(self, extra: ExtraMetrics | None) -> None:
        self._extra = extra
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []

    def update(self, outputs: np.ndarray, targets: np.ndarray) -> None:
        self._parts.append((outputs, targets))
        if self._extra:
            self._extra.update(outputs, targets)

    def values(self) -> dict[str, float]:
        return self._extra.values() if self._extra else {}

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


def add_two_classes(writer: SummaryWriter, answers: ValidationPass, epoch: int) -> None:
    """The ROC curve, precision over recall, and a histogram of P(class 1) for each class; logits (N, 2)."""
    probabilities = torch.from_numpy(answers.outputs).float().softmax(1)[:, 1].numpy()
    truth = answers.targets == 1
    if truth.all() or not truth.any():
        return  # there is nothing to tell apart
    from matplotlib.figure import Figure  # a run without --tensorboard neither waits for it nor needs it

    curve = roc(probabilities, truth)
    page = Figure(figsize=(4, 4), layout="constrained")
    axes = page.subplots()
    axes.plot(curve.false_positive_rate, curve.true_positive_rate)
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.01))
    writer.add_figure("roc/validation", page, epoch)
    writer.add_pr_curve("precision_recall/validation", truth, probabilities, epoch)
    for name, rows in (("class 0", ~truth), ("class 1", truth)):
        writer.add_histogram(f"probability/{name}", probabilities[rows], epoch)


def add_masks(writer: SummaryWriter, answers: ValidationPass, inputs: Tensor, epoch: int) -> None:
    """Validation slices in grey, flagged pixels red, true ones green, both yellow; masks (N, 1, H, W), 0 to 1."""
    pictures = grey(inputs).repeat(1, 3, 1, 1)  # (N, 3, H, W)
    for channel, masks in ((0, answers.outputs), (1, answers.targets)):
        on = torch.from_numpy(masks[:_SHOWN, 0] > 0.5)
        pictures[:, channel] = torch.where(on, pictures[:, channel] * (1 - _OVERLAY) + _OVERLAY, pictures[:, channel])
    writer.add_images("masks/validation", pictures, epoch)
