"""How numbers are written, once: the terminal, tables, the report and the demo all take their texts from here.

A number has about three digits and its unit; a ratio is above 1 and says in which direction; a percentage never claims
100 % of what is less. What was not measured is None, and becomes "". Knows numbers and metrics; knows no markup.
"""

from __future__ import annotations

from .benchmark.stats import Ratio
from .bundle.manifest import Floor, Metric
from .tasks.metrics import NOT_FINITE, SQNR_CAP_DB
from .tasks.registry import metric_named

SAME_SIZE = 1.005  # ratios below this are written as "same size"


def ms_text(value: float | None) -> str:
    """Milliseconds, in the unit that fits: '500 µs', '12.3 ms', '1.5 s'."""
    if value is None:
        return ""
    if value < 0.9995:
        return f"{_three_digits(value * 1000)} µs"
    return f"{_three_digits(value)} ms" if value < 999.5 else f"{_three_digits(value / 1000)} s"


def bytes_text(count: float | None) -> str:
    """'999 B', '35.4 kB', '1.23 MB': powers of 1000, as phones and downloads count."""
    if count is None:
        return ""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 999.5:
            return f"{_three_digits(size)} {unit}"
        size /= 1000
    return f"{_three_digits(size)} GB"


def count_text(count: int, noun: str) -> str:
    """'1 thread', '1,234 samples'."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def rate_text(per_second: float | None) -> str:
    """How many in a second: '0.123', '8.5', '55,100'."""
    return "" if per_second is None else _three_digits(per_second)


def operations_text(gops: float) -> str:
    """A rate of arithmetic: '512 MOP/s', '4.13 GOP/s', '1.2 TOP/s'."""
    if gops < 0.9995:
        return f"{_three_digits(gops * 1000)} MOP/s"
    return f"{_three_digits(gops)} GOP/s" if gops < 999.5 else f"{_three_digits(gops / 1000)} TOP/s"


def energy_text(millijoules: float | None) -> str:
    """'12.3 mJ'."""
    return "" if millijoules is None else f"{_three_digits(millijoules)} mJ"


def db_text(db: float) -> str:
    """A signal-to-noise ratio: '41.5 dB'; 'identical' and 'not finite' at the two ends of the scale."""
    return "identical" if db >= SQNR_CAP_DB else "not finite" if db <= -SQNR_CAP_DB else f"{db:.1f} dB"


def percent_text(share: float, digits: int = 1) -> str:
    """'87.1 %', and '100 %' of all or '0 %' of nothing; what is a little less than all is '>99.9 %'."""
    if share in (0.0, 1.0):
        return f"{share * 100:.0f} %"
    text, step = f"{share * 100:.{digits}f}", f"{10.0**-digits:.{digits}f}"
    if 0 < share < 1 and float(text) == 100:
        return f">{100 - 10.0**-digits:.{digits}f} %"
    return f"<{step} %" if 0 < share < 1 and float(text) == 0 else f"{text} %"


def limit_text(share: float) -> str:
    """A limit that somebody chose, with the digits it has: '1 %', '2.5 %'."""
    return f"{share * 100:g} %"


def floor_text(floor: Floor) -> str:
    """What an output must reach: 'SQNR ≥ 20 dB, agreement ≥ 90 %'."""
    parts = (
        None if floor.sqnr_db is None else f"SQNR ≥ {floor.sqnr_db:g} dB",
        None if floor.agreement is None else f"agreement ≥ {limit_text(floor.agreement)}",
        None if floor.max_abs is None else f"max |Δ| ≤ {floor.max_abs:.3g}",
    )
    return ", ".join(part for part in parts if part)


def growth_text(before: float, after: float) -> str:
    """What became more or less: '+12.5 %', '-3.0 %', '±0 %' of something that is the same."""
    change = after / before - 1
    return f"{change * 100:+.1f} %" if abs(change) >= 0.0005 else "±0 %"


def times_text(ratio: float) -> str:
    """A ratio above 1 that has no interval: '1.04×', '3.5×', '131×'."""
    return f"{ratio:.2f}×" if ratio < 1.095 else f"{ratio:.1f}×" if ratio < 9.95 else f"{ratio:,.0f}×"


def smaller_text(times_smaller: float | None) -> str:
    """How a size relates to the baseline's: '3.5× smaller', '3.5× larger', 'same size'."""
    if not times_smaller:
        return ""
    ratio, word = size_change(times_smaller)
    return f"{times_text(ratio)} {word}" if word != "same size" else word


def size_change(times_smaller: float) -> tuple[float, str]:
    """The ratio, from 1 upwards, and its word: (3.5, 'smaller'), (3.5, 'larger'), (1.0, 'same size')."""
    ratio = max(times_smaller, 1 / times_smaller)
    return (1.0, "same size") if ratio < SAME_SIZE else (ratio, "smaller" if times_smaller > 1 else "larger")


