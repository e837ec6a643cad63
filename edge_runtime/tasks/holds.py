"""What the numbers of an output are: when two of them say the same, and how one form is read as another.

A manifest says of each output what it holds. This module knows no task, no engine and no file; everything is numpy in
float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import BundleError, InputError, unknown
from .regression import AGREEMENT_TOLERANCE

THRESHOLD = 0.5  # of a probability that stands for itself: from here on the answer is yes


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of output; `agreement(reference, answer)` is the share of its answers that are the same, 0 to 1."""

    describe: str
    agreement: Callable[[npt.ArrayLike, npt.ArrayLike], float]


def same_place(reference: npt.ArrayLike, answer: npt.ArrayLike) -> float:
    """(N, C, …): share of the places at which the largest along axis 1 is the same; the first of equals counts.

    A place with a NaN on either side does not agree.

    Raises:
        InputError: the shapes differ, have no axis 1, or hold no values.
    """
    wanted, got = _pair(reference, answer, axes=2)
    same = wanted.argmax(axis=1) == got.argmax(axis=1)
    return float(np.mean(same & ~np.isnan(wanted).any(axis=1) & ~np.isnan(got).any(axis=1)))


def same_side(reference: npt.ArrayLike, answer: npt.ArrayLike, threshold: float = THRESHOLD) -> float:
    """(N, …): share of the numbers that are on the same side of the threshold. A NaN agrees with nothing."""
    wanted, got = _pair(reference, answer)
    same = (wanted >= threshold) == (got >= threshold)
    return float(np.mean(same & ~np.isnan(wanted) & ~np.isnan(got)))


def near(reference: npt.ArrayLike, answer: npt.ArrayLike) -> float:
    """(N, …): share of the numbers that are within 2 % of the range of all reference numbers.

    The range is largest minus smallest finite value; where that is 0, the magnitude. What is not finite agrees with
    nothing.
    """
    wanted, got = _pair(reference, answer)
    finite = wanted[np.isfinite(wanted)]
    if not finite.size:
        return 0.0
    allowed = AGREEMENT_TOLERANCE * (float(np.ptp(finite)) or float(np.abs(finite).max()))
    with np.errstate(invalid="ignore"):
        return float(np.mean(np.abs(wanted - got) <= allowed))  # False for NaN


def equal(reference: npt.ArrayLike, answer: npt.ArrayLike) -> float:
    """(N, …): share of the numbers that are the same."""
    wanted, got = _pair(reference, answer)
    return float(np.mean(wanted == got))


def _above_zero(reference: npt.ArrayLike, answer: npt.ArrayLike) -> float:
    return same_side(reference, answer, 0.0)


HOLDS: dict[str, Kind] = {
    "probabilities": Kind(describe="along axis 1 the probability of each label; together 1", agreement=same_place),
    "logits": Kind(describe="the same before softmax along axis 1", agreement=same_place),
    "log_probabilities": Kind(describe="natural logarithms of probabilities", agreement=same_place),
    "independent_probabilities": Kind(
        describe="probabilities that each stand for themselves: several labels may hold", agreement=same_side
    ),
    "independent_logits": Kind(describe="the same before the sigmoid", agreement=_above_zero),
    "mask": Kind(
        describe="(N, 1, H, W): of each pixel the probability that it belongs to what is looked for",
        agreement=same_side,
    ),
    "values": Kind(describe="numbers with a meaning of their own, which labels name", agreement=near),
    "boxes": Kind(describe="(N, K, 4): left, top, right and bottom, in pixels of the input", agreement=near),
    "scores": Kind(describe="(N, K): how sure each box is, 0 to 1", agreement=near),
    "classes": Kind(describe="(N, K): of each box the index of its label", agreement=equal),
    "features": Kind(describe="numbers that only another program reads", agreement=near),
}

# (what an output holds, what a task takes) -> how the first is read as the second. Softmax keeps a row's order, so
# that agreement is the same before and after.
_READ: dict[tuple[str, str], Callable[[np.ndarray], np.ndarray]] = {
    ("logits", "probabilities"): lambda x: np.exp(_log_softmax(x)),
    ("logits", "log_probabilities"): lambda x: _log_softmax(x),
    ("log_probabilities", "probabilities"): lambda x: _exp(x),
    ("probabilities", "log_probabilities"): lambda x: _log(x),
    ("independent_logits", "mask"): lambda x: _sigmoid(x),
    ("independent_probabilities", "mask"): lambda x: x,
}


def kind(holds: str) -> Kind:
    """The registered kind; raises `UsageError` listing the known ones."""
    if holds not in HOLDS:
        raise unknown("kind of output", holds, HOLDS)
    return HOLDS[holds]


def readable(holds: str, takes: str) -> bool:
    """Whether an output that holds this can be read as what a task takes; "" takes anything."""
    return not takes or holds == takes or (holds, takes) in _READ


def read_as(outputs: npt.ArrayLike, holds: str, takes: str) -> np.ndarray:
    """Outputs (N, …) in the form that a task takes; the very array where it is that already.

    Raises:
        BundleError: one cannot be read as the other.
    """
    if not takes or holds == takes:
        return np.asarray(outputs)
    if (holds, takes) not in _READ:
        raise BundleError(
            f"the model's output holds {holds}, and its task takes {takes}. Pack the bundle again with what it holds"
        )
    return _READ[holds, takes](np.asarray(outputs, np.float64))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        shifted = logits - logits.max(axis=1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _exp(logs: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.exp(logs)


def _log(probabilities: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(probabilities)


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-logits))


def _pair(reference: npt.ArrayLike, answer: npt.ArrayLike, *, axes: int = 1) -> tuple[np.ndarray, np.ndarray]:
    wanted, got = np.asarray(reference, np.float64), np.asarray(answer, np.float64)
    if wanted.shape != got.shape or wanted.size == 0 or wanted.ndim < axes:
        shape = "(N, C, …)" if axes == 2 else "(N, …)"
        raise InputError(
            f"agreement takes two arrays of one shape {shape} with at least one value, found "
            f"{wanted.shape} and {got.shape}. Give the answers to the same samples"
        )
    return wanted, got
