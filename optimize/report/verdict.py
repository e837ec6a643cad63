"""The verdict on a measurement: which bundle won, what it kept and gained, what did not pay. Measures nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgekit.edge_runtime.benchmark.measurement import Measurement
from edgekit.edge_runtime.benchmark.table import Row, bytes_text, ms_text, ratio_text, share_kept
from edgekit.edge_runtime.bundle.status import PROVEN

FLOAT_RECIPES = ("", "fp32", "fp16")
# What a bundle can be the best in: the least of this. Without an objective: smaller and faster together.
OBJECTIVES: dict[str, Callable[[Row], float | None]] = {
    "": lambda row: -(row.times_faster or 0) * (row.times_smaller or 0),
    "latency": lambda row: row.p50_ms,
    "size": lambda row: row.model_bytes,
    "memory": lambda row: row.peak_rss_bytes,
}


def best_row(measured: Measurement) -> Row | None:
    """The verified bundle that is the best in the measurement's objective.

    Without one, that with the largest product of × smaller and × faster, both above 1 if any has both. Where no
    accuracy was measured, the best of those whose stages were verified.
    """
    fit = [r for r in measured.rows if r.status in PROVEN and r.times_faster and r.times_smaller]
    rows = [r for r in fit if r.metric] or fit
    least = OBJECTIVES.get(measured.objective, OBJECTIVES[""])
    if not measured.objective:
        rows = [r for r in rows if r.times_faster > 1 and r.times_smaller > 1] or rows  # type: ignore[operator]
    return min((r for r in rows if least(r) is not None), key=least, default=None)  # type: ignore[arg-type]


def pareto(rows: Sequence[Row]) -> list[Row]:
    """Verified rows that no other verified row beats in both size and latency, fastest first."""
    front: list[tuple[int, Row]] = []
    verified = [(r.p50_ms, r.model_bytes, r) for r in rows if r.status in PROVEN and r.p50_ms and r.model_bytes]
    for _, size, row in sorted(verified, key=lambda entry: entry[:2]):
        if not front or size < front[-1][0]:
            front.append((size, row))
    return [row for _, row in front]


def headline(row: Row) -> tuple[str, str, str]:
    """The three numbers as text: share of the float quality kept, × smaller, × faster; a dash where not measured.

    Of an error (lower is better) the share is the float model's over the artifact's, so that 100 % is all of it.
    """
    share = share_kept(row.metric) if row.metric else None
    kept = "–" if share is None else f"{share:.1%}"
    return kept, _times(row.times_smaller), _times(row.times_faster)


def interval(row: Row) -> str:
    """The 95 % interval of × faster, as every table writes it."""
    return f"[{ratio_text(row.times_faster_low)}, {ratio_text(row.times_faster_high)}]"


def quantized(row: Row) -> bool:
    """Whether the recipe is one that changes weights or activations to integers."""
    return row.recipe not in FLOAT_RECIPES


def slower_than_float(measured: Measurement) -> list[str]:
    """One sentence for each quantized bundle that is slower than float in the same format, by more than the noise."""
    floats = {r.exporter: r for r in measured.rows if r.recipe == "fp32" and r.p50_ms}
    sentences = []
    for row in (r for r in measured.rows if quantized(r) and r.p50_ms):
        float_row = floats.get(row.exporter)
        if float_row is None or float_row.p50_ms is None or row.p50_ms is None:
            continue
        if (row.times_faster_high or 0) >= (float_row.times_faster_low or 0):
            continue  # their intervals overlap, or it is faster: nothing to warn of
        size = ""
        if row.model_bytes and float_row.model_bytes:
            size = f"; its file has {bytes_text(row.model_bytes)} against {bytes_text(float_row.model_bytes)}"
        factor, float_time = ratio_text(row.p50_ms / float_row.p50_ms), ms_text(float_row.p50_ms)
        sentences.append(
            f"{row.exporter} {row.recipe} is {factor}× slower than {row.exporter} fp32 on this machine "
            f"({ms_text(row.p50_ms)} against {float_time}){size}."
        )
    return sentences


def _times(ratio: float | None) -> str:
    return f"{ratio_text(ratio)}×" if ratio else "–"
