"""Puts labels beside points so that they cover neither each other nor a point. Knows pixels, nothing about rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes

from .report_svg import text_width

Box = tuple[float, float, float, float]  # left, bottom, right, top, in pixels

# Where to try, nearest first: (x, y) in label heights, and how the text is aligned there.
_NEAR = ((0.9, 0.0, "left"), (-0.9, 0.0, "right"), (0.0, 1.3, "center"), (0.0, -1.3, "center"))
_FAR = tuple(
    (side * x, y, "left" if side > 0 else "right")
    for distance in (1.4, 2.4, 3.4, 4.6, 6.0, 8.0)
    for side in (1, -1)
    for x, y in ((distance, distance * 0.8), (distance, -distance * 0.8), (0.4, distance), (0.4, -distance))
)


def place_labels(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    texts: dict[int, str],
    *,
    avoid: Sequence[tuple[float, float]],
    color: str,
    line: str,
    size: float,
) -> None:
    """Writes `texts[i]` beside `points[i]` (data coordinates), with a thin line to it when it had to move away.

    Nor do they cover the horizontal and vertical lines between the corners `avoid`. A label for which no free place is
    found is left out.
    """
    pixels = [tuple(map(float, axes.transData.transform(point))) for point in points]
    taken: list[Box] = [(x - 7, y - 7, x + 7, y + 7) for x, y in pixels]
    corners = [tuple(map(float, axes.transData.transform(corner))) for corner in avoid]
    for (ax, ay), (bx, by) in pairwise(corners):
        taken.append((min(ax, bx) - 2, min(ay, by) - 2, max(ax, bx) + 2, max(ay, by) + 2))
    frame = axes.get_window_extent()
    height = size * 1.25
    # From the edges inwards: what lies outermost has the fewest places to go.
    for i in sorted(texts, key=lambda i: pixels[i]):
        x, y = pixels[i]
        width = text_width(texts[i], size=size)
        for dx, dy, align in (*_NEAR, *_FAR):
            at_x, at_y = x + dx * height, y + dy * height
            left = at_x - {"left": 0.0, "center": width / 2, "right": width}[align]
            box = (left, at_y - height / 2, left + width, at_y + height / 2)
            inside = box[0] > frame.x0 and box[2] < frame.x1 + 12 and box[1] > frame.y0 and box[3] < frame.y1 + 8
            if inside and not any(_overlap(box, other) for other in taken):
                moved = (dx, dy, align) not in _NEAR
                axes.annotate(
                    texts[i],
                    xy=(x, y),
                    xytext=(at_x, at_y),
                    xycoords="figure pixels",
                    textcoords="figure pixels",
                    ha=align,
                    va="center",
                    fontsize=size,
                    color=color,
                    arrowprops={"arrowstyle": "-", "color": line, "linewidth": 0.7, "shrinkB": 6} if moved else None,
                    zorder=5,
                )
                taken.append(box)
                break


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
