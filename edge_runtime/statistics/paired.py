"""How much two models that answered the same samples differ in hits, with exact one-sided bounds.

Of n samples some answers became wrong (lost), some became right (won); the loss is the share of lost minus won. All
here is counts: no model, no metric, no budget. What is not counted in hits is in `resampled.py`.

The bounds hold for any number of samples, down to one. Tango's score interval, the usual choice, does not: without a
single flip in 359 samples it ends at 0.75 %, and a loss of 0.75 % shows no flip there in 6.7 % of cases.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from ..errors import InputError

ERROR = 0.05  # how often a bound may miss the truth
# From this many flips on an expansion takes the place of the sum over all outcomes. It is a flip more careful, where
# one standard error of the difference is twelve.
_MANY_FLIPS = 150
# The share of won answers is not known; what is very unlikely about it is left aside, and this part of the error is
# paid for it (Berger and Boos).
_ASIDE = 2e-4
_GRID = 32
_TAIL = 6.0  # standard errors, beyond which a sum may end


@dataclass(frozen=True, kw_only=True)
class Loss:
    """How much worse the second model is, in the metric's unit: positive is worse. `low` and `high` are its bounds.

    Each of the two holds with 95 % (or what was asked for) on its own. `standard_error` is in the same unit;
    `changed` of `units` samples, or groups, are not what they were.
    """

    value: float
    low: float
    high: float
    standard_error: float
    changed: int
    units: int


def hits_loss(lost: int, won: int, samples: int, *, error: float = ERROR) -> Loss:
    """The loss in share of hits, with both bounds; of no samples at all it is 0, from -1 to 1.

    Raises:
        InputError: counts that cannot be.
    """
    share = (lost - won) / samples if samples else 0.0
    flips = (lost + won) / samples if samples else 1.0
    return Loss(
        value=share,
        low=loss_low(lost, won, samples, error=error),
        high=loss_high(lost, won, samples, error=error),
        standard_error=math.sqrt(max(0.0, flips - share**2) / max(1, samples)),
        changed=lost + won,
        units=samples,
    )


def loss_low(lost: int, won: int, samples: int, *, error: float = ERROR) -> float:
    """The lower bound of the loss: what was won, seen as lost. Raises as `loss_high`."""
    return -loss_high(won, lost, samples, error=error)


def loss_high(lost: int, won: int, samples: int, *, error: float = ERROR) -> float:
    """The upper bound of the true share of lost minus won: the true one is above it in at most `error` of cases.

    With nothing won it is Clopper and Pearson's bound of the lost ones: 0.83 % of 359 samples without a flip, 1.31 %
    with one. Outcomes are ordered by a close approximation of the bound; then the loss is looked for at which one so
    good or better is as rare as `error`, whatever the share of won answers may be. So it is exact, and keeps more
    power than combining two exact bounds.

    Raises:
        InputError: counts that cannot be.
    Source: Lloyd & Moldovan, "Exact one-sided confidence limits for the difference between two correlated
    proportions", Statistics in Medicine 26 (2007), 3369-3384; Berger & Boos, JASA 89 (1994), 1012-1016.
    """
    if not (min(lost, won) >= 0 and lost + won <= samples):
        raise InputError(f"{lost} lost and {won} won of {samples} samples are impossible. Count each sample once")
    if lost == samples:
        return 1.0
    if lost + won > _MANY_FLIPS:
        return min(1.0, float(expanded(lost + 1.0, float(won), samples + 1.0, error)))
    as_good = _AsGood(lost, won, samples, error)
    return _crossing(as_good.log_probability, (lost - won) / samples, as_good.guess, math.log(error * (1 - _ASIDE)))


def share_high(count: int, samples: int, *, error: float = ERROR) -> float:
    """The upper bound of a share of which `count` in `samples` were seen; of no samples it is 1.

    Source: Clopper & Pearson, "The use of confidence or fiducial limits", Biometrika 26 (1934), 404-413.

    Raises:
        InputError: not 0 <= count <= samples.
    """
    if not 0 <= count <= samples:
        raise InputError(f"{count} of {samples} samples are impossible. Count each sample once")
    if count == samples:
        return 1.0
    first = max(0, count - int(_TAIL * math.sqrt(count)) - 40)
    terms = np.arange(first, count + 1)
    ways = math.lgamma(samples + 1) - _log_factorials(terms) - _log_factorials(samples - terms)

    def log_probability(share: float) -> float:
        return _log_sum(ways + terms * math.log(share) + (samples - terms) * math.log1p(-share))

    return _crossing(log_probability, max(count, 0.01) / samples, (count + 3) / samples, math.log(error))


def share_low(count: int, samples: int, *, error: float = ERROR) -> float:
    """The lower bound of a share; of no samples it is 0. Raises as `share_high`."""
    return 1.0 - share_high(samples - count, samples, error=error) if samples else 0.0


def split_error(labelled: float, unlabelled: float, error: float = ERROR) -> tuple[float, float]:
    """What of the error goes to the bound by samples with truth, and what to the bound by the flips of all samples.

    The two are half each where there are as many samples without truth as with it, or more. A few of them get little,
    so that they cannot spoil what the others decide. It depends on how many samples there are, never on answers.
    """
    share = 0.5 * min(1.0, unlabelled / labelled) if labelled else 1.0
    return error * (1 - share), error * share


class _AsGood:
    """All outcomes that speak for the second model as much as the seen one or more, and how likely they are."""

    def __init__(self, lost: int, won: int, samples: int, error: float) -> None:
        self._samples = samples
        rank = float(_rank(lost, won, samples, error))
        # From above, so that most searches end below it.
        self.guess = max(rank + 0.1 * abs(rank), (lost - won) / samples) + 1 / samples
        self._won_low = share_low(won, samples, error=error * _ASIDE / 2)
        self._won_high = share_high(won, samples, error=error * _ASIDE / 2)
        w = self._window(self._won_low, self._won_high)
        limit = _limits(w, rank + 1e-12, lost + int(w[-1]) - won + 4, samples, error)
        # Fewer lost answers than these are too unlikely to count, wherever the true loss is at or above the seen one.
        least = samples * max(0.0, self._won_low + (lost - won) / samples)
        first = max(0, min(int(least - _TAIL * math.sqrt(least)) - 5, lost))
        l = np.arange(first, int(limit.max()) + 1)  # noqa: E741
        self._l, self._w = l, w
        # Probabilities at one point; those at any other differ by a factor of l, one of w and one of neither.
        self._at = np.array([lost + 1.0, won + 1.0, samples - lost - won + 1.0]) / (samples + 3)
        rest = samples - l[:, None] - w[None, :]
        logs = -_log_factorials(l)[:, None] - _log_factorials(w)[None, :] - _log_factorials_of(rest)
        logs += math.lgamma(samples + 1) + rest * math.log(self._at[2])
        logs += l[:, None] * math.log(self._at[0]) + w[None, :] * math.log(self._at[1])
        self._cells = np.where(l[:, None] <= limit[None, :], np.exp(logs), 0.0)

    def _window(self, low: float, high: float) -> np.ndarray:
        """The counts that come with shares from `low` to `high`."""
        n = self._samples
        first = n * low - _TAIL * math.sqrt(n * low * (1 - low)) - 5
        last = n * high + _TAIL * math.sqrt(n * high * (1 - high)) + 12
        return np.arange(max(0, int(first)), min(n, int(last)) + 1)

    def log_probability(self, loss: float) -> float:
        """The logarithm of the largest chance of such an outcome, over all shares of won answers that may be true."""
        low, high = max(self._won_low, -loss), min(self._won_high, (1 - loss) / 2)
        if low > high:
            return -math.inf
        won = np.linspace(math.sqrt(low), math.sqrt(high), _GRID) ** 2
        lost = np.maximum(won + loss, 0.0)
        rest = np.maximum(1 - won - lost, 1e-300)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.log(rest / self._at[2])
            of_l = np.where(self._l == 0, 0.0, self._l * (np.log(lost / self._at[0]) - scale)[:, None])
            of_w = np.where(self._w == 0, 0.0, self._w * (np.log(won / self._at[1]) - scale)[:, None])
            most_l, most_w = of_l.max(axis=1), of_w.max(axis=1)
            sums = (np.exp(of_l - most_l[:, None]) @ self._cells * np.exp(of_w - most_w[:, None])).sum(axis=1)
            logs = np.log(sums) + most_l + most_w + self._samples * scale
        return float(np.nanmax(logs, initial=-math.inf))


def _limits(won: np.ndarray, rank: float, most: int, samples: int, error: float) -> np.ndarray:
    """The largest count of lost answers, up to `most`, that ranks as well or better, for each of won ones; else -1."""
    low, high = np.full(len(won), -1), np.full(len(won), min(samples, most))
    while (low < high).any():
        middle = (low + high + 1) // 2
        well = _rank(middle, won, samples, error) <= rank
        low, high = np.where(well, middle, low), np.where(well, high, middle - 1)
    return np.minimum(np.maximum.accumulate(low), samples - won)


def _rank(lost: np.ndarray | int, won: np.ndarray | int, samples: int, error: float) -> np.ndarray:
    """What orders outcomes: nearly the upper bound of the loss, in closed form.

    Half a won answer more than seen, so that the first gains are not trusted at once; then Clopper and Pearson's bound
    comes out where nothing was won.
    """
    return expanded(np.asarray(lost + 1.0), np.asarray(won + 0.5), samples + 1.5, error)


def expanded(lost: np.ndarray | float, won: np.ndarray | float, total: np.ndarray | float, error: float) -> np.ndarray:
    """The quantile 1 - `error` of p - r where (p, r, the rest) are Dirichlet distributed, by its first three moments.

    With one lost answer more than seen it is the bound of Fay & Lumbard, Statistics in Medicine 40 (2021), 1147-1159.
    Source of the expansion: Cornish & Fisher, Revue de l'Institut International de Statistique 5 (1938), 307-320.
    """
    z = NormalDist().inv_cdf(1 - error)
    p, r = np.asarray(lost) / total, np.asarray(won) / total
    q = np.maximum(1 - p - r, 0.0)
    mean = p - r
    spread = np.maximum(p * (1 - mean) ** 2 + q * mean**2 + r * (1 + mean) ** 2, 1e-300)
    skew = p * (1 - mean) ** 3 - q * mean**3 - r * (1 + mean) ** 3
    return mean + z * np.sqrt(spread / (total + 1)) + (z * z - 1) / 3 * skew / spread / (total + 2)


def _crossing(log_probability: Callable[[float], float], start: float, guess: float, target: float) -> float:
    """Where a function that falls from `start` to 1 comes down to `target`, to seven digits; 1 where it does not."""
    most = 1 - 1e-12
    low, high = start, min(guess, most)
    above, below = log_probability(low) - target, log_probability(high) - target
    while below > 0 and high < most:
        low, above, high = high, below, min(most, 2 * high - start)
        below = log_probability(high) - target
    if below > 0:
        return 1.0
    before = 0.0
    for _ in range(100):
        if high - low <= 1e-8 * max(abs(high), 1e-4):
            break
        middle = (low * below - high * above) / (below - above) if math.isfinite(below - above) else low
        if not low < middle < high:
            middle = (low + high) / 2
        found = log_probability(middle) - target
        # The Illinois rule: the end that stays twice counts half, so that a secant cannot stick to it.
        if found > 0:
            low, above, below = middle, found, below / 2 if before > 0 else below
        else:
            high, below, above = middle, found, above / 2 if before < 0 else above
        before = found
    return high


def _log_factorials(numbers: np.ndarray) -> np.ndarray:
    return np.array([math.lgamma(number + 1) for number in numbers.tolist()])


def _log_factorials_of(table: np.ndarray) -> np.ndarray:
    """The same of a table of few different numbers; what is below 0 counts as 0."""
    first = max(0, int(table.min()))
    known = _log_factorials(np.arange(first, int(table.max()) + 1))
    return known[np.maximum(table, first) - first]


def _log_sum(logs: np.ndarray) -> float:
    most = float(logs.max())
    return most + math.log(float(np.exp(logs - most).sum()))
