"""Several labels that may each apply, or a single yes or no: metric, agreement, and what a person reads.

A model of this task answers with a probability for each label on its own; from 0.5 on it applies. Everything is numpy
in float64. This module knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ..command_line import EDGEKIT
from ..errors import BundleError, EngineError, InputError
from .regression import Estimate, MeanOfSamples

THRESHOLD = 0.5


class LabelF1(MeanOfSamples):
    """Mean over the samples of 2 |A ∩ B| / (|A| + |B|), where A are the labels that were given and B the true ones.

    In [0, 1], with Student's interval over the samples. A sample where both are empty counts 1, one with a NaN 0. Of a
    single label it is the share of right answers.
    """

    subject: ClassVar[str] = "the F1 of labels"
    name: ClassVar[str] = "label_f1"
    higher_is_better: ClassVar[bool] = True
    is_share: ClassVar[bool] = True

    def update(self, outputs: npt.ArrayLike, targets: npt.ArrayLike) -> None:
        """Adds one batch: outputs (probabilities) and targets (0 or 1), both (N, C).

        Raises:
            InputError: the shapes differ or are not (N, C).
        """
        self._values.append(label_f1(outputs, targets))

    def _interval(self) -> tuple[float, float, float]:
        low, value, high = super()._interval()
        return low, value, min(high, 1.0)


def label_f1(outputs: npt.ArrayLike, targets: npt.ArrayLike) -> np.ndarray:
    """(N,) float64: the score of each sample, as in `LabelF1`. Raises as its `update`."""
    given, wanted = np.asarray(outputs, np.float64), np.asarray(targets)
    if given.shape != wanted.shape or given.ndim != 2:
        raise InputError(
            f"labels are compared as two arrays (N, C); found {given.shape} and {wanted.shape}. "
            "Give a 0 or 1 for each label of each sample"
        )
    said, true = given >= THRESHOLD, wanted > THRESHOLD
    both = (said & true).sum(axis=1, dtype=np.float64)
    either = said.sum(axis=1, dtype=np.float64) + true.sum(axis=1)
    scores = np.where(either == 0, 1.0, 2 * both / np.maximum(either, 1))
    if given.shape[1] == 1:
        scores = (said == true)[:, 0].astype(np.float64)
    return np.where(np.isnan(given).any(axis=1), 0.0, scores)


def labels_agreement(reference: npt.ArrayLike, answer: npt.ArrayLike) -> float:
    """Share of the labels of two arrays (N, C) that both give or neither does; a NaN agrees with nothing.

    Raises:
        InputError: the shapes differ or are not (N, C), or there are no numbers.
    """
    return float(1 - labels_differ(reference, answer).mean())


def labels_differ(reference: npt.ArrayLike, answer: npt.ArrayLike) -> np.ndarray:
    """(N, C) bool: which labels only one of two answers gives. Raises as `labels_agreement`."""
    wanted, got = np.asarray(reference, np.float64), np.asarray(answer, np.float64)
    if wanted.shape != got.shape or wanted.ndim != 2 or not wanted.size:
        raise InputError(
            f"agreement takes two arrays (N, C) of the same shape; found {wanted.shape} and {got.shape}. "
            "Give the answers to the same samples"
        )
    return ((wanted >= THRESHOLD) != (got >= THRESHOLD)) | np.isnan(wanted) | np.isnan(got)


def label_probabilities(outputs: npt.ArrayLike, labels: Sequence[str]) -> list[Estimate]:
    """Probabilities (N, C) and C labels to N estimates: each label with its probability.

    Raises:
        BundleError: the outputs are not (N, C) for these labels.
        EngineError: an output is not a probability.
    """
    numbers = np.asarray(outputs, np.float64)
    if numbers.ndim != 2 or numbers.shape[1] != len(labels) or not labels:
        raise BundleError(
            f"the model's output has the shape {numbers.shape}, but its manifest lists {len(labels)} labels. "
            "Pack the bundle again with one label for each number"
        )
    bad = numbers[~((numbers >= -0.01) & (numbers <= 1.01))]
    if bad.size:
        raise EngineError(
            f"the model answered {bad.flat[0]:.6g} where a probability from 0 to 1 was expected. "
            f"Export it with its sigmoid in the graph, and run `{EDGEKIT} verify` on the bundle"
        )
    return [Estimate(values=tuple(zip(labels, map(float, row), strict=True))) for row in numbers.clip(0.0, 1.0)]
