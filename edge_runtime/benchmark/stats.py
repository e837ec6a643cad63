"""Statistics of raw latency samples: percentiles, and ratios with bootstrap intervals. Knows nothing about models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..tasks.regression import t95

RESAMPLES = 2000
# The share of rounds at each end that a mean leaves out: one disturbed round says nothing about the model.
TRIM = 0.2


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times as long the first takes as the second; above 1 the second is faster."""

    value: float
    """The ratio."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end of its 95 % interval."""

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval excludes 1."""
        return not self.low <= 1 <= self.high

    @property
    def inverse(self) -> Ratio:
        return Ratio(value=1 / self.value, low=1 / self.high, high=1 / self.low)


def percentile_ms(samples_ns: np.ndarray, q: float) -> float:
    """The q-th percentile (0 to 100) of nanosecond samples, in milliseconds."""
    return float(np.percentile(samples_ns, q)) / 1e6


def medians_by_input_ms(samples_ns: np.ndarray, inputs: int) -> tuple[float, ...]:
    """The median of each input in milliseconds, of nanosecond samples in which `inputs` different ones took turns.

    Inputs that were not run are left out; () where there is only one, or their number is not known.
    """
    if inputs < 2:
        return ()
    return tuple(float(np.median(samples_ns[i::inputs])) / 1e6 for i in range(min(inputs, len(samples_ns))))


def slow_inputs(samples_ns: np.ndarray, inputs: int) -> float | None:
    """How many times as long the slowest tenth of the inputs takes as the median input.

    Every other visit of an input says which are slow, and the visits in between how slow they are; then the other way
    round. So noise alone gives 1: what was slow by chance is not slow again. None where there is one input, or too few
    runs to tell: two of each input from 30 inputs on, six of each of a few.

    Args:
        samples_ns: as in `medians_by_input_ms`.
    """
    visits = len(samples_ns) // inputs if inputs > 1 else 0
    if visits // 2 * max(1, inputs // 10) < 3:
        return None
    times = np.asarray(samples_ns[: visits * inputs], np.float64).reshape(visits, inputs)
    halves = np.median(times[::2], axis=0), np.median(times[1::2], axis=0)
    ratios = [
        float(np.median(other[half >= np.percentile(half, 90)]) / np.median(other))
        for half, other in (halves, halves[::-1])
    ]
    return math.sqrt(ratios[0] * ratios[1])


def medians_ms(rounds: Sequence[np.ndarray]) -> tuple[float, ...]:
    """The median of each round of nanosecond samples, in milliseconds."""
    return tuple(float(np.median(rows)) / 1e6 for rows in rounds)


def paired_ratio(slower: Sequence[float], faster: Sequence[float], *, seed: int = 0) -> Ratio:
    """How many times as long `slower` takes as `faster`, from the medians of rounds that ran next to each other.

    Each round gives one ratio, since what disturbed one candidate mostly disturbed its neighbour too. The value is the
    trimmed mean of the ratios' logarithms. The interval comes from resampling the rounds, with the percentiles moved
    outwards because a bootstrap interval of few rounds is too narrow.

    Raises:
        ValueError: different numbers of rounds, fewer than two, or a round that took no time.
    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13; for few samples Hesterberg, "What
    Teachers Should Know About the Bootstrap", The American Statistician 69 (2015), section 3.
    """
    logs = _log_ratios(slower, faster)
    return _ratio(float(_trimmed(logs)), _resampled(logs, seed), len(logs))


Rounds = tuple[Sequence[float], Sequence[float]]


def ratio_of_ratios(before: Rounds, after: Rounds, *, seed: int = 0) -> Ratio:
    """How much faster a candidate became against its baseline: (baseline, candidate) of two runs.

    The two runs were made at different times, so their rounds are resampled independently. Raises as `paired_ratio`.
    """
    first, second = (_log_ratios(*run) for run in (before, after))
    draws = _resampled(second, seed) - _resampled(first, seed + 1)
    return _ratio(float(_trimmed(second) - _trimmed(first)), draws, min(len(first), len(second)))


def median_ratio(
    slower: Sequence[np.ndarray], faster: Sequence[np.ndarray], *, seed: int = 0
) -> tuple[float, float, float]:
    """The median of `slower` over the median of `faster`, with its 95 % bootstrap interval: (value, low, high).

    Both are lists of rounds (int64 ns) whose i-th rounds ran next to each other; whole rounds are resampled, in pairs.
    For few long rounds, such as epochs. Where the machine drifts, `paired_ratio` says more.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 8 (blocks of dependent data).
    """
    first = np.array([np.median(rows) for rows in slower])
    second = np.array([np.median(rows) for rows in faster])
    draws = np.random.default_rng(seed).integers(0, len(first), (RESAMPLES, len(first)))
    ratios = np.median(first[draws], axis=1) / np.median(second[draws], axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(np.median(first) / np.median(second)), float(low), float(high)


def unpaired_ratio(slower: Sequence[float], faster: Sequence[float], *, seed: int = 0) -> Ratio:
    """As `paired_ratio`, from the rounds of two runs made at different times."""
    return ratio_of_ratios((faster, np.ones(len(faster)).tolist()), (slower, np.ones(len(slower)).tolist()), seed=seed)


def spread(rounds: Sequence[np.ndarray]) -> float:
    """Interquartile range of the rounds' medians over their median: how far the machine drifted while measuring."""
    medians = np.array([np.median(rows) for rows in rounds])
    low, middle, high = np.percentile(medians, [25, 50, 75])
    return float((high - low) / middle)


def _log_ratios(slower: Sequence[float], faster: Sequence[float]) -> np.ndarray:
    first, second = np.asarray(slower, dtype=np.float64), np.asarray(faster, dtype=np.float64)
    if first.shape != second.shape or len(first) < 2:
        raise ValueError(f"a ratio needs two or more rounds of both, found {len(first)} and {len(second)}")
    if not (first.min() > 0 and second.min() > 0):
        raise ValueError("a ratio needs rounds that took longer than 0")
    return np.log(first) - np.log(second)


def _resampled(logs: np.ndarray, seed: int) -> np.ndarray:
    draws = np.random.default_rng(seed).integers(0, len(logs), (RESAMPLES, len(logs)))
    return _trimmed(logs[draws])


def _trimmed(logs: np.ndarray) -> np.ndarray:
    count = logs.shape[-1]
    cut = int(count * TRIM)
    return np.sort(logs, axis=-1)[..., cut : count - cut].mean(axis=-1)


def _ratio(value: float, draws: np.ndarray, rounds: int) -> Ratio:
    z = math.sqrt(rounds / (rounds - 1)) * t95(rounds - 1)
    tail = 50 * math.erfc(z / math.sqrt(2))  # percent
    low, high = np.percentile(draws, [tail, 100 - tail])
    # The trimmed mean of a few rounds may lie just outside what resampling them gives.
    return Ratio(value=math.exp(value), low=math.exp(min(low, value)), high=math.exp(max(high, value)))
