"""The verdict on a measurement: which bundle is best, and which did not pay. Measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgekit.edge_runtime.benchmark.measurement import Measurement
from edgekit.edge_runtime.benchmark.rows import Row
from edgekit.edge_runtime.format import bytes_text, ms_text, times_text

FLOAT_RECIPES = ("", "fp32", "fp16")
# What the best bundle has the least of, by objective; without one, it is smaller and faster at once.
OBJECTIVES: dict[str, Callable[[Row], float | None]] = {
    "": lambda row: -(row.times_faster or 0) * (row.times_smaller or 0),
    "latency": lambda row: row.p50_ms,
    "size": lambda row: row.model_bytes,
    "memory": lambda row: row.peak_rss_bytes,
}


def best_row(measured: Measurement) -> Row | None:
    """The verified bundle that is best in the measurement's objective; None where none is verified.

    Without an objective, the one with the largest product of size ratio and speed ratio, both above 1 if possible. A
    bundle that is verified on its own, but not as the best of all that were tried, comes only after those that are. So
    does a lossy one on an engine besides the usual one, which is only verified on its own.
    """
    verified = [row for row in measured.rows if row.status == "verified"]
    usual = [row for row in measured.rows if "@" not in row.name]
    lossy = sum(is_quantized(row) and row.status not in ("not tried", "float") for row in usual)
    as_best = [row for row in verified if row.verdict is None or row.verdict.lossless or row.best_of >= lossy]
    return _best(as_best or verified, measured.objective)


def best_undecided(measured: Measurement) -> Row | None:
    """The best bundle of which every stage passed, and nothing is decided about its loss; None where there is none."""
    return _best([row for row in measured.rows if row.status in ("undecided", "consistent")], measured.objective)


def _best(rows: Sequence[Row], objective: str) -> Row | None:
    fit = [row for row in rows if row.times_faster and row.times_smaller]
    least = OBJECTIVES.get(objective, OBJECTIVES[""])
    if not objective:
        fit = [r for r in fit if r.times_faster > 1 and r.times_smaller > 1] or fit  # type: ignore[operator]
    return min((r for r in fit if least(r) is not None), key=least, default=None)  # type: ignore[arg-type]


def pareto(rows: Sequence[Row]) -> list[Row]:
    """Verified rows that no other verified row beats in both size and latency, the fastest first.

    Where none is verified, of those of which nothing is decided.
    """
    measured = [(r.p50_ms, r.model_bytes, r) for r in rows if r.p50_ms and r.model_bytes]
    verified = [entry for entry in measured if entry[2].status == "verified"]
    offered = verified or [entry for entry in measured if entry[2].status in ("undecided", "consistent")]
    front: list[tuple[int, Row]] = []
    for _, size, row in sorted(offered, key=lambda entry: entry[:2]):
        if not front or size < front[-1][0]:
            front.append((size, row))
    return [row for _, row in front]


def is_quantized(row: Row) -> bool:
    """Whether the recipe turns weights or activations into integers."""
    return row.recipe not in FLOAT_RECIPES


def slower_than_float(measured: Measurement) -> list[str]:
    """A sentence for each quantized bundle that is slower than float in the same format, beyond noise."""
    floats = {r.exporter: r for r in measured.rows if r.recipe == "fp32" and r.p50_ms}
    sentences = []
    for row in (r for r in measured.rows if is_quantized(r) and r.p50_ms):
        float_row = floats.get(row.exporter)
        if float_row is None or float_row.p50_ms is None or row.p50_ms is None:
            continue
        if (row.times_faster_high or 0) >= (float_row.times_faster_low or 0):
            continue  # the intervals overlap, or it is faster
        size = ""
        if row.model_bytes and float_row.model_bytes:
            size = f"; its file has {bytes_text(row.model_bytes)} against {bytes_text(float_row.model_bytes)}"
        factor, float_time = times_text(row.p50_ms / float_row.p50_ms), ms_text(float_row.p50_ms)
        sentences.append(
            f"{row.exporter} {row.recipe} is {factor} slower than {row.exporter} fp32 on this machine "
            f"({ms_text(row.p50_ms)} against {float_time}){size}."
        )
    return sentences
