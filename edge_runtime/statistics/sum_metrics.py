"""Metrics that are functions of sums over samples, and the rows of numbers that are summed up.

A row is what one sample adds. Rows of two models for the same samples say which of the two is better, and how surely
(`resampled.py`). This module knows no model; outputs and truth come as arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import InputError

Row = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class SumMetric:
    """A metric of the sums of a few columns over all samples.

    `value` takes sums (…, K) and gives (…); multiplying all sums by one number does not change it. `size` says how
    much of what is counted is in rows (…, K). `worst` is what one more sample of size 1 could cost at most: its row
    before and after; None where there is no such limit.
    """

    name: str
    higher_is_better: bool
    is_share: bool
    value: Callable[[np.ndarray], np.ndarray]
    size: Callable[[np.ndarray], np.ndarray]
    worst: tuple[Row, Row] | None


def _ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """A share of nothing is 0, as in `detection_metrics.py`."""
    some = under > 0
    return np.where(some, over / np.where(some, under, 1.0), 0.0)


def _of_detections(name: str, value: Callable[[np.ndarray], np.ndarray], after: Row) -> SumMetric:
    return SumMetric(
        name=name,
        higher_is_better=True,
        is_share=True,
        value=value,
        size=lambda rows: rows.sum(axis=-1),
        worst=((1.0, 0.0, 0.0), after),
    )


def _f1(sums: np.ndarray) -> np.ndarray:
    return _ratio(2 * sums[..., 0], 2 * sums[..., 0] + sums[..., 1] + sums[..., 2])


# Of `detection_rows`: true positives, false positives, false negatives. The worst is a positive that is found no more.
F1 = _of_detections("f1", _f1, (0.0, 0.0, 1.0))
DICE = _of_detections("dice", _f1, (0.0, 0.0, 1.0))  # F1 of pixels, pooled over all samples
# The same pixels as intersection over union.
IOU = _of_detections("iou", lambda sums: _ratio(sums[..., 0], sums.sum(axis=-1)), (0.0, 0.0, 1.0))
RECALL = _of_detections("recall", lambda sums: _ratio(sums[..., 0], sums[..., 0] + sums[..., 2]), (0.0, 0.0, 1.0))
PRECISION = _of_detections("precision", lambda sums: _ratio(sums[..., 0], sums[..., 0] + sums[..., 1]), (0.0, 1.0, 0.0))


def mean_of(name: str, *, higher_is_better: bool, is_share: bool = False) -> SumMetric:
    """The mean of one number a sample, of `mean_rows`. A share lies from 0 to 1, so that its loss has a limit."""
    good, bad = ((1.0, 1.0), (0.0, 1.0)) if higher_is_better else ((0.0, 1.0), (1.0, 1.0))
    return SumMetric(
        name=name,
        higher_is_better=higher_is_better,
        is_share=is_share,
        value=lambda sums: _ratio(sums[..., 0], sums[..., 1]),
        size=lambda rows: rows[..., 1],
        worst=(good, bad) if is_share else None,
    )


def mean_rows(values: npt.ArrayLike) -> np.ndarray:
    """(N,) numbers, or (N, …) of which each sample's mean is taken, to (N, 2) rows: the number, and 1."""
    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers.reshape(len(numbers), -1).mean(axis=1) if numbers.ndim > 1 else numbers
    return np.stack([numbers, np.ones(len(numbers))], axis=1)


def hit_rows(hits: npt.ArrayLike) -> np.ndarray:
    """(N, …) of what was right to (N, 2) rows: how many of a sample's elements were, and how many there are."""
    right = np.asarray(hits).astype(bool)
    right = right.reshape(len(right), -1)
    return np.stack([right.sum(axis=1), np.full(len(right), right.shape[1])], axis=1).astype(np.float64)


def detection_rows(called: npt.ArrayLike, truth: npt.ArrayLike) -> np.ndarray:
    """(N, …) of what was called positive, and what is, to (N, 3) rows: true positives, false positives, misses.

    Raises:
        InputError: the shapes differ.
    """
    said, true = np.asarray(called).astype(bool), np.asarray(truth).astype(bool)
    if said.shape != true.shape:
        raise InputError(f"detections {said.shape} and truth {true.shape} need one shape. Give one of each a sample")
    said, true = said.reshape(len(said), -1), true.reshape(len(true), -1)
    parts = [said & true, said & ~true, ~said & true]
    return np.stack([part.sum(axis=1) for part in parts], axis=1).astype(np.float64)
