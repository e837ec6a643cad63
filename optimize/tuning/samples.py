"""On which samples the tuners measure, and how near two programs' answers are. Knows no model."""

from __future__ import annotations

import numpy as np

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.tasks.variation import varying_sqnr_db


def some_rows(arrays: Arrays, most: int) -> Arrays:
    """At most `most` rows of samples (N, …) by name, evenly spaced from the first to the last."""
    count = len(next(iter(arrays.values())))
    rows = np.unique(np.linspace(0, count - 1, most).round().astype(np.int64))
    return {name: values[rows] for name, values in arrays.items()}


def worst_sqnr_db(wanted: Arrays, found: Arrays) -> float:
    """The SQNR (dB) of what varies between samples, of the output that has the least of it; arrays (N, …) by name.

    Each output counts on its own: a large one that is right would hide a small one that is wrong.
    """
    return min(varying_sqnr_db(values, found[name]) for name, values in wanted.items())
