"""The table, the same wherever one is printed: which columns it has, and what stands in each cell, as text or Markdown.

A row relates a candidate to one baseline, the float model, which the caption names. Nothing is measured here, and how
a number is written is decided in `format`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..bundle.status import PROVEN, stamp_of, why_of
from ..format import (
    bytes_text,
    count_text,
    difference_text,
    energy_text,
    faster_text,
    metric_name,
    metric_text,
    ms_text,
    percent_text,
    rate_text,
    smaller_text,
    times_text,
)
from .rows import Pair, Row
from .validity import MIN_SAMPLES_P99

# What a terminal shows at first; and what documents and reports show, which are wider.
NARROW = (
    "model file",
    "accuracy [95 %]",
    "size",
    "cold start",
    "p50",
    "p90 of inputs",
    "RSS added",
    "size ratio",
    "speed ratio [95 %]",
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
    "p90 of inputs",
    "p90",
    "p99",
    "per second",
    "peak RSS",
    "RSS added",
    "size ratio",
    "speed ratio [95 %]",
    "valid",
)
# What a terminal shows in a second table, when asked for more.
MORE = ("model file", "n", "agrees", "load", "p90", "p99", "max", "per second", "CPU", "energy", "peak RSS")
_SINCE_LATER = ("cold start", "p90 of inputs", "per second", "RSS added", "max", "CPU", "energy")
# A newer column that replaces an older one in tables that have both.
_REPLACED_BY = {"load": "cold start", "peak RSS": "RSS added"}


def present(rows: Sequence[Row], wanted: Sequence[str] = WIDE) -> list[str]:
    """The columns of `wanted` that have something to show: older files lack some, most machines count no energy.

    Columns that every measurement has always had are always there.
    """
    filled = [name for name in wanted if name not in _SINCE_LATER or any(_CELLS[name](row) for row in rows)]
    return [name for name in filled if _REPLACED_BY.get(name) not in filled]


def columns(rows: Sequence[Row], wanted: Sequence[str] = WIDE) -> list[str]:
    """The heads for these rows, with the name of their metric in place of "accuracy"."""
    names = dict.fromkeys(metric_name(row.metric.name) for row in rows if row.metric)
    metric = f"{' or '.join(names) or 'accuracy'} [95 %]"
    return [metric if name == "accuracy [95 %]" else name for name in present(rows, wanted)]


def cells(row: Row, names: Sequence[str], *, model: str = "") -> list[str]:
    """The row as text, one entry for each of `names`; a leading `model` is left out of the row's name."""
    name = row.name.removeprefix(f"{model}-")
    if row.error:
        return [name, error_text(row), *[""] * (len(names) - 2)]
    stamp = f" ({stamp_of(row.status)})" if is_stamped(row) else ""
    return [f"{name}{stamp}", *(_CELLS[column](row) for column in names[1:])]


def error_text(row: Row) -> str:
    """Why a row has no figures."""
    if row.status in ("not_run", "not tried"):
        return row.error
    return f"{'refused' if row.status == 'refused' else 'failed'}: {row.error}"


def is_stamped(row: Row) -> bool:
    """Whether the row is of a bundle that carries a warning wherever it is named."""
    return not row.error and row.status != "float" and row.status not in PROVEN


def markdown(rows: Sequence[Row], *, model: str = "") -> str:
    """The table in Markdown, ratios and numbers right-aligned."""
    names = present(rows)
    lines = ["| " + " | ".join(columns(rows)) + " |", "| --- |" + " ---: |" * (len(names) - 1)]
    lines += ["| " + " | ".join(cells(row, names, model=model)) + " |" for row in rows]
    return "\n".join(lines)


def shared_reasons(rows: Sequence[Row]) -> tuple[str, ...]:
    """What makes all measured rows invalid, because it was the machine; none when there is only one row."""
    measured = [row for row in rows if not row.error]
    if len(measured) < 2:
        return ()
    return tuple(reason for reason in measured[0].invalid_because if all(reason in r.invalid_because for r in measured))


