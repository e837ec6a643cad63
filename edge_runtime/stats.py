"""Statistics of raw latency samples: percentiles, and ratios with bootstrap intervals. Knows nothing about models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000


def percentile_ms(samples_ns: np.ndarray, q: float) -> float:
    """The q-th percentile (0 to 100) of nanosecond samples, in milliseconds."""
    return float(np.percentile(samples_ns, q)) / 1e6


def median_ratio(
    slower: Sequence[np.ndarray], faster: Sequence[np.ndarray], *, seed: int = 0
) -> tuple[float, float, float]:
    """How many times the median of `faster` goes into that of `slower`, with its 95 % bootstrap interval.

    Both are lists of rounds (int64 ns), the i-th rounds measured next to each other. Rounds are drawn again, whole and
    in pairs: samples within a round are alike, and what disturbed one candidate mostly disturbed its neighbour too.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 8 (blocks of dependent data).
    """
    first = np.array([np.median(rows) for rows in slower])
    second = np.array([np.median(rows) for rows in faster])
    draws = np.random.default_rng(seed).integers(0, len(first), (RESAMPLES, len(first)))
    ratios = np.median(first[draws], axis=1) / np.median(second[draws], axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(np.median(first) / np.median(second)), float(low), float(high)


def spread(rounds: Sequence[np.ndarray]) -> float:
    """Interquartile range of the rounds' medians over their median: how far the machine drifted while measuring."""
    medians = np.array([np.median(rows) for rows in rounds])
    low, middle, high = np.percentile(medians, [25, 50, 75])
    return float((high - low) / middle)
