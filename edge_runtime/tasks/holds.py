"""What the numbers of an output are: when two answers are the same, and how one form is converted to another.

A manifest says what each output holds. This module knows no task, no engine and no file; everything is numpy in
float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import BundleError, InputError, unknown
from .regression import AGREEMENT_TOLERANCE

THRESHOLD = 0.5  # from this probability on, the answer is yes


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of output."""

    description: str
    """What its numbers are."""
    agreement: Callable[[npt.ArrayLike, npt.ArrayLike], float]
    """The share of equal answers, 0 to 1, from the reference's outputs and the other's."""


def same_place(reference: npt.ArrayLike, answer: npt.ArrayLike) -> float:
    """(N, C, …): share of places where the largest along axis 1 has the same index; of equal ones the first counts.

    A place with a NaN in either array does not agree.

    Raises:
        InputError: the shapes differ, have no axis 1, or hold no values.
    """
    wanted, got = _pair(reference, answer, axes=2)
    same = wanted.argmax(axis=1) == got.argmax(axis=1)
    return float(np.mean(same & ~np.isnan(wanted).any(axis=1) & ~np.isnan(got).any(axis=1)))


def same_token(reference: npt.ArrayLike, answer: npt.ArrayLike) -> float:
    """(N, …, C): as `same_place` along the last axis. Raises the same."""
    wanted, got = _pair(reference, answer, axes=2)
    return same_place(np.moveaxis(wanted, -1, 1), np.moveaxis(got, -1, 1))


def same_side(reference: npt.ArrayLike, answer: npt.ArrayLike, threshold: float = THRESHOLD) -> float:
    """(N, …): share of numbers on the same side of the threshold. A NaN agrees with nothing."""
    wanted, got = _pair(reference, answer)
    same = (wanted >= threshold) == (got >= threshold)
    return float(np.mean(same & ~np.isnan(wanted) & ~np.isnan(got)))


def near(reference: npt.ArrayLike, answer: npt.ArrayLike) -> float:
    """(N, …): share of numbers that differ by at most 2 % of the range of all reference numbers.

    The range is the largest minus the smallest finite value; if that is 0, the magnitude. A value that is not finite
    agrees with nothing.
    """
    wanted, got = _pair(reference, answer)
    finite = wanted[np.isfinite(wanted)]
    if not finite.size:
        return 0.0
    allowed = AGREEMENT_TOLERANCE * (float(np.ptp(finite)) or float(np.abs(finite).max()))
    with np.errstate(invalid="ignore"):
        return float(np.mean(np.abs(wanted - got) <= allowed))  # False for NaN


def equal(reference: npt.ArrayLike, answer: npt.ArrayLike) -> float:
    """(N, …): share of equal numbers."""
    wanted, got = _pair(reference, answer)
    return float(np.mean(wanted == got))


def _above_zero(reference: npt.ArrayLike, answer: npt.ArrayLike) -> float:
    return same_side(reference, answer, 0.0)


HOLDS: dict[str, Kind] = {
    "probabilities": Kind(
        description="the probability of each label along axis 1; they sum to 1", agreement=same_place
    ),
    "token_probabilities": Kind(
        description="the same along the last axis, (N, …, C): the labels of each token", agreement=same_token
    ),
    "logits": Kind(description="the same before a softmax along axis 1", agreement=same_place),
    "log_probabilities": Kind(description="natural logarithms of probabilities", agreement=same_place),
    "independent_probabilities": Kind(
        description="a probability for each label on its own; several may apply", agreement=same_side
    ),
    "independent_logits": Kind(description="the same before the sigmoid", agreement=_above_zero),
    "mask": Kind(
        description="(N, 1, H, W): the probability that a pixel belongs to the object",
        agreement=same_side,
    ),
    "values": Kind(description="numbers, whose meaning the labels name", agreement=near),
    "boxes": Kind(description="(N, K, 4): left, top, right and bottom, in pixels of the input", agreement=near),
    "scores": Kind(description="(N, K), or (N, K, C) for each label: how sure each box is, 0 to 1", agreement=near),
    "classes": Kind(description="(N, K): the index of each box's label", agreement=equal),
    "features": Kind(description="numbers that only another program reads", agreement=near),
}

# (what an output holds, what a task takes) -> how the first is converted to the second. Softmax keeps the order of a
# row, so agreement is the same before and after.
_READ: dict[tuple[str, str], Callable[[np.ndarray], np.ndarray]] = {
    ("token_probabilities", "probabilities"): lambda x: np.moveaxis(x, -1, 1),
    ("logits", "probabilities"): lambda x: np.exp(_log_softmax(x)),
    ("logits", "log_probabilities"): lambda x: _log_softmax(x),
    ("log_probabilities", "probabilities"): lambda x: _exp(x),
    ("probabilities", "log_probabilities"): lambda x: _log(x),
    ("independent_logits", "mask"): lambda x: _sigmoid(x),
    ("independent_logits", "independent_probabilities"): lambda x: _sigmoid(x),
    ("independent_probabilities", "mask"): lambda x: x,
}


def kind(holds: str) -> Kind:
    """The kind of this name. Raises `UsageError`, which lists the known ones."""
    if holds not in HOLDS:
        raise unknown("kind of output", holds, HOLDS)
    return HOLDS[holds]


def readable(holds: str, takes: str) -> bool:
    """Whether an output that holds `holds` can be converted to what a task takes; "" takes anything."""
    return not takes or holds == takes or (holds, takes) in _READ


def read_as(outputs: npt.ArrayLike, holds: str, takes: str) -> np.ndarray:
    """Outputs (N, …) in the form that a task takes; the same array if it has that form already.

    Raises:
        BundleError: one cannot be converted to the other.
    """
    if not takes or holds == takes:
        return np.asarray(outputs)
    if (holds, takes) not in _READ:
        raise BundleError(
            f"the model's output holds {holds}, but its task takes {takes}. "
            "Pack the bundle again, and say what it holds"
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
            f"agreement takes two arrays of the same shape {shape} with at least one value, found "
            f"{wanted.shape} and {got.shape}. Give the answers to the same samples"
        )
    return wanted, got
