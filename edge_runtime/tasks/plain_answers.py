"""Arrays as answers, of a model whose outputs only its own application understands. Knows their size, no meaning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from .regression import Estimate

MOST_NUMBERS = 64


def plain_numbers(outputs: npt.ArrayLike, labels: Sequence[str]) -> list[Estimate]:
    """(N, …) to N estimates, each number under its label, or under its index where the labels are not one a number.

    Raises:
        UsageError: more than 64 numbers a sample, which nobody reads one by one.
    """
    numbers = np.asarray(outputs, dtype=np.float64)
    rows = numbers.reshape(len(numbers), -1)
    if rows.shape[1] > MOST_NUMBERS:
        raise UsageError(
            f"the model answers {list(numbers.shape[1:])} numbers to each input, too many to print. From Python: "
            "edgekit.load_engine(edgekit.Bundle.open(PATH)).run({NAME: ARRAY})"
        )
    names = labels if len(labels) == rows.shape[1] else [f"[{i}]" for i in range(rows.shape[1])]
    return [Estimate(values=tuple(zip(names, map(float, row), strict=True))) for row in rows]
