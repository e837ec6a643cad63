"""Rows: what a table, a report or a comparison needs to know of each candidate, as plain data that goes into JSON.

A row relates a candidate to one baseline, the float model. Nothing is measured or formatted here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from ..bundle.manifest import Manifest, Metric
from ..bundle.status import Status as BundleStatus
from ..bundle.verdict import Verdict
from ..engines import ENGINES
from .benchmark_result import BenchmarkResult
from .stats import Ratio, paired_ratio

# In a manifest's provenance: the bundle is verified also where the best of so many is taken.
BEST_OF = "verified_as_best_of"
SLOW_INPUTS = 1.25  # from here on, what the slowest tenth of the inputs takes over the median one is worth saying
# Those of bundles, and more: "float" is the float model itself, which is no bundle; the last two have an error in place
# of figures.
Status = Literal[BundleStatus, "float", "refused", "failed", "not tried"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table. A figure is None where it was not measured, or the file is older than the field."""

    name: str
    """The bundle's name, or what else was measured."""
    status: Status
    """What was proven of it."""
    recipe: str = ""
    """How it was quantized."""
    exporter: str = ""
    """What made it."""
    engine: str = ""
    """The library that ran it, and its version."""
    metric: Metric | None = None
    """Its own accuracy, measured when it was packed."""
    verdict: Verdict | None = None
    """What was decided about its loss when it was packed; None for the float model and for bundles of format 1."""
    best_of: int = 0
    """It is verified also as the best of so many bundles; 0 where that was not asked."""
    model_bytes: int | None = None
    """Size of the model file."""
    load_ms: float | None = None
    """From the file on disk to ready for the first run."""
    p50_ms: float | None = None
    """Latency of one run: half of all runs took no longer."""
    p90_ms: float | None = None
    """Nine of ten runs took no longer."""
    p99_ms: float | None = None
    """All but one run in a hundred took no longer."""
    peak_rss_bytes: int | None = None
    """The most memory its process ever held."""
    times_smaller: float | None = None
    """The baseline's file size over this one's; below 1 this one is larger."""
    times_faster: float | None = None
    """The baseline's time over this one's; below 1 this one is slower."""
    times_faster_low: float | None = None
    """Lower end of its 95 % interval."""
    times_faster_high: float | None = None
    """Upper end of its 95 % interval."""
    samples: int = 0
    """How many runs were timed."""
    percentiles_ms: tuple[float, ...] = ()
    """Latency percentiles 0, 1, … 100."""
    invalid_because: tuple[str, ...] = ()
    """Why the figures should not be quoted, each with advice."""
    error: str = ""
    """Why there are no figures."""
    max_ms: float | None = None
    """The longest run."""
    per_second: float | None = None
    """Inferences in a second, one run after the other."""
    cpu_ms: float | None = None
    """CPU time of one inference, all threads together."""
    energy_mj: float | None = None
    """Energy of one inference: the processor package, idle power included."""
    rss_added_bytes: int | None = None
    """The peak above an empty worker process."""
    cold_start_ms: float | None = None
    """From the start of a process to its first answer: the median."""
    cold_starts_ms: tuple[float, ...] = ()
    """Every cold start."""
    rounds_p50_ms: tuple[float, ...] = ()
    """The median of each round; the i-th rounds of all rows ran next to each other."""
    inputs: int = 0
    """How many different inputs were run."""
    p90_inputs_ms: float | None = None
    """Nine of ten different inputs took no longer, of each its own median."""
    slow_inputs: float | None = None
    """How many times the median input's CPU time the slowest tenth of the inputs takes; noise alone gives 1."""
    times_faster_p90_inputs: float | None = None
    """The baseline's `p90_inputs_ms` over this one's."""

    @property
    def valid(self) -> bool:
        return not self.invalid_because and not self.error

    @property
    def judged_metric(self) -> Metric | None:
        """What the verdict is about: the metric, or another one that the model is held to, such as F1."""
        if self.metric is None or self.verdict is None or self.verdict.metric in (self.metric.name, "agreement"):
            return self.metric
        value, float_value = self.verdict.value, self.verdict.float_value
        return replace(self.metric, name=self.verdict.metric, value=value, float_value=float_value)

    @property
    def faster(self) -> Ratio | None:
        """How many times as fast as the baseline it is, with its interval."""
        if not self.times_faster or not self.times_faster_low or not self.times_faster_high:
            return None
        return Ratio(value=self.times_faster, low=self.times_faster_low, high=self.times_faster_high)

    @property
    def depends_on_input(self) -> bool:
        """Whether its time depends on what it is given, so that a median does not tell all."""
        return (self.slow_inputs or 1.0) >= SLOW_INPUTS


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a row says of a candidate besides its measurement; fields as in `Row`."""

    status: Status
    recipe: str
    exporter: str
    metric: Metric | None
    verdict: Verdict | None = None
    best_of: int = 0

    @classmethod
    def of(cls, manifest: Manifest, engine: str = "") -> Subject:
        """What a manifest says of its first program, run by an engine; "" stands for the format's usual one.

        Accuracy is of the usual engine. Of another one it is what was decided on its own answers, if that was done.
        """
        if engine not in ("", next(iter(ENGINES.get(manifest.artifact.format, {"": ()})))):
            runs = (run for run in manifest.engines if (run.name, run.precision) == (engine, "float32"))
            verdict = next((run.verdict for run in runs), None)
            status = manifest.status
            if status in ("verified", "undecided", "consistent"):
                decided = "consistent" if verdict is None else verdict.status
                status = "unverified" if decided == "refused" else decided
            recipe, exporter = manifest.recipe, manifest.exporter
            return cls(status=status, recipe=recipe, exporter=exporter, metric=None, verdict=verdict)
        return cls(
            status=manifest.status,
            recipe=manifest.recipe,
            exporter=manifest.exporter,
            metric=manifest.metrics[0] if manifest.metrics else None,
            verdict=manifest.verdict,
            best_of=int(count) if (count := manifest.provenance.get(BEST_OF, "")).isdecimal() else 0,
        )


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two candidates that were measured in the same rounds."""

    name: str
    """The faster one."""
    other: str
    """The slower one."""
    faster: Ratio
    """How many times as fast the first one is."""


