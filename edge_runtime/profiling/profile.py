"""Where a bundle's time goes: operator by operator, with the arithmetic of each. Measures in a worker, never prints.

The libraries' profilers take time themselves. So the model is run plainly in between: the whole is timed without them,
and what they say is used for shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..bundle.bundle import Bundle
from ..decode import decode
from ..errors import EngineError
from ..worker.parent import Worker
from .operators import Operator

DISTORTED = 1.3  # a profiled run that takes so many times a plain one tells of the profiler as well


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One bundle's profile, raw: nanoseconds of each plain run, each profiled one, and each operator in these."""

    name: str
    status: str
    engine: str
    num_threads: int
    model_bytes: int
    plain_ns: tuple[int, ...]
    profiled_ns: tuple[int, ...]
    operators: tuple[Operator, ...]
    remarks: tuple[str, ...]

    @property
    def run_ns(self) -> float:
        """One plain run, the median."""
        return float(np.median(self.plain_ns))

    @property
    def distortion(self) -> float:
        """How many times as long as a plain run a profiled one takes."""
        return float(np.median(self.profiled_ns)) / self.run_ns

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of one run; None where those of an operator are not known."""
        counts = [operator.macs for operator in self.operators]
        return None if None in counts else sum(count or 0 for count in counts)

    @property
    def touched_bytes(self) -> int:
        """What a run reads and writes, as far as it is known."""
        return sum(operator.bytes or 0 for operator in self.operators)

    @property
    def working_set_bytes(self) -> int:
        """What has to stay near for the next run: the model's file, and what its largest operator reads and writes."""
        return self.model_bytes + max((operator.bytes or 0 for operator in self.operators), default=0)

    @property
    def operators_ns(self) -> float:
        """All operators of one run, as the profiler counts them."""
        return sum(typical_ns(operator) for operator in self.operators)

    def share(self, operator: Operator) -> float:
        """Of the time of all operators."""
        total = self.operators_ns
        return typical_ns(operator) / total if total else 0.0

    def by_kind(self) -> list[tuple[str, int, float]]:
        """Kind of operator, how many, share of the time; the largest first."""
        shares: dict[str, list[float]] = {}
        for operator in self.operators:
            shares.setdefault(operator.kind, []).append(self.share(operator))
        return sorted(((kind, len(found), sum(found)) for kind, found in shares.items()), key=lambda row: -row[2])

    def by_place(self) -> list[tuple[str, float]]:
        """Delegate or kind of kernel ("" for plain ones), share of the time; the largest first."""
        shares: dict[str, float] = {}
        for operator in self.operators:
            shares[operator.place] = shares.get(operator.place, 0.0) + self.share(operator)
        return sorted(shares.items(), key=lambda row: -row[1])

    @property
    def conversion_share(self) -> float:
        """Share of the time that goes into quantizing and dequantizing, and nothing else."""
        return sum(self.share(operator) for operator in self.operators if _converts(operator.kind))


def typical_ns(operator: Operator) -> float:
    """Nanoseconds of an operator in one run: the mean without the lowest and the highest tenth.

    Not the median: where a profiler counts whole microseconds, only a mean tells what lies between two of them.
    """
    ordered = np.sort(np.array(operator.ns, float))
    cut = len(ordered) // 10
    return float(ordered[cut : len(ordered) - cut].mean())


def profile_bundle(path: Path, *, num_threads: int = 1, seconds: float = 2.0, allow: Sequence[str] = ()) -> Profile:
    """Profiles a bundle on its golden inputs, in a process of its own.

    Args:
        allow: as in `engines.load`.
    Raises:
        UsageError: no profiler for this bundle's format.
        MissingDependency: what the profiler needs (a library, a C++ compiler) is not installed.
        EngineError: the engine failed, or its process crashed.
    """
    with Bundle.open(path) as bundle:
        with Worker.for_bundle(bundle.folder, num_threads=num_threads, allow=allow) as worker:
            version = worker.load()["version"]
            worker.set_samples(bundle.golden().inputs)
            asked = {"bundle": str(bundle.folder), "num_threads": num_threads, "seconds": seconds}
            found = worker.profile(asked)
        operators = decode(tuple[Operator, ...], found["operators"])
        if not operators:
            raise EngineError(f"{path}: the profiler of {version} saw no operator")
        return Profile(
            name=bundle.name,
            status=bundle.manifest.status,
            engine=version,
            num_threads=num_threads,
            model_bytes=bundle.manifest.artifact.bytes,
            plain_ns=tuple(found["plain_ns"]),
            profiled_ns=tuple(found["profiled_ns"]),
            operators=operators,
            remarks=tuple(found["remarks"]),
        )


def _converts(kind: str) -> bool:
    # XNNPACK's Convert between float and int8 is all that it converts here.
    return (
        kind.startswith(("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Convert"))
        or "quantize_per" in kind
    )
