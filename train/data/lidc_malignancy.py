"""1,900 real lung nodules of LIDC-IDRI in their largest slice, and how malignant radiologists rate them.

Source: Armato et al., "The Lung Image Database Consortium and Image Database Resource Initiative", Medical Physics 38
(2011). This module knows one file and no model.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass

import numpy as np

from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.errors import MissingData
from edgekit.train.data import data_root
from edgekit.train.dataset import Dataset, Split

FILE = "luna/lidc_2d/lidc_maxslice_71x71_int16.npz"
SIDE, SPACING_MM = 64, 0.7  # pixels a side, and their distance, of what a model sees: 45 mm
MALIGNANT = 4  # ratings go from 1 to 5; from 4 on a nodule counts as malignant, as in chapter 14; 3 is "indeterminate"
UNDECIDED = 3
VALIDATION_SHARE = 0.3
_CALIBRATION = 128
# By name: the training target for each rating from 1 to 5, as a probability of malignant. Hard targets hide from a net
# that a 1 is more surely benign than a 3.
SOFTNESS: dict[str, tuple[float, ...]] = {
    "hard": (0.0, 0.0, 0.0, 1.0, 1.0),
    "soft": (0.02, 0.08, 0.25, 0.85, 0.98),
    "linear": (0.0, 0.25, 0.5, 0.75, 1.0),
}
_FIELDS = ("raw", "rescale_intercept", "series_uid", "malignancy", "pixel_spacing_mm", "equiv_diameter_mm")


@dataclass(frozen=True, kw_only=True)
class Nodules:
    """All nodules, in the file's order."""

    hu: np.ndarray
    """(N, 71, 71) int16, Hounsfield units."""
    spacing_mm: np.ndarray
    """(N,): between the pixels of a slice."""
    diameter_mm: np.ndarray
    """(N,): of a disc with the nodule's area."""
    rating: np.ndarray
    """(N,) int64, from 1, surely benign, to 5, surely malignant."""
    series: np.ndarray
    """(N,) uids of the scans."""
    validation: np.ndarray
    """(N,) bool: which are held out."""


def read_nodules() -> Nodules:
    """Reads the file. A hash of its uid puts a series, with all its nodules, on one side of the split.

    Raises:
        MissingData: the file is not there, or is not what it should be.
    """
    path = data_root() / FILE
    try:
        with np.load(path, allow_pickle=False) as file:
            raw, intercept, series, rating, spacing, diameter = (file[name] for name in _FIELDS)
    except FileNotFoundError:
        raise MissingData(
            f"{path} is not there. These slices of LIDC-IDRI cannot be downloaded. Put the file there, or train on "
            f"other nodules: {EDGEKIT} luna prepare"
        ) from None
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise MissingData(f"{path} is damaged ({error}). Copy the file there again") from None
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

    The first channel is the slice in HU. The second marks the nodule (`draw_discs`), because a slice alone does not say
    what in it belongs to the nodule; in use, a segmentation does. 128 of the training rows are calibration too.

    Args:
        softness: a name in `SOFTNESS`; unless "hard", training targets are probabilities (N, 2) float32.

    Raises:
        MissingData: as `read_nodules`.
    """
    nodules = read_nodules()
    return split_at(nodules, inputs_of(nodules), nodules.validation, softness)


def inputs_of(nodules: Nodules) -> np.ndarray:
    """Slices and discs, (N, 2, 64, 64) float32."""
    return np.stack([resample(nodules.hu, nodules.spacing_mm), draw_discs(nodules.diameter_mm)], axis=1)


def split_at(
    nodules: Nodules, inputs: np.ndarray, held: np.ndarray, softness: str, train: np.ndarray | None = None
) -> Dataset:
    """The nodules that are `held`, (N,) bool, are the validation split; the others train, or those in `train`."""
    targets = (nodules.rating >= MALIGNANT).astype(np.int64)
    seen = np.flatnonzero(~held if train is None else train)
    chances = np.array(SOFTNESS[softness], np.float32)[nodules.rating[seen] - 1]
    learned = targets[seen] if softness == "hard" else np.stack([1 - chances, chances], axis=1)
    calibration = seen[np.linspace(0, len(seen) - 1, _CALIBRATION).round().astype(int)]
    return Dataset(
        train=Split(inputs=inputs[seen], targets=learned),
        calibration=Split(inputs=inputs[calibration], targets=targets[calibration]),
        validation=Split(inputs=inputs[held], targets=targets[held], groups=nodules.series[held]),
        origin=f"{len(targets):,} nodules of LIDC-IDRI (TCIA, CC BY 3.0) in their largest slice, split by series",
    )


def resample(hu: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    """Squares (N, H, H) with pixels `spacing_mm` (N,) apart to (N, 64, 64) float32, 0.7 mm apart, around the middle.

    Bilinear; outside the square its border is repeated.
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


def draw_discs(diameter_mm: np.ndarray) -> np.ndarray:
    """Float32 (N, 64, 64): 1000 on a disc of each diameter (N,) in the middle, -1000 outside, with a soft edge."""
    steps = (np.arange(SIDE) - (SIDE - 1) / 2) * SPACING_MM
    inside_mm = diameter_mm[:, None, None] / 2 - np.hypot(steps[:, None], steps)
    return (inside_mm.clip(-0.5, 0.5) * 2000).astype(np.float32)


def _place(uid: str) -> float:
    """A series' place in [0, 1), from a hash of its uid, which no library version changes."""
    return int.from_bytes(hashlib.sha256(uid.encode()).digest()[:8], "big") / 2**64
