"""Rows: what a table, a report or a comparison needs of each measured candidate, as plain data that goes into JSON.

A row relates a candidate to one baseline, the float model. Nothing is measured or formatted here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from ..bundle.manifest import Manifest, Metric
from .benchmark_result import BenchmarkResult
from .stats import Ratio, paired_ratio

# "float": the float model itself; "failed", "not tried": there is no bundle; else what the bundle's manifest says.
Status = Literal["float", "verified", "stages_verified", "unverified", "not_run", "failed", "not tried"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table. Latencies are of one inference, batch 1; ratios are against the baseline.

    `error` says why there is nothing to show; the figures are None then. Files written before a field existed have it
    None or empty as well.
    """

    name: str
    status: Status
    recipe: str = ""
    exporter: str = ""
    engine: str = ""
    metric: Metric | None = None
    model_bytes: int | None = None
    load_ms: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    peak_rss_bytes: int | None = None
    times_smaller: float | None = None
    times_faster: float | None = None
    times_faster_low: float | None = None
    times_faster_high: float | None = None
    samples: int = 0
    percentiles_ms: tuple[float, ...] = ()  # 0, 1, … 100
    invalid_because: tuple[str, ...] = ()
    error: str = ""
    max_ms: float | None = None
    per_second: float | None = None
    cpu_ms: float | None = None  # of one inference, all threads together
    energy_mj: float | None = None  # of one inference: the processor package, idle share included
    rss_added_bytes: int | None = None  # the peak over an empty worker process
    cold_start_ms: float | None = None
    cold_starts_ms: tuple[float, ...] = ()  # every one of them
    rounds_p50_ms: tuple[float, ...] = ()  # the i-th rounds of all rows were measured next to each other

    @property
    def valid(self) -> bool:
        return not self.invalid_because and not self.error

    @property
    def faster(self) -> Ratio | None:
        """How many times as fast as the baseline, with its interval."""
        if not self.times_faster or not self.times_faster_low or not self.times_faster_high:
            return None
        return Ratio(value=self.times_faster, low=self.times_faster_low, high=self.times_faster_high)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a row says of a candidate besides its measurement."""

    status: Status
    recipe: str
    exporter: str
    metric: Metric | None

    @classmethod
    def of(cls, manifest: Manifest) -> Subject:
        metric = manifest.metrics[0] if manifest.metrics else None
        return cls(status=manifest.status, recipe=manifest.recipe, exporter=manifest.exporter, metric=metric)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """How many times as fast `name` is as `other`, measured in the same rounds."""

    name: str
    other: str
    faster: Ratio


@dataclass(frozen=True, kw_only=True)
class ScalingPoint:
    """The same bundle with more threads or a larger batch; `throughput` is against its own row in the table."""

    name: str  # of that row
    num_threads: int
    batch: int
    p50_ms: float  # of one run, which is a whole batch
    per_second: float
    cpu_ms: float
    throughput: Ratio
    invalid_because: tuple[str, ...] = ()


def row(subject: Subject, result: BenchmarkResult, baseline: BenchmarkResult) -> Row:
    """One measured candidate against the baseline measured in the same run."""
    ratio = paired_ratio(baseline.rounds_p50_ms, result.rounds_p50_ms)
    return Row(
        name=result.name,
        status=subject.status,
        recipe=subject.recipe,
        exporter=subject.exporter,
        engine=result.engine,
        metric=subject.metric,
        model_bytes=result.model_bytes,
        load_ms=result.load_ms,
        p50_ms=result.percentile_ms(50),
        p90_ms=result.percentile_ms(90),
        p99_ms=result.percentile_ms(99),
        max_ms=result.percentile_ms(100),
        per_second=result.per_second,
        cpu_ms=result.cpu_ms,
        energy_mj=result.energy_mj,
        peak_rss_bytes=result.peak_rss_bytes,
        rss_added_bytes=result.rss_added_bytes,
        cold_start_ms=result.cold_start_ms,
        cold_starts_ms=result.cold_starts_ms,
        times_smaller=baseline.model_bytes / result.model_bytes,
        times_faster=ratio.value,
        times_faster_low=ratio.low,
        times_faster_high=ratio.high,
        samples=len(result.wall_ns),
        percentiles_ms=tuple(round(result.percentile_ms(q), 6) for q in range(101)),
        rounds_p50_ms=tuple(round(ms, 6) for ms in result.rounds_p50_ms),
        invalid_because=result.invalid_because,
    )


def pairs(results: Sequence[BenchmarkResult]) -> tuple[Pair, ...]:
    """Every two candidates against each other, the faster one first."""
    found = []
    for first, second in combinations(results, 2):
        ratio = paired_ratio(second.rounds_p50_ms, first.rounds_p50_ms)
        names = (first.name, second.name)
        if ratio.value < 1:
            ratio, names = ratio.inverse, names[::-1]
        found.append(Pair(name=names[0], other=names[1], faster=ratio))
    return tuple(found)


def scaling_point(base: BenchmarkResult, result: BenchmarkResult) -> ScalingPoint:
    """`result` is of the same bundle as `base`, with more threads or a larger batch."""
    ratio, times = paired_ratio(base.rounds_mean_ms, result.rounds_mean_ms), result.batch / base.batch
    return ScalingPoint(
        name=base.name,
        num_threads=result.num_threads,
        batch=result.batch,
        p50_ms=result.percentile_ms(50),
        per_second=result.per_second,
        cpu_ms=result.cpu_ms,
        throughput=Ratio(value=ratio.value * times, low=ratio.low * times, high=ratio.high * times),
        invalid_because=result.invalid_because,
    )