def footnotes(rows: Sequence[Row]) -> list[str]:
    """Why measurements are not valid and bundles not verified, a line each; what holds for every row is said once."""
    shared = shared_reasons(rows)
    notes = [f"no row is valid: {reason}" for reason in shared]
    for row in rows:
        if own := [reason for reason in row.invalid_because if reason not in shared]:
            notes.append(f"{row.name}: not valid: {'; '.join(own)}")
    notes += [text for row in rows if (text := input_note(row))]
    notes += warnings(rows)
    if unmeasured := sum(row.status == "consistent" for row in rows):
        notes.append(f"{stamp_of('consistent')} ({count_text(unmeasured, 'row')}): {why_of('consistent')}")
    return notes


def input_note(row: Row) -> str:
    """That a row's time depends on the input, with what the slow ones take; "" where it does not."""
    if not row.depends_on_input or row.slow_inputs is None:
        return ""
    against = ""
    if row.times_faster_p90_inputs and row.times_faster and row.times_faster != 1:
        against = f"; against the baseline's it is {_speed_text(row.times_faster_p90_inputs)} there"
    return (
        f"{row.name}: its time depends on the input: the slowest tenth of {row.inputs} inputs takes "
        f"{times_text(row.slow_inputs)} the CPU time of the median one. Half of all runs took up to "
        f"{ms_text(row.p50_ms)}, nine of ten inputs up to {ms_text(row.p90_inputs_ms)}{against}"
    )


def _speed_text(times: float) -> str:
    return f"{times_text(max(times, 1 / times))} {'faster' if times > 1 else 'slower'}"


def warnings(rows: Sequence[Row]) -> list[str]:
    """A line for each bundle that carries a warning, with what is not proven of it."""
    return [f"{row.name}: {stamp_of(row.status)}: {_reason(row)}" for row in rows if is_stamped(row)]


def _reason(row: Row) -> str:
    """The verdict's own where it is why the row is stamped; else what the status means."""
    decided = row.verdict is not None and row.verdict.status in (row.status, "refused")
    return row.verdict.reason if row.verdict is not None and decided else why_of(row.status)


def pair_text(pair: Pair, *, model: str = "") -> str:
    """'onnx-w8a8_static: 1.83× faster than onnx-fp32 [1.79, 1.88]', or that there is no difference beyond noise."""
    name, other = (text.removeprefix(f"{model}-") for text in (pair.name, pair.other))
    if not pair.faster.beyond_noise:
        return f"{name} and {other}: {difference_text(pair.faster)}"
    return f"{name}: {faster_text(pair.faster, than=other)}"


def _p99(row: Row) -> str:
    # Fewer samples hold no 99th percentile that could be told from the 98th. Older files do not say how many.
    return "–" if 0 < row.samples < MIN_SAMPLES_P99 else ms_text(row.p99_ms)


_CELLS: dict[str, Callable[[Row], str]] = {
    "model file": lambda row: row.name,
    "accuracy [95 %]": lambda row: metric_text(row.metric) if row.metric else "not measured",
    "n": lambda row: f"{row.metric.samples:,}" if row.metric else "",
    "agrees": lambda row: percent_text(row.metric.agreement) if row.metric else "",
    "size": lambda row: bytes_text(row.model_bytes),
    "cold start": lambda row: ms_text(row.cold_start_ms),
    "load": lambda row: ms_text(row.load_ms),
    "p50": lambda row: ms_text(row.p50_ms),
    "p90 of inputs": lambda row: ms_text(row.p90_inputs_ms),
    "p90": lambda row: ms_text(row.p90_ms),
    "p99": _p99,
    "max": lambda row: ms_text(row.max_ms),
    "per second": lambda row: rate_text(row.per_second),
    "CPU": lambda row: ms_text(row.cpu_ms),
    "energy": lambda row: energy_text(row.energy_mj),
    "peak RSS": lambda row: bytes_text(row.peak_rss_bytes),
    "RSS added": lambda row: bytes_text(row.rss_added_bytes),
    "size ratio": lambda row: smaller_text(row.times_smaller),
    "speed ratio [95 %]": lambda row: faster_text(row.faster),
    "valid": lambda row: "yes" if row.valid else "NO",
}
