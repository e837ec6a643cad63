"""A model asked in pieces, by a user's own `evaluate`, and held to answering in numbers. Knows no engine, no task."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.bundle.manifest import Metric
from edgekit.edge_runtime.errors import InputError
from edgekit.edge_runtime.tasks.metrics import NOT_FINITE

from ..deploy import Predict
from .user_code import user_errors

# Of inputs and answers together, at one time on their way to a worker and back.
_PIECE_BYTES = 32 << 20


def run_in_pieces(run: Predict, arrays: Arrays) -> Arrays:
    """`run` on rows (N, …) a piece at a time, so that neither memory nor a worker's patience grows with N."""
    count = len(next(iter(arrays.values())))
    row_bytes = max(1, sum(rows[:1].nbytes for rows in arrays.values()))
    step = max(1, min(1000, _PIECE_BYTES // row_bytes))
    pieces = [run({name: rows[i : i + step] for name, rows in arrays.items()}) for i in range(0, count, step)]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a user's `evaluate` says of a model."""

    metric: Metric
    """The number, or the mean of the scores; its interval is not known."""
    scores: np.ndarray
    """() float64, one number for the model; or (N,), one for each sample, which can be judged."""


def evaluated(evaluate: Callable[[Predict], float | npt.ArrayLike], predict: Predict) -> Evaluation:
    """What `evaluate` makes of the model behind `predict`: one number, or (N,) of them, one a sample; more is better.

    Raises:
        InputError: it gives no finite number, or never asked the model.
        UsageError: it fails.
    """
    name = getattr(evaluate, "__name__", type(evaluate).__name__)
    asked = 0

    def counting(arrays: Arrays) -> Arrays:
        nonlocal asked
        found = predict(arrays)
        asked += len(next(iter(found.values())))
        return found

    with user_errors(f"evaluate ({name})"):
        value = evaluate(counting)
    try:
        scores = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        scores = np.array(math.nan)
    if scores.ndim > 1 or not scores.size or not np.isfinite(scores).all():
        raise InputError(
            f"{name} gave {repr(value)[:80]}. It should give one number, or an array (N,) with one for each sample; "
            "more is better"
        )
    if not asked:
        raise InputError(f"{name} never called the predict function it was given, so it says nothing about the model")
    number = float(scores.mean())
    metric = Metric(
        name="score" if name == "<lambda>" else name,
        value=number,
        low=-NOT_FINITE,
        high=NOT_FINITE,
        samples=asked,
        float_value=number,
        agreement=1.0,
    )
    return Evaluation(metric=metric, scores=scores)


def check_finite(answers: Arrays) -> None:
    """Raises InputError when the float model itself answers NaN or infinity; says to which sample, and which output."""
    for name, rows in answers.items():
        if rows.dtype.kind != "f" or np.isfinite(rows).all():
            continue
        bad = ~np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
        first = int(bad.argmax())
        value = rows[first][~np.isfinite(rows[first])].flat[0]
        raise InputError(
            f"the float model itself answers {value} in {name!r} to sample {first} ({int(bad.sum()):,} of "
            f"{len(rows):,} samples have such answers). Run it on that sample in PyTorch and mend it before exporting"
        )
