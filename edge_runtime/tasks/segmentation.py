"""Masks as answers: the Dice score with its interval, when two masks agree, and what a person reads.

A mask is (N, 1, H, W): for each pixel the probability that it belongs to the object; from 0.5 on it is flagged.
Everything is numpy in float64. This module knows no model and no picture.
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


class Dice(MeanOfSamples):
    """Mean over the samples of 2 |A ∩ B| / (|A| + |B|), where A are the flagged pixels and B the true ones.

    In [0, 1], with Student's interval over the samples. A sample where both are empty counts 1, one with a NaN 0.
    """

    subject: ClassVar[str] = "the Dice score"
    name: ClassVar[str] = "dice"
    higher_is_better: ClassVar[bool] = True
    is_share: ClassVar[bool] = True

    def update(self, outputs: npt.ArrayLike, targets: npt.ArrayLike) -> None:
        """Adds one batch: outputs (probabilities) and targets (0 or 1), both (N, 1, H, W).

        Raises:
            InputError: the shapes differ or are not (N, 1, H, W).
        """
        flagged, true = flagged_and_true(outputs, targets)
        if not len(flagged):
            return
        both = (flagged & true).sum(axis=1, dtype=np.float64)
        scores = self._scores(both, flagged.sum(axis=1, dtype=np.float64) + true.sum(axis=1))
        bad = np.isnan(np.asarray(outputs, np.float64).reshape(len(flagged), -1)).any(axis=1)
        self._values.append(np.where(bad, 0.0, scores))

    def _scores(self, both: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Of |A ∩ B| and |A| + |B|, each (N,)."""
        return np.where(sizes == 0, 1.0, 2 * both / np.maximum(sizes, 1))

    def _interval(self) -> tuple[float, float, float]:
        low, value, high = super()._interval()
        return low, value, min(high, 1.0)


class IoU(Dice):
    """Mean over the samples of |A ∩ B| / |A ∪ B|; otherwise as `Dice`."""

    subject: ClassVar[str] = "the intersection over union"
    name: ClassVar[str] = "iou"

    def _scores(self, both: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        return np.where(sizes == 0, 1.0, both / np.maximum(sizes - both, 1))


def flagged_and_true(outputs: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Two masks (N, 1, H, W) as (N, H · W) bool: pixels with a probability of 0.5 or more, and pixels that are not 0.

    Raises:
        InputError: the shapes differ or are not (N, 1, H, W).
    """
    given, true = np.asarray(outputs, np.float64), np.asarray(targets)
    if given.shape != true.shape or given.ndim != 4 or given.shape[1] != 1:
        raise InputError(
            f"masks are compared as two arrays (N, 1, H, W); found {given.shape} and {true.shape}. "
            "Give one mask for each sample"
        )
    pixels = given.shape[2] * given.shape[3]
    return (given >= THRESHOLD).reshape(-1, pixels), (true != 0).reshape(-1, pixels)


def pixel_agreement(reference: npt.ArrayLike, answer: npt.ArrayLike) -> float:
    """Share of the pixels of two masks (N, 1, H, W) that both flag or neither does; a NaN agrees with nothing.

    Raises:
        InputError: the shapes differ or are not (N, 1, H, W), or there are no pixels.
    """
    return float(1 - pixel_differ(reference, answer).mean())


def pixel_differ(reference: npt.ArrayLike, answer: npt.ArrayLike) -> np.ndarray:
    """(N, 1, H, W) bool: which pixels only one of two masks flags. Raises as `pixel_agreement`."""
    wanted, got = np.asarray(reference, np.float64), np.asarray(answer, np.float64)
    flagged_and_true(got, wanted)
    if not wanted.size:
        raise InputError("the agreement of masks without pixels is undefined. Give at least one sample")
    return ((wanted >= THRESHOLD) != (got >= THRESHOLD)) | np.isnan(wanted) | np.isnan(got)


def flagged_share(outputs: npt.ArrayLike, labels: Sequence[str]) -> list[Estimate]:
    """Masks (N, 1, H, W) and one label to N estimates: the share of pixels that are flagged.

    Raises:
        BundleError: the outputs are not masks, or there is not exactly one label.
        EngineError: an output is not a probability.
    """
    masks = np.asarray(outputs, np.float64)
    if masks.ndim != 4 or masks.shape[1] != 1 or len(labels) != 1:
        raise BundleError(
            f"the model's output has the shape {masks.shape} and its manifest lists {len(labels)} labels, but masks "
            "are (N, 1, H, W) with one label. Pack the bundle again"
        )
    bad = masks[~((masks >= -0.01) & (masks <= 1.01))]
    if bad.size:
        raise EngineError(
            f"the model answered {bad.flat[0]:.6g} where a probability from 0 to 1 was expected. "
            f"Export it with its sigmoid in the graph, and run `{EDGEKIT} verify` on the bundle"
        )
    return [Estimate(values=((labels[0], float((mask >= THRESHOLD).mean())),)) for mask in masks]
