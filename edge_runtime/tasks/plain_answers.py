"""Arrays as answers, for models whose outputs only their application understands. Knows no meaning, only size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from .regression import Estimate

MOST_NUMBERS = 64


def plain_numbers(outputs: npt.ArrayLike, labels: Sequence[str]) -> list[Estimate]:
    """(N, …) to N estimates: each number under its label, or under its index where there is not one label per number.

    Raises:
        UsageError: more than 64 numbers per sample, which nobody would read.
    """
    numbers = np.asarray(outputs, dtype=np.float64)
    rows = numbers.reshape(len(numbers), -1)
    if rows.shape[1] > MOST_NUMBERS:
        raise UsageError(
            f"the model answers each input with {list(numbers.shape[1:])} numbers, too many to print. `--out FILE.npz` "
            "writes them; from Python: edgekit.load_engine(edgekit.Bundle.open(PATH)).run({NAME: ARRAY})"
        )
    names = labels if len(labels) == rows.shape[1] else [f"[{i}]" for i in range(rows.shape[1])]
    return [Estimate(values=tuple(zip(names, map(float, row), strict=True))) for row in rows]
