"""Chapter 14's baseline line by line: each figure that the book prints for the diameter alone, beside ours."""

from __future__ import annotations

import numpy as np

from edgekit.train.nodules.diameter_baseline import Baseline
from edgekit.train.reproduction.lines import Line

# As printed: the area, and two points of the curve, by their threshold in mm.
BOOK_AREA = "0.901"
BOOK_POINTS = {10.55: ("0.0098", "0.5577"), 5.42: ("0.4314", "0.9615")}
_RUN = "malignant, by diameter alone"


def lines(baseline: Baseline) -> list[Line]:
    """Every figure that the book prints of the baseline, beside ours."""
    made = [
        Line(
            run=_RUN,
            what="benign and malignant nodules",
            book="102 and 52",
            ours=f"{baseline.benign} and {baseline.malignant}",
        ),
        Line(run=_RUN, what="area under the curve", book=BOOK_AREA, ours=f"{baseline.curve.area:.3f}"),
    ]
    for threshold, rates in BOOK_POINTS.items():
        nearest = int(np.abs(baseline.curve.thresholds - threshold).argmin())
        ours = (baseline.curve.false_positive_rate[nearest], baseline.curve.true_positive_rate[nearest])
        for kind, book, value in zip(("false", "true"), rates, ours, strict=True):
            what = f"{kind} positive rate at {threshold} mm"
            made.append(Line(run=_RUN, what=what, book=book, ours=f"{value:.4f}"))
    return made
