"""Numbers as answers: their metric with its interval, when two models agree, and what a person reads.

Everything is numpy in float64. This module knows no model and no unit: a label names a number together with its unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ..command_line import EDGEKIT
from ..errors import BundleError, EngineError, InputError
from .metrics import NOT_FINITE

# As a share of the reference's range; about five steps of an 8-bit output. Closer than that, two answers are the same.
AGREEMENT_TOLERANCE = 0.02


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One sample's answer in numbers."""

    values: tuple[tuple[str, float], ...]
    """(label, value) for each output; the label names the unit too."""


class MeanOfSamples:
    """A metric that is a mean over samples: one non-negative number per sample, and the interval of the mean."""

    subject: ClassVar[str]
    """What it is called in a message, as in "… of 0 samples"."""

    def __init__(self) -> None:
        self._values: list[np.ndarray] = []

    @property
    def values(self) -> np.ndarray:
        """The number of each sample so far, (N,) float64, in order."""
        return np.concatenate(self._values) if self._values else np.zeros(0)

    @property
    def samples(self) -> int:
        return sum(map(len, self._values))

    @property
    def value(self) -> float:
        """0 or more. Raises `InputError` before the first sample, when no number would be true."""
        return self._interval()[1]

    @property
    def low(self) -> float:
        return self._interval()[0]

    @property
    def high(self) -> float:
        return self._interval()[2]

    def _interval(self) -> tuple[float, float, float]:
        """(low, value, high). A single sample has no known spread, so its interval is every number from 0."""
        if not self._values:
            raise InputError(f"{self.subject} of 0 samples is undefined. Evaluate on at least one sample")
        return mean_interval(np.concatenate(self._values), lowest=0.0)


class MeanAbsoluteError(MeanOfSamples):
    """Mean of |output - target|, in the target's unit, with Student's interval over the samples.

    A sample's error is the mean over its outputs: the 24 hours of one day err together, so they count as one
    observation. Any NaN or infinity makes the value `NOT_FINITE` (1.8e308), which every gate refuses.
    """

    subject: ClassVar[str] = "the mean absolute error"
    name: ClassVar[str] = "mean_absolute_error"
    higher_is_better: ClassVar[bool] = False
    is_share: ClassVar[bool] = False

    def update(self, outputs: npt.ArrayLike, targets: npt.ArrayLike) -> None:
        """Adds one batch: outputs and targets (N, …), both of one shape.

        Raises:
            InputError: the shapes differ or have no sample axis. (N,) against (N, 1) is refused, not broadcast.
        """
        got, wanted = np.asarray(outputs, dtype=np.float64), np.asarray(targets, dtype=np.float64)
        if got.shape != wanted.shape or got.ndim == 0 or (len(got) and not got.size):
            raise InputError(
                f"the mean absolute error takes outputs and targets of the same shape (N, …); found {got.shape} and "
                f"{wanted.shape}. Give one row of numbers for each sample"
            )
        if len(got):
            with np.errstate(invalid="ignore", over="ignore"):  # infinities are counted below
                self._values.append(np.abs(got - wanted).reshape(len(got), -1).mean(axis=1))


def mean_interval(values: np.ndarray, *, lowest: float) -> tuple[float, float, float]:
    """(low, mean, high) of (N,) float64 values: Student's 95 % interval, cut off at the smallest possible value.

    For a single value it is (lowest, value, `NOT_FINITE`). A NaN or infinity makes mean and high `NOT_FINITE`.
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

    Exact for 1 and 2. From 3 on, the expansion in 1/degrees of Abramowitz & Stegun, Handbook of Mathematical Functions,
    26.7.5, which is within 0.5 %.

    Raises:
        ValueError: fewer than 1 degree of freedom.
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


def near_agreement(reference: npt.ArrayLike, answer: npt.ArrayLike) -> float:
    """Share of the N samples of two (N, …) arrays that agree: every number within 2 % of the reference's range.

    The range is the largest minus the smallest value of all of `reference`, or its magnitude where that is 0. A sample
    with a NaN or infinity on either side does not agree.

    Raises:
        InputError: the shapes differ or have no sample axis, or the arrays are empty.
    """
    differ = near_differ(reference, answer)
    return float(np.mean(~differ.reshape(len(differ), -1).any(axis=1)))


def near_differ(reference: npt.ArrayLike, answer: npt.ArrayLike) -> np.ndarray:
    """(N, …) bool: which numbers are not within 2 % of the reference's range; range and errors as `near_agreement`."""
    wanted, got = np.asarray(reference, dtype=np.float64), np.asarray(answer, dtype=np.float64)
    if wanted.shape != got.shape or wanted.size == 0 or wanted.ndim == 0:
        raise InputError(
            f"agreement takes two arrays of the same shape (N, …) that are not empty; found {wanted.shape} and "
            f"{got.shape}. Give the answers to the same samples"
        )
    finite = wanted[np.isfinite(wanted)]
    if not finite.size:
        return np.ones(wanted.shape, bool)
    allowed = AGREEMENT_TOLERANCE * (float(np.ptp(finite)) or float(np.abs(finite).max()))
    with np.errstate(invalid="ignore"):
        return ~(np.abs(wanted - got) <= allowed)  # a NaN is near to nothing


def estimate(outputs: npt.ArrayLike, labels: Sequence[str]) -> list[Estimate]:
    """Numbers (N, F) and F labels to N estimates.

    Raises:
        BundleError: the outputs are not (N, F) for these labels, so manifest and model do not belong together.
        EngineError: an output is NaN or infinite.
    """
    numbers = np.asarray(outputs, dtype=np.float64)
    if numbers.ndim != 2 or numbers.shape[1] != len(labels) or not labels:
        raise BundleError(
            f"the model's output has the shape {numbers.shape}, but its manifest lists {len(labels)} labels. "
            "Pack the bundle again with one label for each number"
        )
    if not np.isfinite(numbers).all():
        bad = numbers[~np.isfinite(numbers)]
        raise EngineError(
            f"the model answered {bad[0]}, which is not a finite number. Run `{EDGEKIT} verify` on the bundle"
        )
    return [Estimate(values=tuple(zip(labels, map(float, row), strict=True))) for row in numbers]
