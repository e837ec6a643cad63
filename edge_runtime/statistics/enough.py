"""How many samples would decide whether a loss lies within a budget: a plan from what was seen so far, not a promise.

Knows counts and standard errors, no model. Where the loss seen lies close to the budget no number of samples might do,
so the plan takes the true loss to be half a budget away from it, on the side where it was seen.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from .paired import ERROR, Loss, expanded, split_error

NEVER = 10**9  # samples; who needs more has to find another way


def enough_hits(lost: int, won: int, samples: int, budget: float, *, error: float = ERROR) -> int:
    """Samples with truth in all, at which the answers that flip as often as they did would decide; at most `NEVER`."""
    if samples == 0 or budget <= 0:
        return NEVER
    loss = _assumed((lost - won) / samples, budget)
    flips = max((lost + won) / samples, abs(loss))
    numbers = _numbers(samples)
    lost_then, won_then = (flips + loss) / 2 * numbers, (flips - loss) / 2 * numbers
    if loss < budget:
        decided = expanded(lost_then + 1, won_then, numbers + 1, error) <= budget
    else:
        decided = -expanded(won_then + 1, lost_then, numbers + 1, error) >= budget
    return _first(numbers, decided)


def enough_unlabelled(flips: int, samples: int, labelled: int, budget: float, *, error: float = ERROR) -> int:
    """Samples without truth in all, at which the share of flips alone would prove the loss within the budget.

    0 where no number of them would: more answers flip than may be lost.

    Args:
        flips: answers that differ among `samples`, with truth and without.
        labelled: how many of the samples have truth.
    """
    if samples == 0 or budget <= 0 or flips / samples >= budget:
        return 0
    numbers = _numbers(max(1, samples - labelled))
    share = flips / samples

    def high(unlabelled: float) -> float:
        total = labelled + unlabelled
        return float(expanded(share * total + 1, 0.0, total + 1, split_error(labelled, unlabelled, error)[1]))

    found = _first(numbers, np.array([high(number) <= budget for number in numbers.tolist()]))
    return found if found < NEVER else 0


def enough_units(loss: Loss, budget: float, *, error: float = ERROR) -> int:
    """Samples (or groups, where the loss is of groups) in all at which its bound would decide; at most `NEVER`.

    What the standard error explains of the bound's distance shrinks with the root of their number, the rest (what one
    more of the worst could do) with the number itself.
    """
    if budget <= 0:
        return NEVER
    assumed = _assumed(loss.value, budget)
    away = abs(assumed - budget)
    width = loss.high - loss.value if assumed < budget else loss.value - loss.low
    if not math.isfinite(width):
        # Too few changed for a bound; ten of them is the least.
        return min(NEVER, max(2 * loss.units, math.ceil(10 * loss.units / loss.changed))) if loss.changed else NEVER
    times = width / away
    if times > 1e4:
        return NEVER
    by_root = min(times, NormalDist().inv_cdf(1 - error) * loss.standard_error / away)
    by_number = times - by_root
    if by_number > 1e-9 * times:
        root = (math.sqrt(by_root**2 + 4 * by_number) - by_root) / (2 * by_number)
    else:
        root = 1 / by_root if by_root else 1.0
    return int(min(NEVER, max(loss.units + 1, math.ceil(loss.units / root**2))))


def _assumed(loss: float, budget: float) -> float:
    """The loss to plan for: what was seen, but no closer to the budget than half of it."""
    return min(loss, budget / 2) if loss <= budget else max(loss, 1.5 * budget)


def _numbers(samples: int) -> np.ndarray:
    """Numbers of samples to try, each 5 % above the one before."""
    return samples * 1.05 ** np.arange(1, max(2, math.log(NEVER / samples, 1.05)))


def _first(numbers: np.ndarray, decided: np.ndarray) -> int:
    return math.ceil(numbers[decided.argmax()]) if decided.any() else NEVER


def rounded(number: int) -> int:
    """To two digits, for "about 1,400 samples"."""
    digits = max(0, len(str(number)) - 2)
    return math.ceil(number / 10**digits) * 10**digits
