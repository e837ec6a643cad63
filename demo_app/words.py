"""Numbers and foreign text as the page writes them. Labels and names come from a file, so none is trusted as markup."""

from __future__ import annotations

import re
from html import escape

from edgekit.edge_runtime.bundle.manifest import Metric
from edgekit.edge_runtime.tasks.metrics import NOT_FINITE

_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:^=&])")


def html(text: object) -> str:
    """Text for the inside of HTML, attributes included."""
    return escape(str(text), quote=True)


def markdown(text: object) -> str:
    """Text for Streamlit's markdown, where a label such as `![x](http://…)` would otherwise fetch something."""
    return _MARKUP.sub(r"\\\1", " ".join(str(text).split()))


def percent(share: float) -> str:
    """A share as a percentage that never says 100 % of what is less."""
    text = f"{share:.1%}"
    if text == "100.0%":
        return "100 %" if share >= 1 else ">99.9 %"
    return text.replace("%", " %")


def size(count: int) -> str:
    """Bytes in decimal units, as download pages count them."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= 0.9995 * scale:  # 999.6 kB would be written as 1e+03 kB
            return f"{count / scale:.3g} {unit}"
    return f"{count} bytes"


def milliseconds(value: float) -> str:
    """Microseconds below a tenth of a millisecond, three digits."""
    if value < 0.1:
        return f"{value * 1000:.3g} µs"
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"


def metric(found: Metric) -> str:
    """A recorded metric with its 95 % interval where one is known; accuracies as percentages."""
    if found.low == -NOT_FINITE and found.high == NOT_FINITE:
        return f"{found.value:.4g}"
    if found.name == "accuracy":
        return f"{percent(found.value)} ({found.low * 100:.1f} to {found.high * 100:.1f})"
    return f"{found.value:.4g} ({found.low:.4g} to {found.high:.4g})"
