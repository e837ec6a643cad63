"""One of several labels as the answer: from probabilities to the labels, the most probable first.

Everything is numpy in float64. This module knows no model and no picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..command_line import EDGEKIT
from ..errors import BundleError, EngineError
from .next_character import probabilities
from .regression import Estimate

# An int8 softmax may miss 0 and 1 by a step of 1/256. Logits taken for probabilities miss them by far more.
_PROBABILITY_SLACK = 0.01


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One sample's answer."""

    label: str
    """The most probable label."""
    index: int
    """Its place among the labels."""
    probability: float
    """Its probability."""
    ranking: tuple[tuple[str, float], ...]
    """Every (label, probability), the most probable first."""


def classify(outputs: npt.ArrayLike, labels: Sequence[str]) -> list[Answer]:
    """Probabilities (N, C) and C labels to N answers; of equal probabilities the first label wins, as in `Accuracy`.

    Raises:
        BundleError: the outputs are not (N, C) for these labels, so manifest and model do not belong together.
        EngineError: an output is not a probability: NaN, infinite, or further from [0, 1] than rounding explains.
    """
    scores = np.asarray(outputs, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] != len(labels) or not labels:
        raise BundleError(
            f"the model's output has the shape {scores.shape}, but its manifest lists {len(labels)} labels. "
            "Pack the bundle again with one label for each class"
        )
    # Written so that a NaN, which compares false with everything, counts as bad.
    bad = scores[~((scores >= -_PROBABILITY_SLACK) & (scores <= 1 + _PROBABILITY_SLACK))]
    if bad.size:
        raise EngineError(
            f"the model answered {bad.flat[0]:.6g} where a probability from 0 to 1 was expected. "
            f"Export it with its softmax in the graph, and run `{EDGEKIT} verify` on the bundle"
        )
    return [_answer(row, labels) for row in scores.clip(0.0, 1.0)]


def classify_all(outputs: npt.ArrayLike, labels: Sequence[str]) -> list[Answer] | list[Estimate]:
    """As `classify`; of (N, C, …), a class for each place such as a token or pixel, the share of places of each label.

    Raises as `classify`.
    """
    scores = np.asarray(outputs, dtype=np.float64)
    if scores.ndim < 3:
        return classify(scores, labels)
    if scores.shape[1] != len(labels) or not labels:
        raise BundleError(
            f"the model's output has the shape {scores.shape}, but its manifest lists {len(labels)} labels. "
            "Pack the bundle again with one label for each class"
        )
    if np.isnan(scores).any():
        raise EngineError(f"the model answered NaN, which is no probability. Run `{EDGEKIT} verify` on the bundle")
    top = scores.argmax(axis=1).reshape(len(scores), -1)
    shares = [[float((row == i).mean()) for i in range(len(labels))] for row in top]
    return [Estimate(values=tuple(zip(labels, row, strict=True))) for row in shares]


def next_characters(outputs: npt.ArrayLike, labels: Sequence[str]) -> list[Answer]:
    """Log-probabilities (N, C) and C labels to N answers; raises as `classify` does."""
    return classify(probabilities(outputs), labels)


def _answer(row: np.ndarray, labels: Sequence[str]) -> Answer:
    order = np.argsort(-row, kind="stable")
    ranking = tuple((labels[i], float(row[i])) for i in order)
    return Answer(label=ranking[0][0], index=int(order[0]), probability=ranking[0][1], ranking=ranking)
