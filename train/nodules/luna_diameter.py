"""Chapter 14's baseline for malignancy: the larger a nodule, the worse. No net, only the diameter, as a ROC curve.

Reads two lists of LUNA16 and nothing else, so every figure follows from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.edge_runtime.detection_metrics import Roc, auc, roc
from edgekit.train.data import data_root
from edgekit.train.data.book import book_file
from edgekit.train.data.luna import MALIGNANCY, read_annotations, read_series, split_series
from edgekit.train.reproduction.lines import Line

# As printed: the area, and two points of the curve, by their threshold in mm.
BOOK_AREA = "0.901"
BOOK_POINTS = {10.55: ("0.0098", "0.5577"), 5.42: ("0.4314", "0.9615")}
_RUN = "malignant, by diameter alone"


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The curve through the book's 100 thresholds, from the largest diameter to the smallest, and the exact area."""

    malignant: int
    benign: int
    curve: Roc
    exact_area: float


def series_list() -> Path:
    """seriesuids.csv, LUNA16's 888 series, by which the book splits."""
    return data_root() / "luna" / "csv" / "seriesuids.csv"


def baseline() -> Baseline:
    """Measured on the 154 nodules of the validation series.

    Raises:
        MissingData: annotations_with_malignancy.csv or seriesuids.csv is not there.
        InputError: one of them is damaged.
    """
    _, validation = split_series(read_series(series_list()))
    held = set(validation)
    nodules = [one for one in read_annotations(book_file(f"part2/luna/{MALIGNANCY}")) if one.series_uid in held]
    diameters = np.array([one.diameter_mm for one in nodules])
    malignant = np.array([bool(one.malignant) for one in nodules])
    thresholds = np.linspace(diameters.max(), diameters.min(), 100)
    return Baseline(
        malignant=int(malignant.sum()),
        benign=int((~malignant).sum()),
        curve=roc(diameters, malignant, thresholds=thresholds),
        exact_area=auc(diameters, malignant),
    )


def lines(found: Baseline) -> list[Line]:
    """Every figure that the book prints of the baseline, beside ours."""
    made = [
        Line(
            run=_RUN,
            what="benign and malignant nodules",
            book="102 and 52",
            ours=f"{found.benign} and {found.malignant}",
        ),
        Line(run=_RUN, what="area under the curve", book=BOOK_AREA, ours=f"{found.curve.area:.3f}"),
    ]
    for threshold, rates in BOOK_POINTS.items():
        nearest = int(np.abs(found.curve.thresholds - threshold).argmin())
        ours = (found.curve.false_positive_rate[nearest], found.curve.true_positive_rate[nearest])
        for kind, book, value in zip(("false", "true"), rates, ours, strict=True):
            what = f"{kind} positive rate at {threshold} mm"
            made.append(Line(run=_RUN, what=what, book=book, ours=f"{value:.4f}"))
    return made
