"""Which candidates to measure when threads or batch are varied, and what came of it. Measures nothing.

Threads are varied at the first batch, batches at the first number of threads; all of them take turns in one run.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import UsageError
from .benchmark_result import BenchmarkResult
from .measure import Candidate
from .rows import ScalingPoint, scaling_point


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The numbers of threads and the batch sizes asked for; the first of each is what the table shows."""

    threads: tuple[int, ...] = (1,)
    batches: tuple[int, ...] = (1,)

    @classmethod
    def asked(cls, *, threads: str, scaling: bool, batch: str) -> Sweep:
        """As the command's options say it. Raises UsageError."""
        found = counts(threads, "--threads")
        if scaling and found != (1,):
            raise UsageError("--scaling chooses the numbers of threads itself: leave --threads out")
        if scaling:
            found = doublings(os.cpu_count() or 1)
        return cls(threads=found, batches=counts(batch, "--batch"))


def counts(text: str, option: str) -> tuple[int, ...]:
    """'1,2,4' as numbers. Raises UsageError on anything that is not whole numbers from 1, each once."""
    words = [word.strip() for word in text.split(",")]
    found = tuple(int(word) for word in words if word.isascii() and word.isdigit() and 1 <= int(word) <= 1 << 16)
    if len(found) != len(words) or len(set(found)) != len(found):
        raise UsageError(f"{option} takes whole numbers from 1, each once, like 1,2,4; found {text!r}")
    return found


def doublings(last: int) -> tuple[int, ...]:
    """1, 2, 4, … up to `last`, which is there as well."""
    return tuple(sorted({last, *(1 << i for i in range(last.bit_length()) if 1 << i <= last)}))


def expand(candidates: Sequence[Candidate], sweep: Sweep) -> tuple[list[Candidate], list[str]]:
    """The candidates first, then each with other threads and batches; and the names whose batch is fixed.

    Raises:
        UsageError: batches were asked for and no candidate has a free batch axis, or one bounds it below what is asked.
    """
    base = [replace(c, num_threads=sweep.threads[0], batch=sweep.batches[0]) for c in candidates]
    more = [
        replace(c, name=f"{c.name}, {n} thread{'s' if n > 1 else ''}", num_threads=n)
        for c in base
        for n in sweep.threads[1:]
    ]
    fixed = [c.name for c in candidates if c.free_batch is None]
    if sweep.batches != (1,):
        if len(fixed) == len(candidates):
            raise UsageError(
                "none of these bundles has a free batch axis, so each takes one sample a run. Pack them with "
                "`edgekit optimize MODEL --max-batch N`"
            )
        for c in candidates:
            for n in sweep.batches:
                if c.free_batch is not None and not c.free_batch.min <= n <= c.free_batch.max:
                    raise UsageError(f"{c.name} takes a batch of {c.free_batch}, found --batch {n}")
        base = [c if c.free_batch else replace(c, batch=1) for c in base]
        more += [
            replace(c, name=f"{c.name}, batch {n}", batch=n) for c in base if c.free_batch for n in sweep.batches[1:]
        ]
    return [*base, *more], fixed if sweep.batches != (1,) else []


def split(
    results: Sequence[BenchmarkResult], candidates: int
) -> tuple[Sequence[BenchmarkResult], tuple[ScalingPoint, ...]]:
    """The results of `expand`'s list: those of the `candidates` themselves, and how the others scale against them."""
    base, more = results[:candidates], results[candidates:]
    by_name = {result.name: result for result in base}
    return base, tuple(scaling_point(by_name[result.name.rpartition(", ")[0]], result) for result in more)
