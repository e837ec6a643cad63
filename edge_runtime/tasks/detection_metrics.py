"""How well rare things are found: precision, recall and F1 of a threshold, and the area under the ROC curve.

Everything is numpy in float64. This module knows no model: scores and truth come as arrays. Source: chapters 12 to 14.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import InputError


@dataclass(frozen=True, kw_only=True)
class ConfusionCounts:
    """How many positives and negatives were called what they are; the counts of two batches add up.

    A share of nothing is 0 here, as in most tools: the precision of no detections, the recall of no positives.
    """

    true_positives: int
    """Positives called positive."""
    false_positives: int
    """Negatives called positive."""
    false_negatives: int
    """Positives called negative."""
    true_negatives: int
    """Negatives called negative."""

    def __add__(self, other: ConfusionCounts) -> ConfusionCounts:
        return ConfusionCounts(
            true_positives=self.true_positives + other.true_positives,
            false_positives=self.false_positives + other.false_positives,
            false_negatives=self.false_negatives + other.false_negatives,
            true_negatives=self.true_negatives + other.true_negatives,
        )

    @property
    def precision(self) -> float:
        """Share of what was called positive that is."""
        return self.true_positives / max(1, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Share of the positives that was found."""
        return self.true_positives / max(1, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        errors = self.false_positives + self.false_negatives
        return 2 * self.true_positives / max(1, 2 * self.true_positives + errors)


def count_confusion(called: npt.ArrayLike, truth: npt.ArrayLike) -> ConfusionCounts:
    """Counts from two arrays of one shape, each true or 1 for a positive.

    Raises:
        InputError: the shapes differ.
    """
    said, true = np.asarray(called).astype(bool), np.asarray(truth).astype(bool)
    if said.shape != true.shape:
        raise InputError(f"detections {said.shape} and truth {true.shape} need one shape. Give one of each a sample")
    both, said_count, true_count = int((said & true).sum()), int(said.sum()), int(true.sum())
    return ConfusionCounts(
        true_positives=both,
        false_positives=said_count - both,
        false_negatives=true_count - both,
        true_negatives=true.size - said_count - true_count + both,
    )


@dataclass(frozen=True, kw_only=True)
class Roc:
    """A ROC curve: (K,) thresholds, falling, and the rates of what scores at least that. `area` is by trapezoids."""

    thresholds: np.ndarray
    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray

    @property
    def area(self) -> float:
        return float(np.trapezoid(self.true_positive_rate, self.false_positive_rate))


def roc(scores: npt.ArrayLike, truth: npt.ArrayLike, *, thresholds: npt.ArrayLike | None = None) -> Roc:
    """The curve of (N,) scores, larger for a positive, against (N,) truth.

    Args:
        thresholds: (K,) falling. None: every score, after infinity, so that the area is exactly `auc`.

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
    """The chance that a positive scores above a negative, ties for half: the exact area under the ROC curve.

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
            f"a ROC curve takes scores (N,) that are numbers and truth (N,), found {values.shape} and "
            f"{positive.shape}. Give one finite score for each sample"
        )
    if positive.all() or not positive.any():
        raise InputError(f"of {len(values)} samples {int(positive.sum())} are positive. A ROC curve needs both kinds")
    return values, positive
