"""What all our plots share: colours, SVG elements, and places for labels that hide neither each other nor a point.

Knows no library. `edgekit.optimize.report.svg` draws with matplotlib in these colours; `profiling.roofline_plot` writes
SVG on its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

# Series: five colours of Okabe & Ito, "Color Universal Design" (2008), then each time the one farthest from all before
# it in CIELAB, for full colour vision and both kinds of red-green blindness (Machado, Oliveira & Fernandes 2009).
INK, MUTED, GRID, CARD, BAD = "#101418", "#5b6472", "#e1e5ea", "#fefefe", "#b3261e"
SERIES = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9"),
    *("#b810a0", "#a0a058", "#401070", "#105840", "#581010", "#1010e8", "#1058e8"),
)

Box = tuple[float, float, float, float]  # left, bottom, right, top, in pixels

# Where to try, nearest first: (x, y) in label heights, and how the text is aligned there.
NEAR = ((0.9, 0.0, "left"), (-0.9, 0.0, "right"), (0.0, 1.3, "center"), (0.0, -1.3, "center"))
_FAR = tuple(
    (side * x, y, "left" if side > 0 else "right")
    for distance in (1.4, 2.4, 3.4, 4.6, 6.0, 8.0)
    for side in (1, -1)
    for x, y in ((distance, distance * 0.8), (distance, -distance * 0.8), (0.4, distance), (0.4, -distance))
)
_NARROW, _WIDE = set("iljtf.,:;'|!()[] "), set("mwMW%@—")


def free_place(
    x: float, y: float, width: float, height: float, *, taken: Sequence[Box], inside: Box
) -> tuple[float, float, str, bool, Box] | None:
    """A place for a label of this size beside the point (x, y), all in pixels; None where there is none.

    Returns:
        the label's anchor (x, and y of its middle line), its alignment there ("left", "center" or "right"), whether it
        had to move away from the point, and the box it covers.
    """
    for dx, dy, align in (*NEAR, *_FAR):
        at_x, at_y = x + dx * height, y + dy * height
        left = at_x - {"left": 0.0, "center": width / 2, "right": width}[align]
        box = (left, at_y - height / 2, left + width, at_y + height / 2)
        fits = box[0] > inside[0] and box[2] < inside[2] and box[1] > inside[1] and box[3] < inside[3]
        if fits and not any(overlap(box, other) for other in taken):
            return at_x, at_y, align, (dx, dy, align) not in NEAR, box
    return None


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes overlap."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def rough_width(text: str, size: float) -> float:
    """About how many pixels wide a text is in a sans-serif font; rather too many than too few."""
    return size * sum(0.4 if c in _NARROW else 0.98 if c in _WIDE else 0.72 if c.isupper() else 0.63 for c in text)


def element(tag: str, content: str = "", **attributes: object) -> str:
    """One SVG element; `_` in attribute names stands for `-`, and numbers have one decimal."""
    written = "".join(f' {name.rstrip("_").replace("_", "-")}="{_value(value)}"' for name, value in attributes.items())
    return f"<{tag}{written}>{content}</{tag}>" if content else f"<{tag}{written}/>"


def text_element(x: float, y: float, text: str, **attributes: object) -> str:
    """A line of text whose middle is at height y."""
    return element("text", escape(text), x=x, y=y, dy="0.35em", **attributes)


def _value(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else escape(str(value))
