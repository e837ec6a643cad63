"""Which candidates to measure when threads or batches vary, and what came of it. Measures nothing.

Threads vary at the first batch size, batches at the first number of threads; all of them take turns in one run.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..command_line import EDGEKIT
from ..errors import UsageError
from ..format import count_text
from .benchmark_result import BenchmarkResult
from .measure import Candidate
from .rows import ScalingPoint, scaling_point


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What to vary. The table shows the first of each."""

    threads: tuple[int, ...] = (1,)
    """Numbers of CPU threads."""
    batches: tuple[int, ...] = (1,)
    """Batch sizes."""

    @classmethod
    def asked(cls, *, threads: str, scaling: bool, batch: str) -> Sweep:
        """From the command's options. Raises UsageError."""
        numbers = parse_counts(threads, "--threads")
        if scaling and numbers != (1,):
            raise UsageError("--scaling chooses the numbers of threads itself: leave out --threads")
        if scaling:
            numbers = doublings(os.cpu_count() or 1)
        return cls(threads=numbers, batches=parse_counts(batch, "--batch"))


def parse_counts(text: str, option: str) -> tuple[int, ...]:
    """'1,2,4' as numbers. Raises UsageError unless they are different whole numbers from 1 upwards."""
    words = [word.strip() for word in text.split(",")]
    numbers = tuple(int(word) for word in words if word.isascii() and word.isdigit() and 1 <= int(word) <= 1 << 16)
    if len(numbers) != len(words) or len(set(numbers)) != len(numbers):
        raise UsageError(f"{option} takes different whole numbers from 1 upwards, such as 1,2,4; found {text!r}")
    return numbers


def doublings(last: int) -> tuple[int, ...]:
    """1, 2, 4, … and `last`."""
    return tuple(sorted({last, *(1 << i for i in range(last.bit_length()) if 1 << i <= last)}))


def expand(candidates: Sequence[Candidate], sweep: Sweep) -> tuple[list[Candidate], list[str]]:
    """The candidates, then each with other threads and batches; and the names of those whose batch is fixed.

    Raises:
        UsageError: no candidate has a free batch axis, or one cannot run a batch that large.
    """
    base = [replace(c, num_threads=sweep.threads[0], batch=sweep.batches[0]) for c in candidates]
    more = [
        replace(c, name=f"{c.name}, {count_text(n, 'thread')}", num_threads=n) for c in base for n in sweep.threads[1:]
    ]
    fixed = [c.name for c in candidates if c.free_batch is None]
    if sweep.batches != (1,):
        if len(fixed) == len(candidates):
            raise UsageError(
                "--batch needs a bundle with a free batch axis; each of these runs one sample at a time. Pack them "
                f"with `{EDGEKIT} optimize MODEL --max-batch N`"
            )
        for c in candidates:
            for n in sweep.batches:
                if c.free_batch is not None and not c.free_batch.min <= n <= c.free_batch.max:
                    raise UsageError(f"{c.name} runs batches of {c.free_batch}, found --batch {n}")
        base = [c if c.free_batch else replace(c, batch=1) for c in base]
        more += [
            replace(c, name=f"{c.name}, batch {n}", batch=n) for c in base if c.free_batch for n in sweep.batches[1:]
        ]
    return [*base, *more], fixed if sweep.batches != (1,) else []


def split(
    results: Sequence[BenchmarkResult], candidates: int
) -> tuple[Sequence[BenchmarkResult], tuple[ScalingPoint, ...]]:
    """The results of the first `candidates` of `expand`'s list, and how the others scale against them."""
    base, more = results[:candidates], results[candidates:]
    by_name = {result.name: result for result in base}
    return base, tuple(scaling_point(by_name[result.name.rpartition(", ")[0]], result) for result in more)
