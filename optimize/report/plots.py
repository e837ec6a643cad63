"""The plots of the report, each as SVG, or "" where no row has what it shows. They know nothing about the page.

The colour tells the exporter, the shape the recipe. Filled is quantized, hollow is float, bold is the best bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import IdentityTransform, blended_transform_factory

from edgekit.edge_runtime.benchmark.rows import Row
from edgekit.edge_runtime.format import bytes_text, count_text, limit_text, metric_name, ms_text, value_text
from edgekit.edge_runtime.tasks.metrics import NOT_FINITE
from edgekit.edge_runtime.tasks.registry import metric_named

from .labels import place_labels
from .svg import BAD, CARD, INK, MARKERS, MUTED, SERIES, TEXT, figure, look, page_axes, scale, svg, text_width
from .verdict import is_quantized, pareto

WIDTH, ROW_HEIGHT = 540, 26  # pixels
CROWDED = 12  # with more points, only those on the front are named; the table has the others
SMALL = TEXT * 0.94


@dataclass(frozen=True, kw_only=True)
class Legend:
    """The names, colours and shapes of rows, the same in every plot."""

    names: dict[str, str]
    """What plots call a row, by its name."""
    colors: dict[str, str]
    """By exporter."""
    markers: dict[str, str]
    """By recipe."""
    best: str
    """Name of the best row; "" where there is none."""

    @classmethod
    def of(cls, rows: Sequence[Row], names: dict[str, str], best: str) -> Legend:
        """A colour for each exporter and a marker for each recipe, in the order of appearance.

        What is not a bundle is grey. Colours and markers repeat after twelve.
        """
        exporters = dict.fromkeys(row.exporter for row in rows if row.status != "float" and not row.error)
        recipes = dict.fromkeys(row.recipe for row in rows if not row.error)
        return cls(
            names=names,
            colors={exporter: SERIES[i % len(SERIES)] for i, exporter in enumerate(exporters)},
            markers={recipe: MARKERS[i % len(MARKERS)] for i, recipe in enumerate(recipes)},
            best=best,
        )

    def color(self, row: Row) -> str:
        return MUTED if row.status == "float" else self.colors.get(row.exporter, MUTED)

    def marker(self, row: Row) -> str:
        return self.markers.get(row.recipe, MARKERS[0])

    def fill(self, row: Row) -> str:
        return self.color(row) if is_quantized(row) else CARD


def tradeoff(rows: Sequence[Row], legend: Legend, *, width: int, height: int) -> str:
    """Latency against size, with the accuracy beside each point and the verified bundles' Pareto front as steps."""
    points = [(row, row.p50_ms, float(row.model_bytes)) for row in rows if row.p50_ms and row.model_bytes]
    if not points:
        return ""
    with look(f"tradeoff-{width}"):
        page = figure(width, height)
        axes = page_axes(page, left=66, right=16, top=12, bottom=48)
        scale(axes, "x", [x for _, x, _ in points], ms_text, room=0.14)
        scale(axes, "y", [y for _, _, y in points], bytes_text, room=0.14)
        axes.set_xlabel("latency p50 (left is faster)")
        axes.set_ylabel("file size (down is smaller)")
        axes.grid()
        front = pareto(rows)
        line = _steps([(x, y) for row, x, y in sorted(points, key=lambda point: point[1]) if row in front])
        axes.plot([x for x, _ in line], [y for _, y in line], color=INK, linewidth=1.3, zorder=2)
        for row, x, y in points:
            _dot(axes, x, y, row, legend, size=130 if row.name == legend.best else 64)
        named = {i: row for i, (row, _, _) in enumerate(points) if len(points) <= CROWDED or row in front}
        texts = {i: _with_accuracy(row, legend) for i, row in named.items()}
        place_labels(axes, [(x, y) for _, x, y in points], texts, avoid=line, color=INK, line=MUTED, size=SMALL)
        return svg(page, "File size against latency of every measured candidate, with its accuracy")


def latency(rows: Sequence[Row], legend: Legend) -> str:
    """Each row's median as a dot, p10 to p90 as a thick line, p1 to p99 as a thin one."""
    shown = [(row, row.p50_ms, _range(row)) for row in rows if row.p50_ms]
    if not shown:
        return ""
    with look("latency"):
        values = [ms_text(p50) for _, p50, _ in shown]
        page, axes = _lines([row for row, _, _ in shown], legend, values=values, header="p50", top=22)
        scale(axes, "x", [value for _, _, ends in shown for value in ends], ms_text)
        for y, (row, p50, (low, ten, ninety, high)) in enumerate(shown):
            axes.plot([low, high], [y, y], linewidth=1.5, color=legend.color(row), solid_capstyle="butt")
            axes.plot([ten, ninety], [y, y], linewidth=8, alpha=0.45, color=legend.color(row), solid_capstyle="butt")
            _dot(axes, p50, y, row, legend)
        axes.set_xlabel("dot: p50,  thick: p10 to p90,  thin: p1 to p99")
        return svg(page, "Latency of every measured candidate")


