"""The roofline as one SVG file that opens anywhere: operators under the machine's roofs, on two logarithmic axes.

A disc is an operator and its area the share of the run; a diamond is a whole run; the colour tells the bundle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ..format import count_text, operations_text, percent_text
from ..svg import CARD, GRID, INK, MUTED, SERIES, Box, element, free_place, overlap, rough_width, text_element
from .machine_peaks import Peak, Peaks
from .roofline import Point

WIDTH = 880
_LEFT, _RIGHT, _BOTTOM = 72, 24, 76
_SIZE, _SMALL = 13.0, 12.0
_LABELLED_SHARE = 0.05  # operators with a smaller share of their run get no label
_MOST_LABELS = 5  # for each bundle
_CAPTION = {"font_size": _SIZE, "fill": MUTED, "text_anchor": "middle"}
_FONT = "font-family: system-ui, 'DejaVu Sans', sans-serif"


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """A logarithmic axis from `low` to `high`, drawn from pixel `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (self.end - self.start) * math.log(value / self.low) / math.log(self.high / self.low)

    def ticks(self) -> list[float]:
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        steps = (1, 2, 5) if math.log10(self.high / self.low) < 2.2 else (1,)
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        return [tick for tick in ticks if self.low <= tick <= self.high]


def roofline_svg(points: Sequence[Point], wholes: Sequence[Point], peaks: Peaks) -> str:
    """The plot; "" where there is nothing to show."""
    shown = [*points, *wholes]
    if not shown:
        return ""
    bundles = list(dict.fromkeys(point.bundle for point in [*wholes, *points]))
    colors = {bundle: SERIES[i % len(SERIES)] for i, bundle in enumerate(bundles)}
    roofs = [roof for precision in ("fp32", "int8") if (roof := peaks.arithmetic(precision)) is not None]
    used = dict.fromkeys(point.memory for point in shown)
    slopes = [peak for peak in peaks.peaks if peak.unit == "GB/s" and (peak.name in used or peak.name == "memory")]
    legend, top = _legend(bundles, colors)
    height = round(top) + 500 + _BOTTOM
    x, y = _axes(shown, roofs, slopes, top + 10, height)
    parts = [_grid(x, y), legend]
    taken: list[Box] = [_around(x(point.intensity), y(point.gops), _radius(point) + 2) for point in shown]
    for slope in slopes:
        highest = max(roof.value for roof in roofs)
        parts.append(_slope(slope, highest, x, y, taken, is_roof=slope.name in used))
    for roof in roofs:
        parts.append(_roof(roof, max(slope.value for slope in slopes), x, y, taken))
    parts += [_disc(point, colors[point.bundle], x, y) for point in sorted(points, key=lambda p: -p.share)]
    parts += [_diamond(point, colors[point.bundle], x, y) for point in wholes]
    for point, text in _names(points, wholes):
        parts.append(_label(point, text, x, y, taken))
    title = text_element(_LEFT, 20.0, "Roofline", font_size=16.0, font_weight="bold", fill=INK)
    about = f"{peaks.cpu}, {count_text(peaks.num_threads, 'thread')}; peaks measured {peaks.measured_at[:10]}"
    title += text_element(_LEFT + 88, 21.0, about, font_size=_SMALL, fill=MUTED)
    key = "disc: an operator, with its share of the run; diamond: a whole run; dashed: a roof of no run here"
    title += text_element((_LEFT + WIDTH - _RIGHT) / 2, height - 14.0, key, **_CAPTION)
    card = element("rect", width=WIDTH, height=height, fill=CARD)
    label = "Roofline: operations per second against operations per byte of each operator, under the machine's peaks"
    return element(
        "svg",
        "\n".join([card, title, *parts]),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {height}",
        width=WIDTH,
        height=height,
        role="img",
        aria_label=label,
        style=_FONT,
    )


def _axes(
    shown: Sequence[Point], roofs: Sequence[Peak], slopes: Sequence[Peak], top: float, height: int
) -> tuple[_Axis, _Axis]:
    """Axes that hold every point, and the ridge, where a slope meets a roof."""
    ridges = [roof.value / slope.value for roof in roofs for slope in slopes]
    intensities = [point.intensity for point in shown]
    rates = [point.gops for point in shown]
    x = _Axis(
        low=min(intensities) / 5,  # room for the names of the slopes
        high=max(*intensities, min(ridges) * 2) * 2.5,
        start=_LEFT,
        end=WIDTH - _RIGHT,
    )
    highest = max(*rates, *(roof.value for roof in roofs))
    y = _Axis(low=min(rates) / 2.5, high=highest * 2.0, start=height - _BOTTOM, end=top)
    return x, y


def _grid(x: _Axis, y: _Axis) -> str:
    parts = []
    for tick in x.ticks():
        at = x(tick)
        parts.append(element("line", x1=at, x2=at, y1=y.start, y2=y.end, stroke=GRID))
        parts.append(text_element(at, y.start + 14, f"{tick:g}", font_size=_SMALL, fill=MUTED, text_anchor="middle"))
    for tick in y.ticks():
        at = y(tick)
        parts.append(element("line", x1=x.start, x2=x.end, y1=at, y2=at, stroke=GRID))
        parts.append(text_element(x.start - 8, at, f"{tick:g}", font_size=_SMALL, fill=MUTED, text_anchor="end"))
    middle = (x.start + x.end) / 2
    below = "operations per byte read or written (one multiply-accumulate is two operations)"
    parts.append(text_element(middle, y.start + _BOTTOM - 36.0, below, **_CAPTION))
    beside = (y.start + y.end) / 2
    parts.append(
        text_element(
            18.0,
            beside,
            "10⁹ operations per second (GOP/s)",
            **_CAPTION,
            transform=f"rotate(-90 18 {beside:.1f})",
        )
    )
    return "".join(parts)


def _legend(bundles: Sequence[str], colors: dict[str, str]) -> tuple[str, float]:
    """Rows of bundle names above the plot, and the height where the last row ends."""
    parts, at, row = [], float(_LEFT), 44.0
    for bundle in bundles:
        width = rough_width(bundle, _SMALL) + 28
        if at > _LEFT and at + width > WIDTH - _RIGHT:
            at, row = float(_LEFT), row + 19
        parts.append(element("circle", cx=at + 6, cy=row, r=5.0, fill=colors[bundle]))
        parts.append(text_element(at + 16, row, bundle, font_size=_SMALL, fill=INK))
        at += width
    return "".join(parts), row + 10


def _slope(peak: Peak, top: float, x: _Axis, y: _Axis, taken: list[Box], *, is_roof: bool) -> str:
    """Bandwidth × intensity, up to the highest arithmetic peak, with its name along it; dashed where it is no roof."""
    left = max(x.low, y.low / peak.value)
    right = min(x.high, top / peak.value)
    if right <= left:
        return ""
    x1, y1, x2, y2 = x(left), y(left * peak.value), x(right), y(right * peak.value)
    others = list(taken)
    steps = max(2, int(math.hypot(x2 - x1, y2 - y1) / 8))
    for i in range(steps + 1):  # so that labels of points keep off the line
        taken.append(_around(x1 + (x2 - x1) * i / steps, y1 + (y2 - y1) * i / steps, 3))
    dashes = {} if is_roof else {"stroke_dasharray": "6 4"}
    line = element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=INK, stroke_width=1.6, **dashes)
    text = f"{peak.name} {peak.value:.3g} GB/s"
    width, angle = rough_width(text, _SMALL), math.atan2(y2 - y1, x2 - x1)
    length = math.hypot(x2 - x1, y2 - y1)
    along_x, along_y = math.cos(angle), math.sin(angle)

    def boxes_at(along: float) -> list[Box]:  # a row of small ones, which together are as slanted as the text
        offsets = (along - 0.45 * width + 0.9 * width * i / 8 for i in range(9))
        return [_around(x1 + along_x * off + along_y * 10, y1 + along_y * off - along_x * 10, 6) for off in offsets]

    def covered(along: float) -> int:
        return sum(overlap(box, other) for box in boxes_at(along) for other in others)

    # Where the text covers least, from the lower end upwards.
    along = min((width / 2 + 4 + step * 8 for step in range(max(1, int((length - width) / 8)))), key=covered)
    boxes, at_x, at_y = boxes_at(along), x1 + along_x * along + along_y * 10, y1 + along_y * along - along_x * 10
    taken += boxes
    turned = f"rotate({math.degrees(angle):.1f} {at_x:.1f} {at_y:.1f})"
    return line + text_element(at_x, at_y, text, font_size=_SMALL, fill=MUTED, text_anchor="middle", transform=turned)


def _roof(peak: Peak, fastest: float, x: _Axis, y: _Axis, taken: list[Box]) -> str:
    """An arithmetic peak: a level line from where the fastest memory reaches it, its name above the right end."""
    x1, x2, at = x(max(x.low, peak.value / fastest)), x.end, y(peak.value)
    taken.append((x1, at - 3, x2, at + 3))
    text = f"{peak.name} {operations_text(peak.value)}"
    taken.append((x2 - rough_width(text, _SMALL), at - 18, x2, at))
    line = element("line", x1=x1, y1=at, x2=x2, y2=at, stroke=INK, stroke_width=1.6)
    return line + text_element(x2, at - 9, text, font_size=_SMALL, fill=MUTED, text_anchor="end")


def _names(points: Sequence[Point], wholes: Sequence[Point]) -> list[tuple[Point, str]]:
    """The points with a label: each whole run, and the operators of each bundle that take the longest."""
    labels = [(point, f"whole run {percent_text(point.of_roof, 0)} of its roof") for point in wholes]
    for bundle in dict.fromkeys(point.bundle for point in points):
        mine = sorted((p for p in points if p.bundle == bundle), key=lambda p: -p.share)
        shown = [p for p in mine[:_MOST_LABELS] if p.share >= _LABELLED_SHARE]
        labels += [(p, f"{_short(p.kind)} {percent_text(p.share, 0)}") for p in shown]
    return labels


def _short(kind: str) -> str:
    return kind if len(kind) <= 22 else kind.split(" (")[0][:22]


def _label(point: Point, text: str, x: _Axis, y: _Axis, taken: list[Box]) -> str:
    at_x, at_y = x(point.intensity), y(point.gops)
    size = _SMALL
    inside = (x.start + 2, y.end - 10, x.end, y.start - 2)
    place = free_place(at_x, at_y, rough_width(text, size), size * 1.3, taken=taken, inside=inside)
    if place is None:
        return ""
    to_x, to_y, align, moved, box = place
    taken.append(box)
    anchor = {"left": "start", "center": "middle", "right": "end"}[align]
    line = ""
    if moved and not overlap(box, _around(at_x, at_y, 4)):
        gap = {"left": -3.0, "center": 0.0, "right": 3.0}[align]
        line = element("line", x1=at_x, y1=at_y, x2=to_x + gap, y2=to_y, stroke=MUTED, stroke_width=0.7)
    return line + text_element(to_x, to_y, text, font_size=size, fill=INK, text_anchor=anchor)


def _disc(point: Point, color: str, x: _Axis, y: _Axis) -> str:
    reached = f"{operations_text(point.gops)}, {percent_text(point.of_roof, 0)} of its roof"
    about = element("title", escape(f"{point.name} {point.kind}: {reached}"))
    place = {"cx": x(point.intensity), "cy": y(point.gops), "r": _radius(point)}
    return element("circle", about, **place, fill=color, fill_opacity=0.75, stroke=CARD)


def _diamond(point: Point, color: str, x: _Axis, y: _Axis) -> str:
    at_x, at_y, r = x(point.intensity), y(point.gops), _radius(point)
    corners = f"{at_x:.1f},{at_y - r:.1f} {at_x + r:.1f},{at_y:.1f} {at_x:.1f},{at_y + r:.1f} {at_x - r:.1f},{at_y:.1f}"
    return element("polygon", points=corners, fill=color, stroke=INK, stroke_width=1.4)


def _radius(point: Point) -> float:
    """A disc's area grows with the operator's share; all diamonds have one size."""
    return 8.0 if point.kind == "whole run" else 3.0 + 9.0 * math.sqrt(point.share)


def _around(x: float, y: float, r: float) -> Box:
    return x - r, y - r, x + r, y + r
