"""The plots of the report, as SVG to be put into HTML. Plots know rows; they know nothing about the page around them.

One natural width, one unit = one CSS pixel. Colours are written as CSS variables, so the page decides what they are in
light, dark and print. Colour says the exporter; filled says quantized, hollow says float.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from edge_runtime.table import Row, bytes_text, ms_text

from .report_labels import place_labels
from .verdict import quantized

WIDTH, ROW_HEIGHT, TEXT, CHARACTER = 540, 26, 11.5, 6.6  # pixels; a character of the widest font that is likely
LOG_ABOVE = 12.0  # largest over smallest; above this a linear axis hides the small ones

# Stand-ins that matplotlib can draw; `_svg` writes the CSS variable instead. Series: Okabe & Ito, colour-blind safe.
INK, MUTED, GRID, CARD, BAD = "#101418", "#5b6472", "#e1e5ea", "#fefefe", "#b3261e"
SERIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")
VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", CARD: "card", BAD: "bad"}
VARIABLES |= {color: f"series{i}" for i, color in enumerate(SERIES)}

_STYLE = {
    "svg.fonttype": "none",  # text stays text: searchable, and in the reader's own font
    "text.parse_math": False,  # a name with a $ in it is a name
    "font.family": "DejaVu Sans",  # ships with matplotlib, so that the layout is the same on every machine
    "font.size": TEXT,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "xtick.color": MUTED,
    "ytick.color": INK,
    "figure.dpi": 72,
}


def colors(rows: Sequence[Row]) -> dict[str, str]:
    """A colour for each exporter, in the order of appearance; grey is left to what is no bundle."""
    exporters = dict.fromkeys(row.exporter for row in rows if row.status not in ("float", "failed"))
    return {name: SERIES[i % len(SERIES)] for i, name in enumerate(exporters)}


def tradeoff(rows: Sequence[Row], names: dict[str, str], best: str) -> str:
    """Latency against size, accuracy beside each point, the Pareto front of the verified bundles as steps."""
    shown = [row for row in rows if row.p50_ms and row.model_bytes]
    if not shown:
        return ""
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": "tradeoff"}):
        figure = Figure(figsize=(WIDTH / 72, 400 / 72))
        axes = figure.add_axes((0.12, 0.13, 0.85, 0.83))
        points = [(row.p50_ms or 0.0, float(row.model_bytes or 0)) for row in shown]
        _scale(axes, "x", [x for x, _ in points], ms_text, pad=1.5)
        _scale(axes, "y", [y for _, y in points], bytes_text, pad=1.5)
        axes.set_xlabel("latency p50  (left is faster)")
        axes.set_ylabel("file size  (down is smaller)")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        front = pareto(shown)
        steps = [(row.p50_ms or 0.0, float(row.model_bytes or 0)) for row in front]
        axes.step(*zip(*steps, strict=True), where="post", color=INK, linewidth=1.2, zorder=2) if steps else None
        color = colors(rows)
        for row, (x, y) in zip(shown, points, strict=True):
            edge = _color(row, color)
            face = edge if quantized(row) else CARD
            size = 110 if row.name == best else 60
            axes.scatter([x], [y], s=size, facecolor=face, edgecolor=edge, linewidth=2, zorder=4)
        # With many points only those that decide something are named; the table has the others.
        crowded = len(shown) > 12
        wanted = [i for i, row in enumerate(shown) if not crowded or row in front or row.status == "float"]
        texts = {i: _point_label(shown[i], names) for i in wanted}
        place_labels(axes, points, texts, color=INK, line=MUTED, character=CHARACTER * 0.93, size=TEXT * 0.92)
        return _svg(figure, "Latency against file size of every measured candidate, with its accuracy")


def latency(rows: Sequence[Row], names: dict[str, str], best: str) -> str:
    """For each row the median as a dot, p10 to p90 as a thick and p1 to p99 as a thin line."""
    shown = [row for row in rows if row.p50_ms]
    if not shown:
        return ""
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": "latency"}):
        ends = [_range(row) for row in shown]
        figure, axes = _row_axes(shown, names, best, values=[ms_text(row.p50_ms) for row in shown], header="p50")
        _scale(axes, "x", [value for end in ends for value in (end[0], end[-1])], ms_text)
        color = colors(rows)
        for y, (row, (low, ten, ninety, high)) in enumerate(zip(shown, ends, strict=True)):
            axes.plot([low, high], [y, y], color=_color(row, color), linewidth=1.5, solid_capstyle="butt")
            axes.plot([ten, ninety], [y, y], color=_color(row, color), linewidth=7, solid_capstyle="butt", alpha=0.55)
            _dot(axes, row.p50_ms or 0.0, y, row, color)
        axes.set_xlabel("one inference, batch 1:  dot p50,  thick p10–p90,  thin p1–p99")
        return _svg(figure, "Latency of every measured candidate")


def accuracy(rows: Sequence[Row], names: dict[str, str], best: str, *, gate: float) -> str:
    """Each artifact's own accuracy with its 95 % interval, the float model's value, and `gate` (relative) below it."""
    shown = [row for row in rows if row.metric]
    metrics = [row.metric for row in shown if row.metric]
    if not metrics:
        return ""
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": "accuracy"}):
        values = [f"{metric.value:.2%}" for metric in metrics]
        figure, axes = _row_axes(shown, names, best, values=values, header=metrics[0].name, top=26)
        float_value = metrics[0].float_value
        limit = float_value * (1 - gate)
        low = min(limit, *(min(metric.low, metric.value) for metric in metrics))
        high = max(float_value, *(max(metric.high, metric.value) for metric in metrics))
        margin = max(high - low, 1e-3) * 0.06
        axes.set_xlim(low - margin, high + margin)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}" if value < 0 else f"{value:.1%}"))
        axes.axvspan(low - margin, limit, color=BAD, alpha=0.09, linewidth=0)
        axes.axvline(limit, color=BAD, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.axvline(float_value, color=INK, linewidth=1.2)
        top = axes.get_xaxis_transform()
        above = {"transform": top, "va": "bottom", "fontsize": TEXT * 0.92}
        axes.text(float_value, 1.01, "float ", ha="left", color=INK, **above)
        axes.text(limit, 1.01, f"{gate:.0%} lost: the gate ", ha="right", color=BAD, **above)
        color = colors(rows)
        for y, (row, metric) in enumerate(zip(shown, metrics, strict=True)):
            axes.plot([metric.low, metric.high], [y, y], color=_color(row, color), linewidth=2.2)
            _dot(axes, metric.value, y, row, color)
        axes.set_xlabel(f"{metrics[0].name} on {metrics[0].samples:,} validation samples, line: 95 % interval")
        return _svg(figure, "Accuracy of every artifact with its interval")


def bars(
    rows: Sequence[Row], names: dict[str, str], best: str, *, values: Sequence[float | None], text: Callable, title: str
) -> str:
    """One quantity as bars from zero, on a log axis (dots) where the smallest would not be seen."""
    shown = [(row, value) for row, value in zip(rows, values, strict=True) if value]
    if not shown:
        return ""
    numbers = [value for _, value in shown]
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": title}):
        figure, axes = _row_axes([row for row, _ in shown], names, best, values=[text(value) for value in numbers])
        is_log = _scale(axes, "x", numbers, text)
        color = colors(rows)
        for y, (row, value) in enumerate(shown):
            if is_log:  # a bar on a log axis begins nowhere in particular
                _dot(axes, value, y, row, color)
                continue
            edge = _color(row, color)
            face = edge if quantized(row) else CARD
            axes.barh(y, value, height=0.46, facecolor=face, edgecolor=edge, linewidth=1.5)
        axes.set_xlabel(title)
        return _svg(figure, title)


def pareto(rows: Sequence[Row]) -> list[Row]:
    """Verified rows that no other verified row beats in both size and latency, fastest first."""
    front: list[Row] = []
    verified = [row for row in rows if row.status == "verified" and row.p50_ms and row.model_bytes]
    for row in sorted(verified, key=lambda row: (row.p50_ms, row.model_bytes)):
        if not front or (row.model_bytes or 0) < (front[-1].model_bytes or 0):
            front.append(row)
    return front


def _point_label(row: Row, names: dict[str, str]) -> str:
    return names[row.name] + (f"  {row.metric.value:.1%}" if row.metric else "")


def _range(row: Row) -> tuple[float, float, float, float]:
    """p1, p10, p90, p99, as far as the row has them."""
    if len(row.percentiles_ms) == 101:
        return tuple(row.percentiles_ms[q] for q in (1, 10, 90, 99))  # type: ignore[return-value]
    middle = row.p50_ms or 0.0
    return middle, middle, row.p90_ms or middle, row.p99_ms or row.p90_ms or middle


def _color(row: Row, color: dict[str, str]) -> str:
    return MUTED if row.status == "float" else color.get(row.exporter, MUTED)


def _dot(axes: Axes, x: float, y: float, row: Row, color: dict[str, str]) -> None:
    edge = _color(row, color)
    axes.scatter([x], [y], s=48, facecolor=edge if quantized(row) else CARD, edgecolor=edge, linewidth=2, zorder=4)


def _row_axes(
    rows: Sequence[Row], names: dict[str, str], best: str, *, values: Sequence[str], header: str = "", top: int = 22
) -> tuple[Figure, Axes]:
    """One horizontal line a row, its name on the left and its value, aligned, on the right."""
    left = 14 + CHARACTER * max(len(names[row.name]) for row in rows)
    right = 16 + CHARACTER * max(len(value) for value in [*values, header])
    bottom, height = 50, ROW_HEIGHT * len(rows)
    total = height + bottom + top
    figure = Figure(figsize=(WIDTH / 72, total / 72))
    axes = figure.add_axes((left / WIDTH, bottom / total, (WIDTH - left - right) / WIDTH, height / total))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [names[row.name] for row in rows])
    axes.tick_params(length=0, pad=6)
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(MUTED if row.status == "float" else INK)
        label.set_fontweight("bold" if row.name == best else "normal")
    for y, (value, row) in enumerate(zip(values, rows, strict=True)):
        weight = "bold" if row.name == best else "normal"
        axes.text(WIDTH - 4, y, value, ha="right", va="center", weight=weight, transform=_page_x(axes))
    axes.text(WIDTH - 4, -0.75, header, ha="right", va="bottom", color=MUTED, transform=_page_x(axes))
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _page_x(axes: Axes):  # type: ignore[no-untyped-def]
    """x in pixels of the page, y in rows."""
    from matplotlib.transforms import IdentityTransform, blended_transform_factory

    return blended_transform_factory(IdentityTransform(), axes.transData)


def _scale(axes: Axes, which: str, values: Sequence[float], text: Callable, *, pad: float = 1.15) -> bool:
    """Linear from zero, or logarithmic when `values` lie far apart; returns whether it is logarithmic."""
    low, high = min(values), max(values)
    axis = axes.xaxis if which == "x" else axes.yaxis
    limits = axes.set_xlim if which == "x" else axes.set_ylim
    is_log = low > 0 and high / low > LOG_ABOVE
    if is_log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        limits(low / pad, high * pad)
        axis.set_major_locator(LogLocator(subs=(1,) if high / low > 1000 else (1, 3), numticks=7))
    else:
        limits(0, high * 1.08 if pad < 1.2 else high * 1.2)
        axis.set_major_locator(MaxNLocator(5))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value) if value else "0"))
    return is_log


def _svg(figure: Figure, label: str) -> str:
    """The figure as an `<svg>` element that scales with its place and takes its colours from the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    # Inside HTML the name spaces are known, and ids of groups would occur once in every plot.
    text = re.sub(r' xmlns(:xlink)?="[^"]*"| version="1.1"', "", text).replace("xlink:href", "href")
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'^<svg width="[^"]*" height="[^"]*"', f'<svg role="img" aria-label="{label}"', text)
    text = re.sub(r"font: ((?:\w+ )*?)([\d.]+)px 'DejaVu Sans'[^;\"]*", _font, text)
    for stand_in, name in VARIABLES.items():
        text = text.replace(stand_in, f"var(--{name})")
    return re.sub(r"\n\s*\n", "\n", text)


def _font(found: re.Match) -> str:
    weight = "; font-weight: 650" if "bold" in found[1] or "700" in found[1] else ""
    return f"font-size: {found[2]}px{weight}"
