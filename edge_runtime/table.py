"""The table, the same wherever one is printed: rows from manifests and measurements, as text, Markdown or JSON.

A row relates a candidate to one baseline, the float model, which the caption names. Nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .benchmark import BenchmarkResult
from .manifest import Manifest, Metric
from .metrics import NOT_FINITE
from .stats import median_ratio
from .tasks import metric_named

COLUMNS = (
    "model file",
    "accuracy [95 %]",
    "n",
    "agrees",
    "size",
    "load",
    "p50",
    "p90",
    "p99",
    "peak RSS",
    "× smaller",
    "× faster [95 %]",
    "valid",
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table. Latencies are of one inference, batch 1; ratios are against the baseline.

    `error` says why there is nothing to show; the figures are None then.
    """

    name: str
    status: str
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

    @property
    def valid(self) -> bool:
        return not self.invalid_because and not self.error


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a row says of a candidate besides its measurement."""

    status: str
    recipe: str
    exporter: str
    metric: Metric | None

    @classmethod
    def of(cls, manifest: Manifest) -> Subject:
        metric = manifest.metrics[0] if manifest.metrics else None
        return cls(status=manifest.status, recipe=manifest.recipe, exporter=manifest.exporter, metric=metric)


def row(subject: Subject, result: BenchmarkResult, baseline: BenchmarkResult) -> Row:
    """One measured candidate against the baseline measured in the same run."""
    ratio, low, high = median_ratio(baseline.rounds_wall_ns, result.rounds_wall_ns)
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
        peak_rss_bytes=result.peak_rss_bytes,
        times_smaller=baseline.model_bytes / result.model_bytes,
        times_faster=ratio,
        times_faster_low=low,
        times_faster_high=high,
        samples=len(result.wall_ns),
        percentiles_ms=tuple(round(result.percentile_ms(q), 6) for q in range(101)),
        invalid_because=result.invalid_because,
    )


def columns(rows: Sequence[Row]) -> list[str]:
    """The heads for these rows: `COLUMNS`, with the name of their metric in place of "accuracy"."""
    names = dict.fromkeys(metric_name(row.metric.name) for row in rows if row.metric)
    return [COLUMNS[0], f"{' or '.join(names) or 'accuracy'} [95 %]", *COLUMNS[2:]]


def cells(row: Row, *, model: str = "") -> list[str]:
    """The row as text, one entry for each of COLUMNS; `model` is cut off the front of names that begin with it."""
    name = row.name.removeprefix(f"{model}-")
    if row.error:
        return [name, f"failed: {row.error}", *[""] * (len(COLUMNS) - 2)]
    metric = row.metric
    return [
        name if row.status != "unverified" else f"{name} (UNVERIFIED)",
        metric_text(metric) if metric else "not measured",
        f"{metric.samples:,}" if metric else "",
        f"{metric.agreement:.1%}" if metric else "",
        bytes_text(row.model_bytes),
        ms_text(row.load_ms),
        ms_text(row.p50_ms),
        ms_text(row.p90_ms),
        ms_text(row.p99_ms),
        bytes_text(row.peak_rss_bytes),
        ratio_text(row.times_smaller),
        f"{ratio_text(row.times_faster)} [{ratio_text(row.times_faster_low)}, {ratio_text(row.times_faster_high)}]",
        "yes" if row.valid else "NO",
    ]


def markdown(rows: Sequence[Row], *, model: str = "") -> str:
    """The table in Markdown, ratios and numbers right-aligned."""
    lines = ["| " + " | ".join(columns(rows)) + " |", "| --- |" + " ---: |" * (len(COLUMNS) - 1)]
    lines += ["| " + " | ".join(cells(row, model=model)) + " |" for row in rows]
    return "\n".join(lines)


def footnotes(rows: Sequence[Row]) -> list[str]:
    """Why measurements are not valid and bundles not verified, one line each."""
    notes = [f"{row.name}: not valid: {reason}" for row in rows for reason in row.invalid_because]
    notes += [f"{row.name}: UNVERIFIED, it missed a stage or the gate when packed" for row in rows if _unverified(row)]
    return notes


def metric_name(name: str) -> str:
    """A metric's name for a person: "mean absolute error"."""
    return name.replace("_", " ")


def value_text(name: str, value: float, *, digits: int = 2) -> str:
    """A value of the metric `name`, as every table and message writes it: '98.05%' of a share, else '41.23'."""
    metric = metric_named(name)
    if metric is not None and metric.is_share:
        return f"{value:.{digits}%}"
    return f"{value:.4g}" if abs(value) < NOT_FINITE else "not finite"


def metric_text(metric: Metric) -> str:
    """A recorded metric with its 95 % interval: '98.05% [96.0%, 99.0%]', '41.23 [39.9, 42.56]'."""
    low, high = (value_text(metric.name, value, digits=1) for value in (metric.low, metric.high))
    return f"{value_text(metric.name, metric.value)} [{low}, {high}]"


def share_kept(metric: Metric) -> float | None:
    """How much of the float model's quality is left, 1 for all: the ratio of two scores, the inverse one of two errors.

    None where the ratio would divide by 0.
    """
    known = metric_named(metric.name)
    better, other = metric.value, metric.float_value
    if known is not None and not known.higher_is_better:
        better, other = other, better
    return better / other if other else None


def quality_name(metric: Metric | None) -> str:
    """What `share_kept` is a share of: "accuracy"; of an error, which nobody wants to keep, "quality by" its name."""
    if metric is None:
        return "accuracy"
    known = metric_named(metric.name)
    is_error = known is not None and not known.higher_is_better
    return f"quality (by {metric_name(metric.name)})" if is_error else metric_name(metric.name)


def bytes_text(count: int | None) -> str:
    """1234567 -> '1.23 MB' (powers of 1000, as phones and downloads count)."""
    if count is None:
        return ""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def ms_text(value: float | None) -> str:
    """Milliseconds with three digits that mean something, in µs below 1 ms."""
    if value is None:
        return ""
    if value < 0.9995:
        return f"{value * 1000:.3g} µs"
    return f"{value:.3g} ms" if value < 999.5 else f"{value / 1000:.3g} s"


def ratio_text(value: float | None) -> str:
    """A ratio with about three digits: 0.62, 1.83, 12.4, 131."""
    if value is None:
        return ""
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def _unverified(row: Row) -> bool:
    return row.status == "unverified"
