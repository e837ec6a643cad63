"""Chapter 14's baseline for malignancy: the larger a nodule, the worse. No net, only the diameter, as a ROC curve.

Everything follows from two lists of LUNA16.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.edge_runtime.tasks.detection_metrics import Roc, auc, roc
from edgekit.train.data import data_root
from edgekit.train.data.book import book_file
from edgekit.train.data.luna import MALIGNANCY, read_annotations, read_series, split_series


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """How well the diameter alone tells malignant nodules."""

    malignant: int
    """How many of the nodules are malignant."""
    benign: int
    """How many are benign."""
    curve: Roc
    """Through the book's 100 thresholds, from the largest diameter to the smallest."""
    exact_area: float
    """The area under the curve through every diameter."""


def series_list() -> Path:
    """seriesuids.csv, LUNA16's 888 series, by which the book splits."""
    return data_root() / "luna" / "csv" / "seriesuids.csv"


def measure_baseline() -> Baseline:
    """Measures it on the 154 nodules of the validation series.

    Raises:
        MissingData: annotations_with_malignancy.csv or seriesuids.csv is missing.
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