def faster_text(ratio: Ratio | None, *, than: str = "") -> str:
    """A speed against another, with its 95 % interval: '1.83× faster [1.79, 1.88]', '1.20× slower than x [1.18, 1.22]'.

    Where the interval includes 1, it claims no direction: '1.01× [0.90, 1.10]'.
    """
    if ratio is None:
        return ""
    if not ratio.beyond_noise:
        return ratio_text(ratio)
    above = ratio if ratio.value > 1 else ratio.inverse
    other = f" than {than}" if than else ""
    return f"{_two_decimals(above.value)}× {'faster' if ratio.value > 1 else 'slower'}{other} {interval_text(above)}"


def difference_text(ratio: Ratio, *, than: str = "") -> str:
    """As `faster_text`, in a sentence: 'no difference beyond noise, 1.01× [0.90, 1.10]' where there is none."""
    text = faster_text(ratio, than=than)
    return text if ratio.beyond_noise else f"no difference beyond noise, {text}"


def ratio_text(ratio: Ratio) -> str:
    """A ratio whose direction is said elsewhere: '1.83× [1.79, 1.88]'."""
    return f"{_two_decimals(ratio.value)}× {interval_text(ratio)}"


def interval_text(ratio: Ratio) -> str:
    """The ends of a ratio's 95 % interval: '[1.79, 1.88]'."""
    return f"[{_two_decimals(ratio.low)}, {_two_decimals(ratio.high)}]"


def speed_text(before_ms: float, after_ms: float, *, noise: float) -> str:
    """Two short measurements against each other: '1.8× faster', '1.2× slower', 'about as fast' within `noise`."""
    ratio = max(before_ms / after_ms, after_ms / before_ms)
    if ratio < 1 + noise:
        return "about as fast"
    return f"{times_text(ratio)} {'faster' if after_ms < before_ms else 'slower'}"


def metric_name(name: str) -> str:
    """A metric's name for a person: 'mean absolute error', 'label F1'."""
    return " ".join(_ABBREVIATIONS.get(word, word) for word in name.split("_"))


_ABBREVIATIONS = {"f1": "F1", "auc": "AUC", "iou": "IoU", "map": "mAP"}


def value_text(name: str, value: float, *, digits: int = 2) -> str:
    """A value of the metric `name`: '98.05 %' of a share, else '41.23'."""
    metric = metric_named(name)
    if metric is not None and metric.is_share:
        return percent_text(value, digits)
    return f"{value:.4g}" if abs(value) < NOT_FINITE else "not finite"


def metric_text(metric: Metric) -> str:
    """A recorded metric with its 95 % interval: '98.05 % [96.0, 99.0]', '41.23 [39.9, 42.56]'."""
    value = value_text(metric.name, metric.value)
    if metric.low == -NOT_FINITE and metric.high == NOT_FINITE:  # a user's own measure, of which no interval is known
        return value
    known = metric_named(metric.name)
    if known is None or not known.is_share:
        return f"{value} [{value_text(metric.name, metric.low)}, {value_text(metric.name, metric.high)}]"
    low, high = (percent_text(share).removesuffix(" %") for share in (metric.low, metric.high))
    return f"{value} [{low}, {high}]"


def share_kept(metric: Metric) -> float | None:
    """How much of the float model's quality is left, 1 for all: the ratio of two scores, the inverse one of two errors.

    None where the ratio would divide by 0.
    """
    known = metric_named(metric.name)
    better, other = metric.value, metric.float_value
    if known is not None and not known.higher_is_better:
        better, other = other, better
    return better / other if other else None


def kept_text(metric: Metric | None) -> str:
    """`share_kept` for a person: '99.0 %'; a dash where it is not known."""
    share = share_kept(metric) if metric else None
    return "–" if share is None else percent_text(share)


def quality_name(metric: Metric | None) -> str:
    """What `share_kept` is a share of: 'accuracy'; of an error, which nobody wants to keep, 'quality (by …)'."""
    if metric is None:
        return "accuracy"
    known = metric_named(metric.name)
    is_error = known is not None and not known.higher_is_better
    return f"quality (by {metric_name(metric.name)})" if is_error else metric_name(metric.name)


def _three_digits(value: float) -> str:
    """Three digits that mean something, all of them before a point: '0.123', '12.3', '55,100'."""
    return f"{value:.3g}" if abs(value) < 999.5 else f"{float(f'{value:.3g}'):,.0f}"


def _two_decimals(ratio: float) -> str:
    """Enough to tell the two ends of an interval apart: '0.62', '1.83', '12.4', '131'."""
    return f"{ratio:.2f}" if ratio < 9.995 else f"{ratio:.1f}" if ratio < 99.95 else f"{ratio:,.0f}"
