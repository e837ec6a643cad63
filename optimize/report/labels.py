"""Puts labels beside points so that they hide neither each other nor a point. Knows pixels, nothing about rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes

from edgekit.edge_runtime.svg import Box, free_place

from .svg import text_width


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
    """Writes `texts[i]` beside `points[i]` (data coordinates), with a thin line to the point if it had to move away.

    Labels also keep off the horizontal and vertical lines between the corners `avoid`. A label without a free place is
    left out.
    """
    pixels = [tuple(map(float, axes.transData.transform(point))) for point in points]
    taken: list[Box] = [(x - 7, y - 7, x + 7, y + 7) for x, y in pixels]
    corners = [tuple(map(float, axes.transData.transform(corner))) for corner in avoid]
    for (ax, ay), (bx, by) in pairwise(corners):
        taken.append((min(ax, bx) - 2, min(ay, by) - 2, max(ax, bx) + 2, max(ay, by) + 2))
    frame = axes.get_window_extent()
    height = size * 1.25
    # From left to right: the outermost points have the fewest free places.
    for i in sorted(texts, key=lambda i: pixels[i]):
        x, y = pixels[i]
        width = text_width(texts[i], size=size)
        inside = (frame.x0, frame.y0, frame.x1 + 12, frame.y1 + 8)
        place = free_place(x, y, width, height, taken=taken, inside=inside)
        if place is None:
            continue
        at_x, at_y, align, moved, box = place
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
