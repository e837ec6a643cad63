"""What a candidate answered to each sample, small enough to keep with every measurement; and which answers flipped.

Knows tasks and arrays; it runs nothing and reads no file.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass

import numpy as np

from ..arrays import Arrays
from ..errors import InputError
from ..tasks.metrics import Accuracy, TaskMetric, right_and_counted, top_agreement
from ..tasks.registry import task
from ..tasks.regression import AGREEMENT_TOLERANCE, MeanOfSamples

MAX_NUMBERS = 1_000_000  # answers with more numbers than this, such as pictures, are not kept


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Answers to N samples, in their order."""

    split: str
    """Where the samples come from: "validation" or "golden"."""
    samples_sha256: str
    """Digest of the samples: two runs with the same one were asked the same."""
    given: np.ndarray
    """(N,) or (N, …) int64, the index of the top label of each answer, -1 for none; or (N, …) float32 for numbers."""
    truth: np.ndarray
    """The true answers, in the same form; (N, 0) where they are unknown."""
    scores: np.ndarray
    """(N,) float64, what each sample contributes to the task's metric: 1 or 0 for a hit or a miss, its error, its bits.

    Empty where the metric is not a mean over single samples.
    """
    labels: tuple[str, ...]
    """What the indices in `given` stand for."""


def answers_of(
    task_name: str, outputs: np.ndarray, targets: np.ndarray, *, inputs: Arrays, labels: tuple[str, ...], split: str
) -> Answers | None:
    """Outputs (N, …) of a model as answers; None when they are too large to keep, or boxes, which have no fixed place.

    Targets of shape (N, 0) mean that the truth is not known.
    """
    known = task(task_name)
    picks_one = known.agreement is top_agreement
    numbers = outputs.size // max(1, outputs.shape[1]) if picks_one else outputs.size
    if numbers > MAX_NUMBERS or known.beside:
        return None
    top = np.where(np.isnan(outputs).any(axis=1), -1, outputs.argmax(axis=1)) if picks_one else outputs
    scores = _scores(known.metric(), outputs, top, targets)
    return Answers(
        split=split,
        samples_sha256=_sha256(inputs),
        given=top.astype(np.int64 if picks_one else np.float32),
        truth=np.asarray(targets),
        scores=scores,
        labels=labels,
    )


def _scores(metric: TaskMetric, outputs: np.ndarray, top: np.ndarray, targets: np.ndarray) -> np.ndarray:
    if targets.size == 0:
        return np.zeros(0)
    if isinstance(metric, Accuracy):
        if top.ndim > 1:  # of each sample the share of places that are right, of those that count
            right, counted = right_and_counted(outputs, targets).T
            return right / np.maximum(counted, 1)
        return (top == targets).astype(np.float64)
    if isinstance(metric, MeanOfSamples):
        with contextlib.suppress(InputError):  # outputs that the metric refuses are kept without scores
            metric.update(outputs, targets)
            return metric.values
    return np.zeros(0)


def flipped(before: Answers, after: Answers) -> np.ndarray:
    """Indices of the samples whose answer changed: another top label, or a number that moved by over 2 % of the range.

    Raises:
        ValueError: these are not answers to the same samples.
    """
    if before.samples_sha256 != after.samples_sha256 or before.given.shape != after.given.shape:
        raise ValueError("these are answers to different samples")
    if before.given.dtype.kind == "i":
        return np.flatnonzero((before.given != after.given).reshape(len(before.given), -1).any(axis=1))
    finite = before.given[np.isfinite(before.given)]
    allowed = AGREEMENT_TOLERANCE * float(np.ptp(finite)) if finite.size else 0.0
    with np.errstate(invalid="ignore"):
        near = np.abs(before.given - after.given) <= allowed  # False for NaN
    return np.flatnonzero(~near.reshape(len(near), -1).all(axis=1))


def answer_text(answers: Answers, index: int) -> str:
    """The answer to one sample, for a person."""
    return _named(answers.given[index], answers.labels)


def truth_text(answers: Answers, index: int) -> str:
    """What the answer should have been; "" where it is unknown."""
    return _named(answers.truth[index], answers.labels)


def _named(value: np.ndarray, labels: tuple[str, ...]) -> str:
    if np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iu":
        return labels[int(value)] if 0 <= int(value) < len(labels) else str(int(value))
    numbers = [f"{number:.4g}" for number in np.ravel(value)[:4]]
    return ", ".join(numbers) + (", …" if np.size(value) > 4 else "")


def _sha256(inputs: Arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(inputs):
        digest.update(f"{name} {inputs[name].dtype} {inputs[name].shape}".encode())
        digest.update(np.ascontiguousarray(inputs[name]).tobytes())
    return digest.hexdigest()
