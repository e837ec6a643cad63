"""Numbers as answers: their metric with its interval, when two models agree, and what a person reads.

Everything is numpy in float64. This module knows no model and no unit: a label names a number and its unit together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ..errors import BundleError, EngineError, InputError
from .metrics import NOT_FINITE

# Of the reference's range, about five steps of an 8-bit output: closer than that, two models say the same.
AGREEMENT_TOLERANCE = 0.02


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One sample's answer in numbers: (label, value) for each output, the label with its unit."""

    values: tuple[tuple[str, float], ...]


class MeanOfSamples:
    """What metrics share that are a mean over samples: one non-negative number a sample, and the mean's interval."""

    subject: ClassVar[str]  # as in "… of 0 samples"

    def __init__(self) -> None:
        self._values: list[np.ndarray] = []

    @property
    def values(self) -> np.ndarray:
        """The number of each sample so far, (N,) float64, in their order."""
        return np.concatenate(self._values) if self._values else np.zeros(0)

    @property
    def samples(self) -> int:
        return sum(map(len, self._values))

    @property
    def value(self) -> float:
        """At least 0; raises `InputError` before the first sample, since no number would be true."""
        return self._interval()[1]

    @property
    def low(self) -> float:
        return self._interval()[0]

    @property
    def high(self) -> float:
        return self._interval()[2]

    def _interval(self) -> tuple[float, float, float]:
        """(low, value, high); of a single sample the spread is not known, so the interval is all numbers from 0."""
        if not self._values:
            raise InputError(f"{self.subject} of 0 samples is not defined. Evaluate on at least one sample")
        return mean_interval(np.concatenate(self._values), lowest=0.0)


class MeanAbsoluteError(MeanOfSamples):
    """Mean of |output - target|, in the target's unit, with Student's interval over the samples.

    A sample's error is the mean over its outputs, so that 24 hours of one day count as one observation: they err
    together. Any NaN or infinity makes the value `NOT_FINITE` (1.8e308), which every gate refuses.
    """

    subject: ClassVar[str] = "the mean absolute error"
    name: ClassVar[str] = "mean_absolute_error"
    higher_is_better: ClassVar[bool] = False
    is_share: ClassVar[bool] = False

    def update(self, outputs: npt.ArrayLike, targets: npt.ArrayLike) -> None:
        """Adds one batch: outputs and targets (N, …), both of one shape.

        Raises:
            InputError: the shapes differ, or have no axis of samples. (N,) against (N, 1) is refused, not broadcast.
        """
        found, wanted = np.asarray(outputs, dtype=np.float64), np.asarray(targets, dtype=np.float64)
        if found.shape != wanted.shape or found.ndim == 0 or (len(found) and not found.size):
            raise InputError(
                f"the mean absolute error takes outputs and targets of one shape (N, …), found {found.shape} and "
                f"{wanted.shape}. Give one row of numbers for each sample"
            )
        if len(found):
            with np.errstate(invalid="ignore", over="ignore"):  # infinities are counted below
                self._values.append(np.abs(found - wanted).reshape(len(found), -1).mean(axis=1))


def mean_interval(values: np.ndarray, *, lowest: float) -> tuple[float, float, float]:
    """(low, mean, high) of (N,) float64 values that are `lowest` or more: Student's 95 % interval, cut off there.

    Of one value it is (lowest, value, `NOT_FINITE`); a NaN or infinity makes mean and high `NOT_FINITE`.
    """
    if not np.isfinite(values).all():
        return lowest, NOT_FINITE, NOT_FINITE
    mean = float(values.mean())
    if len(values) == 1:
        return lowest, mean, NOT_FINITE
    spread = t95(len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return max(lowest, mean - spread), mean, mean + spread


def t95(degrees: int) -> float:
    """Two-sided 95 % quantile of Student's t: 12.706 for 1 degree of freedom, 1.96 for many.

    Exact for 1 and 2, then by the expansion in 1/degrees of Abramowitz & Stegun, Handbook of Mathematical Functions,
    26.7.5: within 0.5 % from 3 on.

    Raises:
        ValueError: less than 1 degree of freedom.
    """
    if degrees < 1:
        raise ValueError(f"Student's t needs 1 degree of freedom or more, found {degrees}")
    if degrees == 1:
        return math.tan(0.475 * math.pi)
    if degrees == 2:
        return 0.95 * math.sqrt(2 / (1 - 0.95**2))
    z = 1.959963984540054
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * degrees**4)
    )


def near_agreement(reference: npt.ArrayLike, found: npt.ArrayLike) -> float:
    """Share of the N samples of two (N, …) arrays that agree: every number within 2 % of the reference's range.

    The range is largest minus smallest value over all of `reference`; where that is 0, its magnitude. A sample with a
    NaN or infinity on either side does not agree.

    Raises:
        InputError: the shapes differ, have no axis of samples, or hold no values.
    """
    wanted, got = np.asarray(reference, dtype=np.float64), np.asarray(found, dtype=np.float64)
    if wanted.shape != got.shape or wanted.size == 0 or wanted.ndim == 0:
        raise InputError(
            f"agreement takes two arrays of one shape (N, …) with at least one value, found {wanted.shape} and "
            f"{got.shape}. Give the answers to the same samples"
        )
    finite = wanted[np.isfinite(wanted)]
    if not finite.size:
        return 0.0
    allowed = AGREEMENT_TOLERANCE * (float(np.ptp(finite)) or float(np.abs(finite).max()))
    with np.errstate(invalid="ignore"):
        near = np.abs(wanted - got) <= allowed  # False for NaN
    return float(np.mean(near.reshape(len(wanted), -1).all(axis=1)))


def estimate(outputs: npt.ArrayLike, labels: Sequence[str]) -> list[Estimate]:
    """Numbers (N, F) and F labels to N estimates.

    Raises:
        BundleError: the outputs are not (N, F) for these labels, so manifest and model do not belong together.
        EngineError: an output is NaN or infinite.
    """
    numbers = np.asarray(outputs, dtype=np.float64)
    if numbers.ndim != 2 or numbers.shape[1] != len(labels) or not labels:
        raise BundleError(
            f"the model's output has the shape {numbers.shape}, its manifest lists {len(labels)} labels. "
            "Pack the bundle again with one label for each number"
        )
    if not np.isfinite(numbers).all():
        bad = numbers[~np.isfinite(numbers)]
        raise EngineError(f"the model answered {bad[0]}, which is no number. Run `edgekit verify` on the bundle")
    return [Estimate(values=tuple(zip(labels, map(float, row), strict=True))) for row in numbers]
