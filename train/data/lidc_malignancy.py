"""1,900 real lung nodules of LIDC-IDRI in their largest slice, and how malignant radiologists find them.

Source: Armato et al., "The Lung Image Database Consortium and Image Database Resource Initiative", Medical Physics 38
(2011). This module knows one file and no model.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass

import numpy as np

from edgekit.edge_runtime.errors import MissingData
from edgekit.train.data import data_root
from edgekit.train.dataset import Dataset, Split

FILE = "luna/lidc_2d/lidc_maxslice_71x71_int16.npz"
SIDE, SPACING_MM = 64, 0.7  # pixels a side, and their distance, of what a model sees: 45 mm
MALIGNANT = 4  # of 1 to 5, from here on, as chapter 14 counts ratings; 3 is "indeterminate"
UNDECIDED = 3
VALIDATION_SHARE = 0.3
_CALIBRATION = 128
# By name: how likely a nodule of each rating from 1 to 5 is called malignant, as a training target. A hard target keeps
# from a net what it could learn from: that a 1 is more surely benign than a 3.
SOFTNESS: dict[str, tuple[float, ...]] = {
    "hard": (0.0, 0.0, 0.0, 1.0, 1.0),
    "soft": (0.02, 0.08, 0.25, 0.85, 0.98),
    "linear": (0.0, 0.25, 0.5, 0.75, 1.0),
}
_FIELDS = ("raw", "rescale_intercept", "series_uid", "malignancy", "pixel_spacing_mm", "equiv_diameter_mm")


@dataclass(frozen=True, kw_only=True)
class Nodules:
    """All nodules, in the file's order.

    `hu` (N, 71, 71) int16, Hounsfield units, `spacing_mm` (N,) apart; `diameter_mm` (N,) of the disc of the nodule's
    area; `rating` (N,) from 1, surely benign, to 5; `series` (N,) uids; `validation` (N,) bool.
    """

    hu: np.ndarray
    spacing_mm: np.ndarray
    diameter_mm: np.ndarray
    rating: np.ndarray
    series: np.ndarray
    validation: np.ndarray


def read_nodules() -> Nodules:
    """Reads the file. All nodules of a series are on the same side of the split, by a hash of its uid.

    Raises:
        MissingData: the file is not there, or is not what it should be.
    """
    path = data_root() / FILE
    try:
        with np.load(path, allow_pickle=False) as file:
            raw, intercept, series, rating, spacing, diameter = (file[name] for name in _FIELDS)
    except FileNotFoundError:
        raise MissingData(
            f"{path} is not there. These slices of LIDC-IDRI are not for download; put the file there, or train on "
            "other nodules: edgekit luna prepare"
        ) from None
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise MissingData(f"{path} is damaged ({error}). Put the file there again") from None
    return Nodules(
        hu=(raw.astype(np.int32) + intercept[:, None, None]).clip(-32768, 32767).astype(np.int16),
        spacing_mm=spacing.astype(np.float64),
        diameter_mm=diameter.astype(np.float64),
        rating=rating.astype(np.int64),
        series=series,
        validation=np.array([_place(uid) < VALIDATION_SHARE for uid in series.tolist()]),
    )


def malignancy(softness: str = "hard") -> Dataset:
    """Inputs (N, 2, 64, 64) float32 at 0.7 mm a pixel, whatever the scanner's was; targets 1 for a rating above 3.

    The first channel is the slice in HU, the second marks the nodule (`disc`), as a segmentation before it does: a
    slice alone does not say what in it belongs to the nodule. Calibration rows are training rows, 128 of them.

    Args:
        softness: of `SOFTNESS`; other than "hard", training targets are probabilities (N, 2) float32.

    Raises:
        MissingData: as `read_nodules`.
    """
    found = read_nodules()
    return split_at(found, inputs_of(found), found.validation, softness)


def inputs_of(found: Nodules) -> np.ndarray:
    """Slices and discs, (N, 2, 64, 64) float32."""
    return np.stack([resampled(found.hu, found.spacing_mm), disc(found.diameter_mm)], axis=1)


def split_at(
    found: Nodules, inputs: np.ndarray, held: np.ndarray, softness: str, train: np.ndarray | None = None
) -> Dataset:
    """What is `held`, (N,) bool, judges; the others train, or those of `train`, (N,) bool."""
    targets = (found.rating >= MALIGNANT).astype(np.int64)
    seen = np.flatnonzero(~held if train is None else train)
    chances = np.array(SOFTNESS[softness], np.float32)[found.rating[seen] - 1]
    learned = targets[seen] if softness == "hard" else np.stack([1 - chances, chances], axis=1)
    calibration = seen[np.linspace(0, len(seen) - 1, _CALIBRATION).round().astype(int)]
    return Dataset(
        train=Split(inputs=inputs[seen], targets=learned),
        calibration=Split(inputs=inputs[calibration], targets=targets[calibration]),
        validation=Split(inputs=inputs[held], targets=targets[held]),
        origin=f"{len(targets):,} nodules of LIDC-IDRI (TCIA, CC BY 3.0) in their largest slice, split by series",
    )


def resampled(hu: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    """Squares (N, H, H) with pixels `spacing_mm` (N,) apart to (N, 64, 64) float32, 0.7 mm apart, around the middle.

    Bilinear. Beyond the square it goes on as its border is.
    """
    last = hu.shape[1] - 1
    steps = (np.arange(SIDE) - (SIDE - 1) / 2) * SPACING_MM
    made = np.empty((len(hu), SIDE, SIDE), np.float32)
    for picture, spacing, out in zip(hu, spacing_mm, made, strict=True):
        place = np.clip(last / 2 + steps / spacing, 0, last)
        low = np.minimum(place.astype(int), last - 1)
        share = place - low
        rows = picture[low] * (1 - share[:, None]) + picture[low + 1] * share[:, None]  # (64, H)
        out[:] = rows[:, low] * (1 - share) + rows[:, low + 1] * share
    return made


def disc(diameter_mm: np.ndarray) -> np.ndarray:
    """Float32 (N, 64, 64): 1000 on a disc of each diameter (N,) in the middle, -1000 outside, with a soft edge."""
    steps = (np.arange(SIDE) - (SIDE - 1) / 2) * SPACING_MM
    inside_mm = diameter_mm[:, None, None] / 2 - np.hypot(steps[:, None], steps)
    return (inside_mm.clip(-0.5, 0.5) * 2000).astype(np.float32)


def _place(uid: str) -> float:
    """A series' place in [0, 1), from a hash of its uid: the same with every version of everything."""
    return int.from_bytes(hashlib.sha256(uid.encode()).digest()[:8], "big") / 2**64
