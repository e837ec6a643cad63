"""The table, the same wherever one is printed: rows from manifests and measurements, as text, Markdown or JSON.

A row relates a candidate to one baseline, the float model, which the caption names. Nothing is measured here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..bundle.manifest import Metric
from ..bundle.status import canonical, stamp_of, why_of
from ..tasks.metrics import NOT_FINITE
from ..tasks.registry import metric_named
from .rows import Pair, Row, Subject, row
from .stats import Ratio
from .validity import MIN_SAMPLES_P99

__all__ = ["MORE", "NARROW", "WIDE", "Row", "Subject", "columns", "footnotes", "markdown", "row"]

# What a terminal of 120 columns shows; and documents and reports, which are wider.
NARROW = (
    "model file",
    "accuracy [95 %]",
    "size",
    "cold start",
    "p50",
    "RSS added",
    "× smaller",
    "× faster [95 %]",
    "valid",
)
WIDE = (
    "model file",
    "accuracy [95 %]",
    "n",
    "agrees",
    "size",
    "cold start",
    "load",
    "p50",
    "p90",
    "p99",
    "per second",
    "peak RSS",
    "RSS added",
    "× smaller",
    "× faster [95 %]",
    "valid",
)
# What a terminal shows besides, when asked for more.
MORE = ("model file", "n", "agrees", "load", "p90", "p99", "max", "per second", "CPU", "energy", "peak RSS")
_LATER = ("cold start", "per second", "RSS added", "max", "CPU", "energy")
# Where a table has both, the second says what the first was there for, and better.
_INSTEAD = {"load": "cold start", "peak RSS": "RSS added"}


def present(rows: Sequence[Row], wanted: Sequence[str] = WIDE) -> list[str]:
    """Those of the columns `wanted` that have something to say; files of older versions lack some, most machines one.

    Columns that every measurement ever had are always there.
    """
    found = [name for name in wanted if name not in _LATER or any(_CELLS[name](row) for row in rows)]
    return [name for name in found if _INSTEAD.get(name) not in found]


def columns(rows: Sequence[Row], wanted: Sequence[str] = WIDE) -> list[str]:
    """The heads for these rows, with the name of their metric in place of "accuracy"."""
    names = dict.fromkeys(metric_name(row.metric.name) for row in rows if row.metric)
    metric = f"{' or '.join(names) or 'accuracy'} [95 %]"
    return [metric if name == "accuracy [95 %]" else name for name in present(rows, wanted)]


def cells(row: Row, names: Sequence[str], *, model: str = "") -> list[str]:
    """The row as text, one entry for each of `names`; `model` is cut off the front of names that begin with it."""
    first = row.name.removeprefix(f"{model}-")
    if row.error:
        return [first, row.error if row.status == "not_run" else f"failed: {row.error}", *[""] * (len(names) - 2)]
    stamp = f" ({stamp_of(row.status)})" if row.status in ("unverified", "undecided") else ""
    return [f"{first}{stamp}", *(_CELLS[name](row) for name in names[1:])]


def markdown(rows: Sequence[Row], *, model: str = "") -> str:
    """The table in Markdown, ratios and numbers right-aligned."""
    names = present(rows)
    lines = ["| " + " | ".join(columns(rows)) + " |", "| --- |" + " ---: |" * (len(names) - 1)]
    lines += ["| " + " | ".join(cells(row, names, model=model)) + " |" for row in rows]
    return "\n".join(lines)


def shared_reasons(rows: Sequence[Row]) -> tuple[str, ...]:
    """What makes all measured rows not valid, because it was the machine; none when there is but one row."""
    measured = [row for row in rows if not row.error]
    if len(measured) < 2:
        return ()
    return tuple(reason for reason in measured[0].invalid_because if all(reason in r.invalid_because for r in measured))


def footnotes(rows: Sequence[Row]) -> list[str]:
    """Why measurements are not valid and bundles not verified, one line each; what holds for all of them once."""
    shared = shared_reasons(rows)
    notes = [f"not valid, any of them: {reason}" for reason in shared]
    for one in rows:
        if own := [reason for reason in one.invalid_because if reason not in shared]:
            notes.append(f"{one.name}: not valid: {'; '.join(own)}")
    notes += [f"{row.name}: UNVERIFIED, {why_of(row.status)}" for row in rows if _unverified(row)]
    for status in ("undecided", "consistent"):
        if alike := [row.name for row in rows if canonical(row.status) == status and not row.error]:
            notes.append(f"{stamp_of(status)} ({len(alike)} of the rows): {why_of(status)}")
    return notes


def pair_text(pair: Pair, *, model: str = "") -> str:
    """'onnx-w8a8_static: 1.83× [1.79, 1.88] faster than onnx-fp32', or that nothing can be told apart."""
    name, other = (text.removeprefix(f"{model}-") for text in (pair.name, pair.other))
    if not pair.faster.beyond_noise:
        return f"{name} and {other}: no difference beyond noise, {ratio_interval(pair.faster)}"
    return f"{name}: {faster_text(pair.faster)} than {other}"


def faster_text(ratio: Ratio) -> str:
    """'1.83× [1.79, 1.88] faster', '1.20× [1.18, 1.22] slower', or 'no difference beyond noise'."""
    if not ratio.beyond_noise:
        return f"no difference beyond noise, {ratio_interval(ratio)}"
    return f"{ratio_interval(ratio)} faster" if ratio.value > 1 else f"{ratio_interval(ratio.inverse)} slower"


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
    if metric.low == -NOT_FINITE and metric.high == NOT_FINITE:  # a user's own measure, of which no interval is known
        return value_text(metric.name, metric.value)
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


def count_text(value: float | None) -> str:
    """How many a second, with three digits: 0.123, 8.5, 55,100."""
    if value is None:
        return ""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 99.95 else f"{value:.3g}"


def ratio_text(value: float | None) -> str:
    """A ratio with about three digits: 0.62, 1.83, 12.4, 131."""
    if value is None:
        return ""
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def _unverified(row: Row) -> bool:
    return row.status == "unverified"


def ratio_interval(ratio: Ratio) -> str:
    """'1.83× [1.79, 1.88]'."""
    return f"{ratio_text(ratio.value)}× [{ratio_text(ratio.low)}, {ratio_text(ratio.high)}]"


def _p99(row: Row) -> str:
    # Fewer samples hold no 99th percentile that could be told from the 98th. Older files do not say how many.
    return "–" if 0 < row.samples < MIN_SAMPLES_P99 else ms_text(row.p99_ms)


def _times_faster(row: Row) -> str:
    return f"{ratio_text(row.times_faster)} [{ratio_text(row.times_faster_low)}, {ratio_text(row.times_faster_high)}]"


_CELLS: dict[str, Callable[[Row], str]] = {
    "model file": lambda row: row.name,
    "accuracy [95 %]": lambda row: metric_text(row.metric) if row.metric else "not measured",
    "n": lambda row: f"{row.metric.samples:,}" if row.metric else "",
    "agrees": lambda row: f"{row.metric.agreement:.1%}" if row.metric else "",
    "size": lambda row: bytes_text(row.model_bytes),
    "cold start": lambda row: ms_text(row.cold_start_ms),
    "load": lambda row: ms_text(row.load_ms),
    "p50": lambda row: ms_text(row.p50_ms),
    "p90": lambda row: ms_text(row.p90_ms),
    "p99": _p99,
    "max": lambda row: ms_text(row.max_ms),
    "per second": lambda row: count_text(row.per_second),
    "CPU": lambda row: ms_text(row.cpu_ms),
    "energy": lambda row: "" if row.energy_mj is None else f"{row.energy_mj:.3g} mJ",
    "peak RSS": lambda row: bytes_text(row.peak_rss_bytes),
    "RSS added": lambda row: bytes_text(row.rss_added_bytes),
    "× smaller": lambda row: ratio_text(row.times_smaller),
    "× faster [95 %]": _times_faster,
    "valid": lambda row: "yes" if row.valid else "NO",
}
