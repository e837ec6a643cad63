"""How close an operator comes to what the machine could do: roofline arithmetic on a profile. Measures nothing.

An operator cannot be faster than the machine's arithmetic or its memory allows. The lower of the two, at the operator's
intensity (operations per byte), is its roof.

Source: Williams, Waterman, Patterson, Roofline: An Insightful Visual Performance Model (2009).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from .machine_peaks import Peak, Peaks
from .operators import Operator
from .profile import Profile, typical_ns

OPERATIONS = 2  # per multiply-accumulate
SHORTEST_NS = 5000  # profilers count whole microseconds, so the rate of a shorter operator means nothing


@dataclass(frozen=True, kw_only=True)
class Point:
    """An operator, or a whole run, under its roof."""

    bundle: str
    """The bundle it belongs to."""
    name: str
    """The operator's name."""
    kind: str
    """Its type; "whole run" for a run."""
    precision: str
    """What it multiplies."""
    intensity: float
    """Operations per byte."""
    gops: float
    """The rate it reaches, in 10⁹ operations per second."""
    roof_gops: float
    """The rate that is possible at this intensity."""
    bound: Literal["memory", "compute"]
    """What limits that rate."""
    memory: str
    """The memory whose bandwidth counts."""
    share: float
    """Its share of the run's time."""

    @property
    def of_roof(self) -> float:
        """The rate it reaches, as a share of its roof."""
        return self.gops / self.roof_gops


def points(profile: Profile, peaks: Peaks) -> list[Point]:
    """Every operator that multiplies and runs long enough to be timed, the longest first."""
    memory = peaks.memory(profile.working_set_bytes)
    placed = []
    for operator in profile.operators:
        taken_ns = typical_ns(operator)
        if operator.macs and operator.bytes and taken_ns >= SHORTEST_NS:
            point = _point(profile, operator, taken_ns, peaks.arithmetic(operator.precision), memory)
            placed += [point] if point else []
    return sorted(placed, key=lambda point: -point.share)


def whole(profile: Profile, peaks: Peaks) -> Point | None:
    """A plain run as a whole; None where its multiplications or bytes are unknown, or there is no peak."""
    macs = profile.macs
    if not macs or not profile.touched_bytes:
        return None
    weighed: Counter[str] = Counter()
    for operator in profile.operators:
        weighed[operator.precision] += operator.macs or 0
    run = Operator(
        name="whole run",
        kind="whole run",
        ns=(round(profile.run_ns),),
        macs=macs,
        bytes=profile.touched_bytes,
        precision=weighed.most_common(1)[0][0],
    )
    arithmetic, memory = peaks.arithmetic(run.precision), peaks.memory(profile.working_set_bytes)
    return _point(profile, run, profile.run_ns, arithmetic, memory, share=1.0)


def _point(
    profile: Profile, operator: Operator, ns: float, arithmetic: Peak | None, memory: Peak, share: float | None = None
) -> Point | None:
    if arithmetic is None or not operator.macs or not operator.bytes:
        return None
    operations = OPERATIONS * operator.macs
    intensity = operations / operator.bytes
    under_memory = intensity * memory.value  # operations/byte × GB/s
    return Point(
        bundle=profile.name,
        name=operator.name,
        kind=operator.kind,
        precision=operator.precision,
        intensity=intensity,
        gops=operations / ns,
        roof_gops=min(under_memory, arithmetic.value),
        bound="memory" if under_memory < arithmetic.value else "compute",
        memory=memory.name,
        share=profile.share(operator) if share is None else share,
    )
