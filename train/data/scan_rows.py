"""What a store keeps of one scan: a crop around each candidate, and slices around each nodule with its mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.train.data.ct import crop, crop_start, voxel_at
from edgekit.train.data.dicom import Volume
from edgekit.train.data.luna import Candidate
from edgekit.train.data.nodule_mask import nodule_mask

CROP, SEGMENT, CONTEXT = (32, 48, 48), (7, 96, 96), 3
# By array: dtype and shape of a row. `label`: 0 no nodule, 1 benign, 2 malignant. A segment is 7 slices around a
# nodule with the mask of the middle one.
ARRAYS: dict[str, tuple[str, tuple[int, ...]]] = {
    "crop": ("<i2", CROP),
    "label": ("<i1", ()),
    "diameter_mm": ("<f4", ()),
    "segment": ("<i2", SEGMENT),
    "mask": ("|u1", SEGMENT[1:]),
}


@dataclass(frozen=True, kw_only=True)
class ScanEntry:
    """What one scan gave to a store."""

    uid: str
    """The scan's series."""
    part: str
    """train or validation."""
    crops: int
    """Rows of crops, one a candidate."""
    segments: int
    """Rows of slices with masks, one a nodule."""
    skipped: str
    """Why it gave none; "" if it did."""


Cut = tuple[ScanEntry, dict[str, np.ndarray]]  # a scan's rows by array


def nothing(uid: str, why: str) -> Cut:
    return ScanEntry(uid=uid, part="", crops=0, segments=0, skipped=why), {}


def cut_volume(volume: Volume, candidates: Sequence[Candidate]) -> Cut:
    """The rows of a scan, by array: a crop for each candidate, and a segment with its mask for each nodule.

    Raises:
        InputError: a place is outside the scan, or the scan is smaller than a crop.
    """
    places = [voxel_at(volume, one.center_mm, where=one.where) for one in candidates]
    crops = [crop(volume.hu, place, CROP) for place in places]
    nodules = [place for place, one in zip(places, candidates, strict=True) if one.nodule]
    mask = nodule_mask(volume.hu, nodules)
    segments = [crop(volume.hu, place, SEGMENT) for place in nodules]
    starts = [crop_start(place, SEGMENT, volume.hu.shape) for place in nodules]
    height, width = SEGMENT[1:]
    arrays = {
        "crop": np.array(crops).reshape(-1, *CROP),
        "label": np.array([one.nodule + one.malignant for one in candidates]),
        "diameter_mm": np.array([one.diameter_mm for one in candidates]),
        "segment": np.array(segments).reshape(-1, *SEGMENT),
        "mask": np.array([mask[i + CONTEXT, r : r + height, c : c + width] for i, r, c in starts]).reshape(
            -1, height, width
        ),
    }
    uid = volume.series_uid
    return ScanEntry(uid=uid, part="", crops=len(crops), segments=len(segments), skipped=""), arrays
