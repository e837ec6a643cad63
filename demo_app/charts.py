"""The chart of both bundles' probabilities. Takes answers, gives an Altair chart; knows no widgets."""

from __future__ import annotations

from typing import Any

import altair

from edgekit.edge_runtime.format import percent_text
from edgekit.edge_runtime.tasks.classification import Answer

LEFT_COLOUR, RIGHT_COLOUR = "#5b6cd9", "#e08a3c"  # also in style.css; both hold on a light and on a dark page
FEWEST_LABELS, MOST_LABELS = 5, 10
WORTH_SHOWING = 0.005
_BAR, _GAP = 13, 11  # pixels
_NARROWEST = 0.0005  # a bar below this gets no figure: a column of "<0.1 %" says nothing
FIGURE_COLOUR = "#8a8780"  # legible on a light and on a dark page


def probabilities(left: Answer | None, right: Answer | None) -> altair.Chart | None:
    """Two horizontal bars per label, the most probable first; None without answers. Its key is `page_html.legend`."""
    rows: list[dict[str, Any]] = [
        {"label": label, "side": side, "probability": value, "text": percent_text(value)}
        for side, answer in (("left", left), ("right", right))
        if answer is not None
        for label, value in answer.ranking
    ]
    best: dict[str, float] = {}
    for row in rows:
        best[row["label"]] = max(best.get(row["label"], 0.0), row["probability"])
    ranked = sorted(best, key=lambda label: -best[label])
    # A confident answer leaves most labels near zero; a few of them are enough to show that.
    visible = sum(value >= WORTH_SHOWING for value in best.values())
    ranked = ranked[: min(MOST_LABELS, max(FEWEST_LABELS, visible))]
    if not ranked:
        return None
    shown = [row for row in rows if row["label"] in ranked]
    base = altair.Chart(altair.InlineData(values=shown)).encode(
        y=altair.Y("label:N", sort=ranked, title=None, axis=altair.Axis(labelLimit=150, labelPadding=8, ticks=False)),
        yOffset=altair.YOffset("side:N", sort=["left", "right"]),
        tooltip=[
            altair.Tooltip("side:N", title="Bundle"),
            altair.Tooltip("label:N", title="Label"),
            altair.Tooltip("probability:Q", title="Probability", format=".4%"),
        ],
    )
    bars = base.mark_bar(cornerRadiusEnd=3).encode(
        # The axis extends a little beyond 1, so that there is room for the figure after the longest bar.
        x=altair.X("probability:Q", title=None, axis=None, scale=altair.Scale(domain=[0, 1.12])),
        color=altair.Color(
            "side:N", scale=altair.Scale(domain=["left", "right"], range=[LEFT_COLOUR, RIGHT_COLOUR]), legend=None
        ),
    )
    figures = base.transform_filter(f"datum.probability >= {_NARROWEST}").mark_text(
        align="left", dx=5, fontSize=11, color=FIGURE_COLOUR
    )
    chart = bars + figures.encode(x="probability:Q", text="text:N")
    return chart.properties(height=len(ranked) * (2 * _BAR + _GAP)).configure_view(strokeWidth=0)
