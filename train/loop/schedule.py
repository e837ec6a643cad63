"""Learning-rate schedules: the share of the full rate, as a function of the step alone.

They have no state, so a resumed run has exactly the rates of an uninterrupted one. A new schedule is one line in
`SCHEDULES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable


def _constant(step: int, steps: int) -> float:
    return 1.0


def _cosine(step: int, steps: int) -> float:
    """From 1 along half a cosine towards 0 (Loshchilov & Hutter, SGDR, 2017, without restarts)."""
    return (1 + math.cos(math.pi * step / steps)) / 2


def _one_cycle(step: int, steps: int) -> float:
    """Up from 1/25 during the first 30 %, then down to almost 0, both along cosines (Smith & Topin, 2018).

    The numbers are those of torch.optim.lr_scheduler.OneCycleLR, so that its settings can be used here.
    """
    low, end, top = 1 / 25, 1 / 25 / 1e4, 0.3 * steps - 1
    if step <= top:
        return _between(low, 1.0, step / top)
    return _between(1.0, end, (step - top) / (steps - 1 - top))


def _triangle(step: int, steps: int) -> float:
    """Straight up from 0.2 during the first quarter, straight down to 0.07: for runs of a few epochs."""
    done, top = step / steps, 0.25
    return 0.2 + 0.8 * done / top if done < top else 1 - 0.93 * (done - top) / (1 - top)


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


# By name: (step, steps of the whole run) to the factor of the learning rate; steps count from 0.
SCHEDULES: dict[str, Callable[[int, int], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "one_cycle": _one_cycle,
    "triangle": _triangle,
}
