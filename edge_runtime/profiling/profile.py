"""Where a bundle's time goes, operator by operator, with the arithmetic of each. Measures in a worker, never prints.

The libraries' profilers take time themselves. So plain runs, in between, give the time of the whole model, and the
profilers give only the operators' shares of it.
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

DISTORTED = 1.3  # from here on, a profiled run over a plain one says much about the profiler


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One bundle's profile, as raw times."""

    name: str
    """The bundle."""
    status: str
    """What was proven of it."""
    engine: str
    """The library that ran it, and its version."""
    num_threads: int
    """CPU threads for one run."""
    model_bytes: int
    """Size of the model file."""
    plain_ns: tuple[int, ...]
    """Each run without the profiler."""
    profiled_ns: tuple[int, ...]
    """Each run with the profiler."""
    operators: tuple[Operator, ...]
    """Each operator, with its time in each profiled run."""
    remarks: tuple[str, ...]
    """What to know about the profiler's figures."""

    @property
    def run_ns(self) -> float:
        """Nanoseconds of a plain run: the median."""
        return float(np.median(self.plain_ns))

    @property
    def distortion(self) -> float:
        """How many times as long a profiled run takes as a plain one."""
        return float(np.median(self.profiled_ns)) / self.run_ns

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates in one run; None where those of some operator are unknown."""
        counts = [operator.macs for operator in self.operators]
        return None if None in counts else sum(count or 0 for count in counts)

    @property
    def touched_bytes(self) -> int:
        """Bytes that a run reads and writes, as far as they are known."""
        return sum(operator.bytes or 0 for operator in self.operators)

    @property
    def working_set_bytes(self) -> int:
        """Bytes that the next run needs again: the model's file, and what its largest operator reads and writes."""
        return self.model_bytes + max((operator.bytes or 0 for operator in self.operators), default=0)

    @property
    def operators_ns(self) -> float:
        """Nanoseconds of all operators in one run, as the profiler counts them."""
        return sum(typical_ns(operator) for operator in self.operators)

    def share(self, operator: Operator) -> float:
        """An operator's share of the time of all operators."""
        total = self.operators_ns
        return typical_ns(operator) / total if total else 0.0

    def by_kind(self) -> list[tuple[str, int, float]]:
        """(kind of operator, how many, share of the time), the largest share first."""
        shares: dict[str, list[float]] = {}
        for operator in self.operators:
            shares.setdefault(operator.kind, []).append(self.share(operator))
        return sorted(((kind, len(each), sum(each)) for kind, each in shares.items()), key=lambda row: -row[2])

    def by_place(self) -> list[tuple[str, float]]:
        """(delegate or kind of kernel, "" for plain ones; share of the time), the largest share first."""
        shares: dict[str, float] = {}
        for operator in self.operators:
            shares[operator.place] = shares.get(operator.place, 0.0) + self.share(operator)
        return sorted(shares.items(), key=lambda row: -row[1])

    @property
    def conversion_share(self) -> float:
        """Share of the time spent on nothing but quantizing and dequantizing."""
        return sum(self.share(operator) for operator in self.operators if _converts(operator.kind))


def typical_ns(operator: Operator) -> float:
    """Nanoseconds of an operator in one run: the mean, without the lowest and the highest tenth.

    Not the median: where a profiler counts whole microseconds, only a mean shows fractions of them.
    """
    ordered = np.sort(np.array(operator.ns, float))
    cut = len(ordered) // 10
    return float(ordered[cut : len(ordered) - cut].mean())


def profile_bundle(path: Path, *, num_threads: int = 1, seconds: float = 2.0, allow: Sequence[str] = ()) -> Profile:
    """Profiles a bundle on its golden inputs, in a process of its own.

    Args:
        seconds: about how long.
        allow: formats that may run code from their files, as in `engines.load`.
    Raises:
        UsageError: there is no profiler for this bundle's format.
        MissingDependency: something the profiler needs, such as a C++ compiler, is not installed.
        EngineError: the engine failed, or its process crashed.
    """
    with Bundle.open(path) as bundle:
        with Worker.for_bundle(bundle.folder, num_threads=num_threads, allow=allow) as worker:
            version = worker.load()["version"]
            worker.set_samples(bundle.golden().inputs)
            settings = {"bundle": str(bundle.folder), "num_threads": num_threads, "seconds": seconds}
            raw = worker.profile(settings)
        operators = decode(tuple[Operator, ...], raw["operators"])
        if not operators:
            raise EngineError(f"{path}: the profiler of {version} recorded no operators. Update the engine")
        return Profile(
            name=bundle.name,
            status=bundle.manifest.status,
            engine=version,
            num_threads=num_threads,
            model_bytes=bundle.manifest.artifact.bytes,
            plain_ns=tuple(raw["plain_ns"]),
            profiled_ns=tuple(raw["profiled_ns"]),
            operators=operators,
            remarks=tuple(raw["remarks"]),
        )


def _converts(kind: str) -> bool:
    # XNNPACK's Convert, in these programs, is always between float and int8.
    return (
        kind.startswith(("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Convert"))
        or "quantize_per" in kind
    )
