"""How well a model follows what varies between samples in another model's answers.

A constant part of an answer is not a signal: it can be given without looking at the sample. Everything is numpy in
float64. This module knows no model and no task.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .metrics import SQNR_CAP_DB, sqnr_db

# Relative to the value: what the order of additions in float32 changes. Less than that does not count as variation.
ROUNDING = 1e-6


def varying_sqnr_db(reference: npt.ArrayLike, answer: npt.ArrayLike) -> float:
    """Decibels of what varies in `reference` over its difference from `answer`; arrays (N, …) of one output.

    The mean over the samples is subtracted from each element of the reference, but not from the difference. So for an
    output with a small signal on top of a large constant, only the signal counts. If nothing varies beyond rounding, or
    there is only one sample, the whole reference is the signal. In [-200, 200], as `sqnr_db`: 200 stands for identical,
    -200 for a NaN or infinity.

    Raises:
        InputError: the shapes differ, hold no values or have no axis of samples.
    """
    plain = sqnr_db(reference, answer)
    wanted, got = np.asarray(reference, np.float64), np.asarray(answer, np.float64)
    if not varies(wanted) or plain == -SQNR_CAP_DB:
        return plain
    scale = max(float(np.abs(wanted).max()), float(np.abs(got).max()))  # so that no square overflows
    wanted, got = wanted / scale, got / scale
    signal, noise = float(np.sum((wanted - wanted.mean(axis=0)) ** 2)), float(np.sum((wanted - got) ** 2))
    if noise == 0:
        return SQNR_CAP_DB
    return min(SQNR_CAP_DB, max(-SQNR_CAP_DB, 10 * (math.log10(signal) - math.log10(noise))))


def varies(outputs: npt.ArrayLike) -> bool:
    """Whether answers (N, …) differ between samples by more than rounding; fewer than two samples do not.

    Raises:
        InputError: there is no axis of samples.
    """
    numbers = np.asarray(outputs, np.float64)
    if numbers.ndim == 0:
        raise InputError("answers should be an array (N, …), one row for each sample, found a single number")
    if len(numbers) < 2 or not numbers.size:
        return False
    scale = float(np.abs(numbers).max())
    if scale == 0 or not math.isfinite(scale):
        return scale != 0
    return bool((np.ptp(numbers / scale, axis=0) > ROUNDING).any())


def same_to_all(outputs: npt.ArrayLike, *, logarithms: bool = False) -> np.ndarray:
    """Answers (N, …) of a model that says to every sample what `outputs` (N, …) say on average, as float64.

    The metric of these tells what the samples can prove: where it is as good as the model's own, nothing.

    Args:
        logarithms: the answers are logarithms of probabilities; the average is that of the probabilities.
    Raises:
        InputError: there are no samples.
    """
    numbers = np.asarray(outputs, np.float64)
    if numbers.ndim == 0 or not len(numbers):
        raise InputError("the average of no answers is not defined. Give an array (N, …) with at least one row")
    with np.errstate(divide="ignore"):
        mean = np.log(np.exp(numbers).mean(axis=0)) if logarithms else numbers.mean(axis=0)
    return np.broadcast_to(mean, numbers.shape).copy()
