"""What an operator reaches of what the machine could do: roofline arithmetic on a profile. It measures nothing.

An operator that multiplies `macs` numbers and moves `bytes` cannot be faster than the machine's arithmetic or memory
allows; whichever is lower at its intensity (operations a byte) is its roof.

Source: Williams, Waterman, Patterson, Roofline: An Insightful Visual Performance Model (2009).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from .machine_peaks import Peak, Peaks
from .operators import Operator
from .profile import Profile, typical_ns

OPERATIONS = 2  # in a multiply-accumulate
SHORTEST_NS = 5000  # profilers count whole microseconds: below a few of them a rate says nothing


@dataclass(frozen=True, kw_only=True)
class Point:
    """An operator, or a whole run, under its roof.

    `gops` is what it reaches (10⁹ operations/s), `roof_gops` what is possible at its `intensity` (operations/byte),
    `bound` by what; `memory` names the memory whose bandwidth counts, `share` is that of the run's time.
    """

    bundle: str
    name: str
    kind: str
    precision: str
    intensity: float
    gops: float
    roof_gops: float
    bound: Literal["memory", "compute"]
    memory: str
    share: float

    @property
    def of_roof(self) -> float:
        """How much of its roof it reaches, 1 for all."""
        return self.gops / self.roof_gops


def points(profile: Profile, peaks: Peaks) -> list[Point]:
    """Every operator that multiplies and takes long enough to be timed, the longest first."""
    memory = peaks.memory(profile.working_set_bytes)
    found = []
    for operator in profile.operators:
        taken_ns = typical_ns(operator)
        if operator.macs and operator.bytes and taken_ns >= SHORTEST_NS:
            point = _point(profile, operator, taken_ns, peaks.arithmetic(operator.precision), memory)
            found += [point] if point else []
    return sorted(found, key=lambda point: -point.share)


def whole(profile: Profile, peaks: Peaks) -> Point | None:
    """One plain run: all multiplications, all bytes; None where they are not known, or no peak is."""
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