@dataclass(frozen=True, kw_only=True)
class ScalingPoint:
    """A bundle measured again with more threads or a larger batch."""

    name: str
    """Name of the bundle's row in the table."""
    num_threads: int
    """CPU threads inside one run."""
    batch: int
    """Samples in one run."""
    p50_ms: float
    """Latency of one run, which is a whole batch."""
    per_second: float
    """Inferences in a second."""
    cpu_ms: float
    """CPU time of one inference, all threads together."""
    throughput: Ratio
    """Inferences in a second against the bundle's own row."""
    invalid_because: tuple[str, ...] = ()
    """Why it should not be quoted."""


def row(subject: Subject, result: BenchmarkResult, baseline: BenchmarkResult) -> Row:
    """A measured candidate against the baseline, which was measured in the same run."""
    ratio = paired_ratio(baseline.rounds_p50_ms, result.rounds_p50_ms)
    return Row(
        name=result.name,
        status=subject.status,
        recipe=subject.recipe,
        exporter=subject.exporter,
        engine=result.engine,
        metric=subject.metric,
        verdict=subject.verdict,
        best_of=subject.best_of,
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
        inputs=result.inputs,
        p90_inputs_ms=result.p90_inputs_ms,
        slow_inputs=result.slow_inputs,
        times_faster_p90_inputs=_over(baseline.p90_inputs_ms, result.p90_inputs_ms),
        invalid_because=result.invalid_because,
    )


def _over(first: float | None, second: float | None) -> float | None:
    return first / second if first and second else None


def pairs(results: Sequence[BenchmarkResult]) -> tuple[Pair, ...]:
    """Every two candidates against each other, the faster one first."""
    pairs = []
    for first, second in combinations(results, 2):
        ratio = paired_ratio(second.rounds_p50_ms, first.rounds_p50_ms)
        names = (first.name, second.name)
        if ratio.value < 1:
            ratio, names = ratio.inverse, names[::-1]
        pairs.append(Pair(name=names[0], other=names[1], faster=ratio))
    return tuple(pairs)


def scaling_point(base: BenchmarkResult, result: BenchmarkResult) -> ScalingPoint:
    """How `result` scales against `base`: the same bundle, with more threads or a larger batch."""
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
