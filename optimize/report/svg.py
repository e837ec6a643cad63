"""Figures for the report: one look, one unit (a CSS pixel), written as SVG that takes its colours from the page.

Knows matplotlib and pixels; knows nothing about rows. Colours are drawn as stand-ins and written as CSS variables, so
that the page chooses them for light, dark and print.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.markers import MarkerStyle
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Affine2D

from edgekit.edge_runtime.svg import BAD, CARD, GRID, INK, MUTED, SERIES

TEXT = 11.5
LOG_ABOVE = 12.0  # largest over smallest value; above this, a linear axis hides the small ones
_FONT = "DejaVu Sans"  # ships with matplotlib, so that the layout is the same on every machine

_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", CARD: "card", BAD: "bad"}
_VARIABLES |= {color: f"series{i}" for i, color in enumerate(SERIES)}


# For recipes, in the order of appearance. The circle is first, because most reports begin with float.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h", "*")


def marker_polygon(marker: str) -> str:
    """The outline of a marker as CSS draws it: `polygon(50.0% 0.0%, …)`."""
    style = MarkerStyle(marker)
    # Scaled up, because a circle gets only as many corners as its size needs.
    (outline,) = style.get_path().transformed(style.get_transform() + Affine2D().scale(40)).to_polygons()
    corners = np.asarray(outline)
    reach = np.abs(corners).max()
    inside = ", ".join(f"{50 + 50 * x / reach:.1f}% {50 - 50 * y / reach:.1f}%" for x, y in corners)
    return f"polygon({inside})"


def css(color: str) -> str:
    """The page's CSS variable for a colour of the plots."""
    return f"var(--{_VARIABLES[color]})"


@contextmanager
def look(salt: str) -> Iterator[None]:
    """Gives what is drawn inside the report's look; `salt` keeps the ids of two plots on one page apart."""
    with matplotlib.rc_context():
        matplotlib.rcParams["svg.hashsalt"] = salt
        matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text: searchable, and in the reader's font
        matplotlib.rcParams["text.parse_math"] = False  # a $ in a name is no formula
        matplotlib.rcParams["font.family"] = _FONT
        matplotlib.rcParams["font.size"] = TEXT
        matplotlib.rcParams["text.color"] = INK
        matplotlib.rcParams["axes.edgecolor"] = GRID
        matplotlib.rcParams["axes.labelcolor"] = MUTED
        matplotlib.rcParams["axes.axisbelow"] = True
        matplotlib.rcParams["xtick.color"] = MUTED
        matplotlib.rcParams["ytick.color"] = MUTED
        matplotlib.rcParams["grid.color"] = GRID
        yield


def figure(width: float, height: float) -> Figure:
    """An empty figure of this size in pixels."""
    return Figure(figsize=(width / 72, height / 72), dpi=72)


def page_axes(page: Figure, *, left: float, right: float, top: float, bottom: float) -> Axes:
    """Axes with margins in pixels, without frame and ticks."""
    width, height = page.get_size_inches() * 72
    axes = page.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    )
    axes.patch.set_visible(False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0, pad=7)
    return axes


def text_width(text: str, *, size: float = TEXT, bold: bool = False) -> float:
    """The width of a text in pixels, in a font that is wider than most."""
    font = FontProperties(family=_FONT, size=size, weight="bold" if bold else "normal")
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0])


def scale(axes: Axes, which: str, values: Sequence[float], text: Callable[[float], str], *, room: float = 0.08) -> bool:
    """Scales an axis, from zero or, where `values` lie far apart, logarithmically; returns whether logarithmically."""
    low, high = min(values), max(values)
    axis = axes.xaxis if which == "x" else axes.yaxis
    set_limits = axes.set_xlim if which == "x" else axes.set_ylim
    is_log = low > 0 and high / low > LOG_ABOVE
    if is_log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        span = (high / low) ** room
        set_limits(low / span, high * span)
        ticks = (1, 2, 5) if high / low < 30 else (1, 3) if high / low < 100 else (1,)
        axis.set_major_locator(LogLocator(subs=ticks, numticks=6))
    else:
        set_limits(0, high * (1 + room))
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value) if value > 0 else "0"))
    return is_log


def svg(page: Figure, label: str) -> str:
    """The figure as an `<svg>` element that scales with its container. The same figure always gives the same text."""
    buffer = io.StringIO()
    page.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    # HTML knows the name spaces, and the ids of groups would repeat in every plot.
    text = re.sub(r' xmlns(:xlink)?="[^"]*"| version="1.1"', "", text).replace("xlink:href", "href")
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'^<svg width="[^"]*" height="[^"]*"', f'<svg role="img" aria-label="{escape(label)}"', text)
    text = text.replace(f" font-family: '{_FONT}';", "")  # the page has its own font; matplotlib's was for the layout
    for stand_in in _VARIABLES:
        text = re.sub(rf"((?:fill|stroke): ){stand_in}", rf"\1{css(stand_in)}", text)
    return re.sub(r"\n\s*", "\n", text)