def accuracy(rows: Sequence[Row], legend: Legend, *, gate: float) -> str:
    """Each artifact's accuracy with its 95 % interval, the float model's, and the limit `gate` (relative) below it."""
    shown = [(row, row.metric) for row in rows if row.metric and row.metric.high < NOT_FINITE]
    if not shown:
        return ""
    with look("accuracy"):
        first = shown[0][1]
        known = metric_named(first.name)
        is_error = known is not None and not known.higher_is_better
        float_value, limit = first.float_value, first.float_value * (1 + gate if is_error else 1 - gate)
        values = [value_text(metric.name, metric.value) for _, metric in shown]
        page, axes = _lines([row for row, _ in shown], legend, values=values, top=22)
        low = min(float_value, limit, *(min(metric.low, metric.value) for _, metric in shown))
        high = max(float_value, limit, *(max(metric.high, metric.value) for _, metric in shown))
        margin = max(high - low, 1e-3) * 0.06
        axes.set_xlim(low - margin, high + margin)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: value_text(first.name, value, digits=1)))
        axes.axvspan(limit, high + margin if is_error else low - margin, color=BAD, alpha=0.09, linewidth=0)
        axes.axvline(limit, color=BAD, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.axvline(float_value, color=INK, linewidth=1.2)
        # Side by side even where the two lines are close: one text ends at its line, the other begins at its line.
        sides = ("right", "left") if is_error else ("left", "right")
        axes.text(float_value, -0.65, "float", ha=sides[0], va="bottom", fontsize=SMALL)
        axes.text(limit, -0.65, f"{limit_text(gate)} lost", ha=sides[1], va="bottom", fontsize=SMALL, color=BAD)
        for y, (row, metric) in enumerate(shown):
            axes.plot([metric.low, metric.high], [y, y], color=legend.color(row), linewidth=2.2)
            _dot(axes, metric.value, y, row, legend)
        axes.set_xlabel(
            f"{metric_name(first.name)} on {count_text(first.samples, 'validation sample')}, with 95 % interval"
        )
        return svg(page, "Accuracy of every artifact, with its interval")


def bars(
    rows: Sequence[Row], legend: Legend, *, values: Sequence[float | None], text: Callable[[float], str], title: str
) -> str:
    """One quantity as bars from zero, or as dots on a log axis where the smallest bar would be too small to see."""
    shown = [(row, value) for row, value in zip(rows, values, strict=True) if value]
    if not shown:
        return ""
    with look(title):
        page, axes = _lines([row for row, _ in shown], legend, values=[text(value) for _, value in shown])
        is_log = scale(axes, "x", [value for _, value in shown], text)
        for y, (row, value) in enumerate(shown):
            if is_log:  # a bar has no start on a log axis
                _dot(axes, value, y, row, legend)
            else:
                edge, face = legend.color(row), legend.fill(row)
                axes.barh(y, value, height=0.44, facecolor=face, edgecolor=edge, linewidth=1.5)
        axes.set_xlabel(title)
        return svg(page, title)


def _steps(front: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The corners of the staircase: up to the next point, no bundle is smaller than the last one."""
    corners = list(front[:1])
    for x, y in front[1:]:
        corners += [(x, corners[-1][1]), (x, y)]
    return corners


def _with_accuracy(row: Row, legend: Legend) -> str:
    return legend.names[row.name] + (f" · {value_text(row.metric.name, row.metric.value)}" if row.metric else "")


def _range(row: Row) -> tuple[float, float, float, float]:
    """p1, p10, p90 and p99, or the nearest that the row has."""
    if len(row.percentiles_ms) == 101:
        low, ten, ninety, high = (row.percentiles_ms[q] for q in (1, 10, 90, 99))
        return low, ten, ninety, high
    middle = row.p50_ms or 0.0
    return middle, middle, row.p90_ms or middle, row.p99_ms or row.p90_ms or middle


def _dot(axes: Axes, x: float, y: float, row: Row, legend: Legend, *, size: float = 48) -> None:
    face, edge, marker = legend.fill(row), legend.color(row), legend.marker(row)
    axes.scatter([x], [y], s=size, marker=marker, facecolor=face, edgecolor=edge, linewidth=2, zorder=4)


def _lines(
    rows: Sequence[Row], legend: Legend, *, values: Sequence[str], header: str = "", top: int = 6
) -> tuple[Figure, Axes]:
    """A horizontal line for each row, with its name on the left and its value on the right."""
    left = 12 + max(text_width(legend.names[row.name], bold=row.name == legend.best) for row in rows)
    right = 20 + max(text_width(value, bold=True) for value in [*values, header])
    page = figure(WIDTH, ROW_HEIGHT * len(rows) + top + 48)
    axes = page_axes(page, left=left, right=right, top=top, bottom=48)
    axes.grid(axis="x")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [legend.names[row.name] for row in rows])
    at_the_right = blended_transform_factory(IdentityTransform(), axes.transData)
    for y, (row, value, label) in enumerate(zip(rows, values, axes.get_yticklabels(), strict=True)):
        color, weight = MUTED if row.status == "float" else INK, "bold" if row.name == legend.best else "normal"
        label.set(color=color, fontweight=weight)
        axes.text(WIDTH - 4, y, value, ha="right", va="center", color=color, weight=weight, transform=at_the_right)
    axes.text(WIDTH - 4, -0.7, header, ha="right", va="bottom", color=MUTED, fontsize=SMALL, transform=at_the_right)
    return page, axes
