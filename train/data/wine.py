"""White wines, 11 measurements and a taster's score each: chapter 4's tabular data, and the task "is it a good one?".

Source: P. Cortez et al., "Modeling wine preferences by data mining from physicochemical properties", Decision Support
Systems 47 (2009); the file is the book's `p1ch4/tabular-wine/winequality-white.csv`.
"""

from __future__ import annotations

import hashlib

import numpy as np

from edgekit.train.data.book import book_file, how_to_get
from edgekit.train.data.tables import read_table
from edgekit.train.dataset import Dataset, Split

FILE = "p1ch4/tabular-wine/winequality-white.csv"
ROWS = 4898
FEATURES = (
    "fixed acidity",
    "volatile acidity",
    "citric acid",
    "residual sugar",
    "chlorides",
    "free sulfur dioxide",
    "total sulfur dioxide",
    "density",
    "pH",
    "sulphates",
    "alcohol",
)
TOTAL_SULFUR_DIOXIDE = FEATURES.index("total sulfur dioxide")
LABELS = ("not good", "good")
GOOD_ABOVE = 5  # the score at which the book divides good wines from the rest
VALIDATION_SHARE, CALIBRATION_SHARE = 0.2, 0.1


def read_wines() -> np.ndarray:
    """(4898, 12) float32: the 11 `FEATURES`, then the score from 0 to 10.

    Raises:
        MissingData: the file is not there, or a line of it is damaged.
    """
    columns = (*FEATURES, "quality")
    return read_table(book_file(FILE), columns, separator=";", rows=ROWS, advice=how_to_get(FILE))


def wines() -> Dataset:
    """Inputs (N, 11) float32 in the file's units, targets 1 for a score above 5: 3,459 train, 464 calibration, 975
    validation.

    937 rows repeat an earlier wine's measurements. The split goes by a hash of the measurements, so that no wine is in
    two splits.

    Raises:
        MissingData: as `read_wines`.
    """
    table = read_wines()
    inputs, targets = np.ascontiguousarray(table[:, :-1]), (table[:, -1] > GOOD_ABOVE).astype(np.int64)
    place = np.array([_place(row) for row in inputs])
    validation = place < VALIDATION_SHARE
    calibration = ~validation & (place < VALIDATION_SHARE + CALIBRATION_SHARE)
    train = ~validation & ~calibration

    def split(chosen: np.ndarray) -> Split:
        return Split(inputs=inputs[chosen], targets=targets[chosen])

    return Dataset(
        train=split(train),
        calibration=split(calibration),
        validation=split(validation),
        origin="Vinho Verde white wines (Cortez et al. 2009), 4,898 rows as published with the book",
    )


def _place(row: np.ndarray) -> float:
    """A wine's place in [0, 1), from a hash of its measurements, which no library version changes."""
    digest = hashlib.sha256(row.astype("<f4").tobytes()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
