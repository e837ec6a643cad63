"""How well rare things are detected: precision, recall and F1 at a threshold, and the area under the ROC curve.

Everything is numpy in float64. This module knows no model: scores and truth come as arrays. Source: chapters 12 to 14.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import InputError


@dataclass(frozen=True, kw_only=True)
class ConfusionCounts:
    """Counts of true and false positives and negatives. Two of them can be added.

    The precision of no detections and the recall of no positives are 0, as in most tools.
    """

    true_positives: int
    """Positives that were called positive."""
    false_positives: int
    """Negatives that were called positive."""
    false_negatives: int
    """Positives that were called negative."""
    true_negatives: int
    """Negatives that were called negative."""

    def __add__(self, other: ConfusionCounts) -> ConfusionCounts:
        return ConfusionCounts(
            true_positives=self.true_positives + other.true_positives,
            false_positives=self.false_positives + other.false_positives,
            false_negatives=self.false_negatives + other.false_negatives,
            true_negatives=self.true_negatives + other.true_negatives,
        )

    @property
    def precision(self) -> float:
        """Share of what was called positive that is positive."""
        return self.true_positives / max(1, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Share of the positives that were called positive."""
        return self.true_positives / max(1, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        errors = self.false_positives + self.false_negatives
        return 2 * self.true_positives / max(1, 2 * self.true_positives + errors)


def count_confusion(called: npt.ArrayLike, truth: npt.ArrayLike) -> ConfusionCounts:
    """Counts from two arrays of the same shape, each true or 1 for a positive.

    Raises:
        InputError: the shapes differ.
    """
    positive, true = np.asarray(called).astype(bool), np.asarray(truth).astype(bool)
    if positive.shape != true.shape:
        raise InputError(
            f"detections and truth should have the same shape; found {positive.shape} and {true.shape}. "
            "Give one of each for every sample"
        )
    both, called_count, true_count = int((positive & true).sum()), int(positive.sum()), int(true.sum())
    return ConfusionCounts(
        true_positives=both,
        false_positives=called_count - both,
        false_negatives=true_count - both,
        true_negatives=true.size - called_count - true_count + both,
    )


@dataclass(frozen=True, kw_only=True)
class Roc:
    """A ROC curve with K points."""

    thresholds: np.ndarray
    """(K,) falling."""
    false_positive_rate: np.ndarray
    """(K,) share of the negatives that score at least the threshold."""
    true_positive_rate: np.ndarray
    """(K,) share of the positives that score at least the threshold."""

    @property
    def area(self) -> float:
        """The area under the curve, by trapezoids."""
        return float(np.trapezoid(self.true_positive_rate, self.false_positive_rate))


def roc(scores: npt.ArrayLike, truth: npt.ArrayLike, *, thresholds: npt.ArrayLike | None = None) -> Roc:
    """The curve of (N,) scores, which are larger for a positive, against (N,) truth.

    Args:
        thresholds: (K,) falling. None takes infinity and then every score, so that the area is exactly `auc`.

    Raises:
        InputError: the shapes differ, a score is NaN, or there is no positive or no negative.
    """
    values, positive = _scores(scores, truth)
    cuts = np.r_[np.inf, np.unique(values)[::-1]] if thresholds is None else np.asarray(thresholds, np.float64)
    rates = [
        1 - np.searchsorted(np.sort(side), cuts, side="left") / len(side)
        for side in (values[~positive], values[positive])
    ]
    return Roc(thresholds=cuts, false_positive_rate=rates[0], true_positive_rate=rates[1])


def auc(scores: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """The chance that a positive scores above a negative, a tie counting half: the exact area under the ROC curve.

    Source: Mann and Whitney's U, Annals of Mathematical Statistics 18 (1947), 50-60. Raises as `roc`.
    """
    values, positive = _scores(scores, truth)
    negatives = np.sort(values[~positive])
    below = np.searchsorted(negatives, values[positive], side="left")
    ties = np.searchsorted(negatives, values[positive], side="right") - below
    return float((below + ties / 2).sum() / (positive.sum() * len(negatives)))


def _scores(scores: npt.ArrayLike, truth: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    values, positive = np.asarray(scores, np.float64), np.asarray(truth).astype(bool)
    if values.ndim != 1 or values.shape != positive.shape or np.isnan(values).any():
        raise InputError(
            f"a ROC curve takes scores (N,) without NaN and truth (N,); found {values.shape} and {positive.shape}. "
            "Give one score for each sample"
        )
    if positive.all() or not positive.any():
        raise InputError(
            f"{int(positive.sum())} of {len(values)} samples are positive. A ROC curve needs positives and negatives"
        )
    return values, positive
