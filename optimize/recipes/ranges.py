"""From a histogram of a tensor's values to the range that 8 bits are spread over: four ways of calibration.

`minmax` keeps every value. The others give up a few large ones for finer steps everywhere else: `percentile` cuts a
fixed share of both tails, `mse` takes the range with the smallest squared error of rounding and clipping, `entropy`
the one whose quantized distribution has the smallest Kullback-Leibler divergence from the float one (Migacz, "8-bit
inference with TensorRT", GTC 2017). Knows no framework: numbers in, numbers out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

METHODS = ("minmax", "entropy", "percentile", "mse")
PERCENTILE_CUT = 5e-5  # of the values, at each end: 99.99 % are kept
LEVELS = 256
_SHARES = np.linspace(0.02, 1.0, 50)  # of the full range, tried for each end


def range_of(method: str, counts: np.ndarray, edges: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """The range to quantize, which always holds 0, as integer kernels pad with it.

    Args:
        method: one of `METHODS`.
        counts: how many values fell into each bin, (bins,), any number type.
        edges: the bins' borders, (bins + 1,), rising.
        low, high: the smallest and largest value seen.
    Raises:
        ValueError: an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"unknown calibration method {method!r}. Known: {', '.join(METHODS)}")
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    counts, edges = np.asarray(counts, np.float64), np.asarray(edges, np.float64)
    if method == "minmax" or low == high or not counts.sum():
        return low, high
    if method == "percentile":
        return _percentile(counts, edges, low, high)
    if method == "mse":
        return _search(_squared_error, counts, edges, low, high)
    # What a ReLU cut off would count as one level that is smeared over its neighbours; zero itself is always exact.
    if edges[0] <= 0 <= edges[-1]:
        zero = np.clip(np.searchsorted(edges, 0.0, side="right") - 1, 0, len(counts) - 1)
        counts = counts.copy()
        counts[zero] = max(counts[max(zero - 1, 0) : zero].sum(), counts[zero + 1 : zero + 2].sum())
    return _search(_divergence, counts, edges, low, high)


def _percentile(counts: np.ndarray, edges: np.ndarray, low: float, high: float) -> tuple[float, float]:
    share = np.cumsum(counts) / counts.sum()
    left = edges[np.searchsorted(share, PERCENTILE_CUT, side="right")]
    last: int = min(int(np.searchsorted(share, 1 - PERCENTILE_CUT)) + 1, len(edges) - 1)
    right = edges[last]
    return min(max(float(left), low), 0.0), max(min(float(right), high), 0.0)


def _search(
    cost: Callable[[np.ndarray, np.ndarray, float, float], float],
    counts: np.ndarray,
    edges: np.ndarray,
    low: float,
    high: float,
) -> tuple[float, float]:
    """One end after the other, twice: the second time with the other end where it was found to be best."""
    start, stop = low, high
    for _ in range(2):
        if high > 0:
            stop = min((share * high for share in _SHARES), key=lambda end: cost(counts, edges, start, end))
        if low < 0:
            start = min((share * low for share in _SHARES), key=lambda end: cost(counts, edges, end, stop))
    return float(start), float(stop)


def _squared_error(counts: np.ndarray, edges: np.ndarray, low: float, high: float) -> float:
    centers = (edges[:-1] + edges[1:]) / 2
    step = (high - low) / (LEVELS - 1)
    rounded = low + step * np.round((np.clip(centers, low, high) - low) / step)
    # Where levels are finer than bins a centre says nothing of rounding: there it is that of a uniform distribution.
    inside = (centers >= low) & (centers <= high) & (step < edges[1] - edges[0])
    error = np.where(inside, step**2 / 12, (centers - rounded) ** 2)
    return float((counts * error).sum())


def _divergence(counts: np.ndarray, edges: np.ndarray, low: float, high: float) -> float:
    centers = (edges[:-1] + edges[1:]) / 2
    inside = (centers >= low) & (centers <= high)
    kept = counts[inside]
    if not kept.sum():
        return np.inf
    step = (high - low) / LEVELS
    level = np.minimum(((centers[inside] - low) / step).astype(np.int64), LEVELS - 1)
    # What 8 bits can tell apart: the values of a level are spread evenly over its bins that hold any.
    filled = kept > 0
    mass = np.bincount(level, kept, LEVELS)
    bins = np.bincount(level, filled, LEVELS)
    spread = np.where(filled, mass[level] / np.maximum(bins[level], 1), 0.0)
    clipped = kept.copy()  # what lies outside ends up in the outermost levels
    clipped[0] += counts[centers < low].sum()
    clipped[-1] += counts[centers > high].sum()
    wanted = clipped / clipped.sum()
    # A share of all values, not of those inside: else a range that holds one filled bin, at its edge, costs nothing,
    # however much it cuts off. With few values (two logits a sample) such a range exists by chance.
    found = np.maximum(spread / counts.sum(), 1e-12)
    held = wanted > 0
    return float((wanted[held] * np.log(wanted[held] / found[held])).sum())
