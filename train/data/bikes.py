"""Rented bikes, hour by hour for two years: chapter 4's time series, and the task "how many tomorrow, each hour?".

Source: H. Fanaee-T and J. Gama, "Event labeling combining ensemble detectors and background knowledge", Progress in
Artificial Intelligence (2013), Capital Bikeshare, Washington D.C.; the book's `hour-fixed.csv`, in which the hours that
the original lacks are filled in.
"""

from __future__ import annotations

import numpy as np

from edgekit.train.data.book import book_file, how_to_get
from edgekit.train.data.tables import read_table
from edgekit.train.dataset import Dataset, Split

FILE = "p1ch4/bike-sharing-dataset/hour-fixed.csv"
COLUMNS = (
    "instant",
    "dteday",  # read as the day of the month, as the book does
    "season",
    "yr",
    "mnth",
    "hr",
    "holiday",
    "weekday",
    "workingday",
    "weathersit",
    "temp",
    "atemp",
    "hum",
    "windspeed",
    "casual",
    "registered",
    "cnt",
)
COUNT = COLUMNS.index("cnt")
DAYS, HOURS = 730, 24
WINDOW_DAYS = 7
VALIDATION_DAYS, CALIBRATION_DAYS = 146, 90
LABELS = tuple(f"rentals from {hour}:00" for hour in range(HOURS))


def read_hours() -> np.ndarray:
    """(17520, 17) float32, one row an hour, the columns of `COLUMNS`.

    Raises:
        MissingData: the file is not there, or a line of it is damaged.
    """
    day_of_month = {"dteday": lambda text: float(text[8:10])}
    path, advice = book_file(FILE), how_to_get(FILE)
    return read_table(path, COLUMNS, separator=",", rows=DAYS * HOURS, parse=day_of_month, advice=advice)


def by_day(hours: np.ndarray) -> np.ndarray:
    """(17520, 17) to (730, 24, 17), without a copy; `.transpose(0, 2, 1)` makes it the book's (730, 17, 24)."""
    return hours.reshape(-1, HOURS, hours.shape[1])


def bikes() -> Dataset:
    """Inputs (N, 7, 24, 17) float32, the seven days before; targets (N, 24) float32, the day's rentals by the hour.

    Split by time: the last 146 days (August to December 2012) are validation, all 577 earlier ones train, and the last
    90 of these are calibration too. No input holds anything after a target's midnight, not even the day's weather.

    Raises:
        MissingData: as `read_hours`.
    """
    days = by_day(read_hours())
    inputs = np.stack([days[i - WINDOW_DAYS : i] for i in range(WINDOW_DAYS, DAYS)])  # (723, 7, 24, 17)
    targets = np.ascontiguousarray(days[WINDOW_DAYS:, :, COUNT])  # (723, 24)

    def split(start: int, stop: int) -> Split:
        return Split(inputs=inputs[start:stop], targets=targets[start:stop])

    samples, first_held_out = len(inputs), len(inputs) - VALIDATION_DAYS
    return Dataset(
        train=split(0, first_held_out),
        calibration=split(first_held_out - CALIBRATION_DAYS, first_held_out),
        validation=split(first_held_out, samples),
        origin="Capital Bikeshare 2011 and 2012 (Fanaee-T and Gama 2013), 730 days, as published with the book",
    )
