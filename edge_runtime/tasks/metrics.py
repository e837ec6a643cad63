"""How right and how close an answer is: task metrics with their intervals, and distances between two arrays.

Everything is numpy in float64, so the same lines measure training, the float model and the artifact on a device. This
module knows no model, no engine and no file; the tasks in `registry` choose their metrics.
"""

from __future__ import annotations

import math
import sys
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import InputError

SQNR_CAP_DB = 200.0
# JSON has no infinity, and a manifest must be able to say that a stage failed this badly.
NOT_FINITE = sys.float_info.max
_Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


class TaskMetric(Protocol):
    """What every metric class offers: it is made without arguments, filled batch by batch, and read at any time."""

    name: ClassVar[str]
    """Its name, as in a manifest."""
    higher_is_better: ClassVar[bool]
    """False for an error."""
    is_share: ClassVar[bool]
    """Whether its value is written as a percentage."""

    def update(self, outputs: npt.ArrayLike, targets: npt.ArrayLike) -> None: ...

    @property
    def samples(self) -> int: ...

    @property
    def value(self) -> float: ...

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""


class Accuracy:
    """Share of answers whose largest output is at the target's index.

    Of one answer a sample it has Wilson's interval. Where a sample has several, such as tokens or pixels, they are
    right or wrong together: the interval is that of a ratio of means over samples, and `samples` counts samples.
    """

    name: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True
    is_share: ClassVar[bool] = True

    def __init__(self) -> None:
        self._correct = 0
        self._samples = 0
        self._rows: list[np.ndarray] = []  # of samples with several answers: how many are right, and how many there are

    def update(self, outputs: npt.ArrayLike, targets: npt.ArrayLike) -> None:
        """Counts one batch: outputs (N, C) or (N, C, …), logits or probabilities; targets (N,) or (N, …), indices.

        An answer with a NaN counts as wrong, whatever its argmax is; of equal outputs the first is the answer. Where a
        sample has several answers, a target below 0 is not counted, such as that of padding.

        Raises:
            InputError: the shapes do not fit each other, or the targets are not indices of the C classes.
        """
        scores, wanted = np.asarray(outputs), np.asarray(targets)
        if scores.ndim < 2 or scores.shape[1] == 0 or wanted.shape != scores.shape[:1] + scores.shape[2:]:
            raise InputError(
                f"accuracy takes outputs (N, C) and targets (N,), or (N, C, …) and (N, …); found {scores.shape} and "
                f"{wanted.shape}. Give one row of class scores and one class index for each answer"
            )
        lowest = 0 if scores.ndim == 2 else -np.inf
        if wanted.size and not (
            wanted.dtype.kind in "iu" and wanted.min() >= lowest and wanted.max() < scores.shape[1]
        ):
            raise InputError(
                f"the targets are not class indices: found {wanted.dtype} from {wanted.min()} to {wanted.max()}. "
                f"Give whole numbers from 0 to {scores.shape[1] - 1}"
            )
        if scores.ndim > 2:
            self._rows.append(right_and_counted(scores, wanted))
            self._samples += len(wanted)
            return
        self._correct += int(np.count_nonzero(_top(scores) == wanted))
        self._samples += len(wanted)

    @property
    def correct(self) -> int:
        return self._correct + int(sum(rows[:, 0].sum() for rows in self._rows))

    @property
    def samples(self) -> int:
        return self._samples

    @property
    def value(self) -> float:
        """In [0, 1]. Raises `InputError` before the first sample, when no number would be true."""
        if self._samples == 0:
            raise InputError("the accuracy of 0 samples is undefined. Evaluate on at least one sample")
        return self._interval()[1]

    @property
    def low(self) -> float:
        return self._interval()[0]

    @property
    def high(self) -> float:
        return self._interval()[2]

    def _interval(self) -> tuple[float, float, float]:
        if not self._rows:
            low, high = wilson_interval(self._correct, self._samples)
            return low, self._correct / max(1, self._samples), high
        return ratio_interval(np.concatenate(self._rows))


