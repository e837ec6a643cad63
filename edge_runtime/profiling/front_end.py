"""How much of a run goes by before the first layer: raw pixels cast, normalized and made planes of.

From a profile, by position: all operators before the first one that multiplies matrices. Where it is much, the model is
small or the preparation is slow, and a faster layer helps little. Measures nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .operators import Operator
from .profile import Profile

NOTABLE = 0.10  # of a run: more than this is worth a word


@dataclass(frozen=True, kw_only=True)
class FrontEnd:
    """What runs before a model's first layer."""

    share: float
    """Of the time of all operators."""
    kinds: tuple[str, ...]
    """Its operators' kinds, in the order in which they run."""


def front_end(profile: Profile) -> FrontEnd | None:
    """What runs before the first layer; None where no operator is known to be one.

    Profilers count whole microseconds and add their own to each operator, so that the share of a model that takes less
    than about a hundred of them is a rough one.
    """
    before = _before_layers(profile.operators)
    if before is None:
        return None
    share = sum(profile.share(operator) for operator in before)
    return FrontEnd(share=share, kinds=tuple(operator.kind for operator in before))


def _before_layers(operators: Sequence[Operator]) -> Sequence[Operator] | None:
    for place, operator in enumerate(operators):
        if operator.macs is None or operator.macs > 0:  # of an operator that may multiply the number can be unknown
            return operators[:place]
    return None
