"""Which character comes next in a text: the metric in bits per character, and log-probabilities as answers.

A model of this task answers the natural logarithms of probabilities, in training and on the device alike, so that one
metric serves both. Everything is numpy in float64; this module knows no alphabet and no text.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .regression import MeanOfSamples

# exp() of a row sums to 1. Rounding in float16 and in 8-bit layers changes the sum by far less than this.
_SUM_SLACK = 0.01


class BitsPerCharacter(MeanOfSamples):
    """Mean of -log2 p(true character), with Student's interval: cross-entropy in bits, 7 for a guess among 128.

    Source: C. E. Shannon, "Prediction and Entropy of Printed English", Bell System Technical Journal 30 (1951), 50-64.
    """

    subject: ClassVar[str] = "the number of bits per character"
    name: ClassVar[str] = "bits_per_character"
    higher_is_better: ClassVar[bool] = False
    is_share: ClassVar[bool] = False

    def update(self, outputs: npt.ArrayLike, targets: npt.ArrayLike) -> None:
        """Adds one batch: outputs (N, C), natural logarithms of probabilities; targets (N,), class indices.

        A NaN counts as infinitely many bits, and so does a true character that the model calls impossible.

        Raises:
            InputError: the shapes do not fit, the targets are not indices, or the rows are not log-probabilities.
        """
        logs, wanted = np.asarray(outputs, dtype=np.float64), np.asarray(targets)
        if logs.ndim != 2 or logs.shape[1] == 0 or wanted.shape != logs.shape[:1]:
            raise InputError(
                f"bits per character takes outputs (N, C) and targets (N,); found {logs.shape} and {wanted.shape}. "
                "Give one row of log-probabilities and one character index for each sample"
            )
        if not len(wanted):
            return
        if wanted.dtype.kind not in "iu" or wanted.min() < 0 or wanted.max() >= logs.shape[1]:
            raise InputError(
                f"the targets are not character indices: found {wanted.dtype} from {wanted.min()} to {wanted.max()}. "
                f"Give whole numbers from 0 to {logs.shape[1] - 1}"
            )
        sums = probabilities(logs).sum(axis=1)
        if (np.abs(sums - 1) > _SUM_SLACK).any():  # a NaN compares false, and is counted below
            worst = float(sums[np.nanargmax(np.abs(sums - 1))])
            raise InputError(
                f"after exp(), a row of outputs sums to {worst:.6g}; log-probabilities would sum to 1. "
                "End the model with log_softmax"
            )
        of_truth = logs[np.arange(len(wanted)), wanted]
        self._values.append(np.where(np.isnan(of_truth), np.inf, np.maximum(-of_truth, 0.0)) / math.log(2))


def probabilities(outputs: npt.ArrayLike) -> np.ndarray:
    """(N, C) natural logarithms to (N, C) probabilities, float64."""
    with np.errstate(over="ignore"):
        return np.exp(np.asarray(outputs, dtype=np.float64))
