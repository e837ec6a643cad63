"""Metrics besides the task's own, measured after each epoch: precision, recall and F1, or the area under the ROC curve.

They are filled batch by batch, like a task's metric. Accuracy says little when one candidate in 300 is a nodule.
Chapters 12 to 14.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from edgekit.edge_runtime.tasks.detection_metrics import ConfusionCounts, auc, count_confusion
from edgekit.edge_runtime.tasks.segmentation import flagged_and_true


class ExtraMetrics(Protocol):
    """Named values of a validation pass; larger is better."""

    def update(self, outputs: np.ndarray, targets: np.ndarray) -> None: ...

    def values(self) -> dict[str, float]: ...


class DetectionMetrics:
    """Precision, recall and F1 of class 1, from logits (N, 2) and targets (N,)."""

    def __init__(self) -> None:
        self._counts = ConfusionCounts(true_positives=0, false_positives=0, false_negatives=0, true_negatives=0)

    def update(self, outputs: np.ndarray, targets: np.ndarray) -> None:
        self._counts += count_confusion(outputs.argmax(axis=1) == 1, targets == 1)

    def values(self) -> dict[str, float]:
        return {"precision": self._counts.precision, "recall": self._counts.recall, "f1": self._counts.f1}


class PixelMetrics(DetectionMetrics):
    """The same for the pixels of masks (N, 1, H, W)."""

    def update(self, outputs: np.ndarray, targets: np.ndarray) -> None:
        self._counts += count_confusion(*flagged_and_true(outputs, targets))


class RankingMetrics:
    """The area under the ROC curve by the margin of class 1, from logits (N, 2) and targets (N,)."""

    def __init__(self) -> None:
        self._margins: list[np.ndarray] = []
        self._targets: list[np.ndarray] = []

    def update(self, outputs: np.ndarray, targets: np.ndarray) -> None:
        self._margins.append(outputs[:, 1] - outputs[:, 0])
        self._targets.append(targets)

    def values(self) -> dict[str, float]:
        """Raises `InputError` where all targets are of one class."""
        return {"auc": auc(np.concatenate(self._margins), np.concatenate(self._targets))}