def right_and_counted(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(N, C, …) and (N, …) to (N, 2) float64: how many of a sample's answers are right, and how many are counted."""
    counted = targets >= 0
    right = (_top(scores) == targets) & counted
    pairs = [array.reshape(len(array), -1).sum(axis=1) for array in (right, counted)]
    return np.stack(pairs, axis=1).astype(np.float64)


def ratio_interval(rows: np.ndarray) -> tuple[float, float, float]:
    """(low, value, high) of the share that the first column (N, 2) has of the second; (0, value, 1) for one sample.

    The 95 % interval of a ratio of means, by its linear approximation, cut to [0, 1]. Source: W. G. Cochran, Sampling
    Techniques (1977), 2.11 and 6.4.
    """
    parts, wholes = rows.sum(axis=0)
    if wholes == 0:
        return 0.0, 0.0, 1.0
    value = float(parts / wholes)
    if len(rows) == 1:
        return 0.0, value, 1.0
    residuals = rows[:, 0] - value * rows[:, 1]
    spread = _Z95 * math.sqrt(len(rows) / (len(rows) - 1) * float((residuals**2).sum())) / float(wholes)
    return max(0.0, value - spread), value, min(1.0, value + spread)


def wilson_interval(successes: int, samples: int) -> tuple[float, float]:
    """95 % score interval of a proportion, (low, high) in [0, 1]; (0, 1) where there are no samples.

    Unlike the usual ± 1.96 standard errors, it stays inside [0, 1] and is not empty at 100 %. Source: E. B. Wilson,
    "Probable inference, the law of succession, and statistical inference", JASA 22 (1927), 209-212.

    Raises:
        ValueError: not 0 <= successes <= samples.
    """
    if not 0 <= successes <= samples:
        raise ValueError(f"{successes} successes of {samples} samples are impossible")
    if samples == 0:
        return 0.0, 1.0
    share, z2 = successes / samples, _Z95**2
    centre = share + z2 / (2 * samples)
    spread = _Z95 * math.sqrt(share * (1 - share) / samples + z2 / (4 * samples**2))
    scale = 1 + z2 / samples
    # At 0 and 1 the ends are exact, and rounding would miss them by the last digit.
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == samples else (centre + spread) / scale
    return low, high


def sqnr_db(reference: npt.ArrayLike, answer: npt.ArrayLike) -> float:
    """Signal-to-quantization-noise ratio in decibels, 10 log10(sum reference² / sum (reference - answer)²).

    In [-200, 200]: 200 stands for identical, -200 for a NaN or infinity on either side. Both have the same shape.

    Raises:
        InputError: the shapes differ, or the arrays are empty.
    """
    wanted, got = _pair(reference, answer)
    if not _finite(wanted, got):
        return -SQNR_CAP_DB
    scale = max(float(np.abs(wanted).max()), float(np.abs(got).max()))
    if scale == 0:
        return SQNR_CAP_DB
    wanted, got = wanted / scale, got / scale  # so that no square overflows
    signal, noise = float(np.sum(wanted**2)), float(np.sum((wanted - got) ** 2))
    if noise == 0:
        return SQNR_CAP_DB
    if signal == 0:
        return -SQNR_CAP_DB
    return min(SQNR_CAP_DB, max(-SQNR_CAP_DB, 10 * (math.log10(signal) - math.log10(noise))))


def max_abs(reference: npt.ArrayLike, answer: npt.ArrayLike) -> float:
    """Largest absolute difference; `NOT_FINITE` (1.8e308) where either side holds a NaN or infinity.

    Raises:
        InputError: the shapes differ, or the arrays are empty.
    """
    wanted, got = _pair(reference, answer)
    if not _finite(wanted, got):
        return NOT_FINITE
    with np.errstate(over="ignore"):
        return min(NOT_FINITE, float(np.abs(wanted - got).max()))


def relative_error(reference: npt.ArrayLike, answer: npt.ArrayLike) -> float:
    """`max_abs` over the range (largest minus smallest value) of the reference.

    A constant reference has no range, so its magnitude is used. Against all zeros, any difference is `NOT_FINITE`.

    Raises:
        InputError: the shapes differ, or the arrays are empty.
    """
    wanted, got = _pair(reference, answer)
    difference = max_abs(wanted, got)
    if difference in (0.0, NOT_FINITE):
        return difference
    scale = float(np.abs(wanted).max())
    if scale == 0:
        return NOT_FINITE
    span = float(np.ptp(wanted / scale)) or 1.0  # scaled, because the range of huge values would overflow
    with np.errstate(over="ignore"):
        return float(min(NOT_FINITE, np.float64(difference) / scale / span))


def top_agreement(reference: npt.ArrayLike, answer: npt.ArrayLike) -> float:
    """Share of answers in two arrays (N, C, …) whose largest value along axis 1 is at the same place.

    An answer with a NaN does not agree.

    Raises:
        InputError: the shapes differ or are not (N, C, …), or the arrays are empty.
    """
    return float(1 - np.mean(top_differ(reference, answer)))


def top_differ(reference: npt.ArrayLike, answer: npt.ArrayLike) -> np.ndarray:
    """(N, …) bool: of which answers the largest value is at another place. Raises as `top_agreement`."""
    wanted, got = _pair(reference, answer)
    if wanted.ndim < 2:
        raise InputError(f"agreement takes arrays (N, C); found {wanted.shape}. Give one row of scores for each sample")
    first, second = _top(wanted), _top(got)
    return (first != second) | (first < 0)


def _top(scores: np.ndarray) -> np.ndarray:
    """(N, C, …) -> (N, …): index of the largest score; -1 where one is NaN, which argmax would call the largest."""
    return np.where(np.isnan(scores).any(axis=1), -1, scores.argmax(axis=1))


def _pair(reference: npt.ArrayLike, answer: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    wanted, got = np.asarray(reference, dtype=np.float64), np.asarray(answer, dtype=np.float64)
    if wanted.shape != got.shape or wanted.size == 0:
        raise InputError(
            f"two arrays are compared only if they have the same shape and are not empty; found {wanted.shape} and "
            f"{got.shape}. Give the answers to the same samples"
        )
    return wanted, got


def _finite(*arrays: np.ndarray) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays)
