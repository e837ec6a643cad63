"""What verifies the nets of the lung project without a store: a few real crops, and slices of one whole real CT.

Enough to calibrate an artifact and to compare it with its float net, far too few to train on. Nobody has marked the
nodules of the whole CT, so it serves to calibrate and compare, and no accuracy is claimed on it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from edgekit.edge_runtime.errors import MissingData
from edgekit.train.data import data_root, lidc
from edgekit.train.data.ct import AIR_HU, CLIP_HU, crop, read_scan
from edgekit.train.data.dicom import Volume
from edgekit.train.data.scan_rows import CONTEXT
from edgekit.train.dataset import Dataset, Split

DICOM = "book/p1ch4/volumetric-dicom/2-LUNG 3.0  B70f-04083"
DICOM_ORIGIN = "one CT of CPTAC patient C3N-00247 (TCIA, CC BY 3.0)"
CALIBRATED = range(5, 99, 10)  # the slices whose tiles calibrate
HELD_OUT = range(10, 99, 10)  # slices of which a net sees none of the seven that it sees of those
_BESIDES = f"calibrated besides on slices of {DICOM_ORIGIN}"
_TILES = 6  # of each slice
_MULTIPLE = 4  # tiles begin at multiples of this, so that pooling meets them as it meets a whole slice


def crops() -> Dataset:
    """For `luna_classifier`: `lidc.crops`, cut to -1000..1000 HU by the model itself. If the whole CT is on disk, crops
    of it calibrate too; nobody knows their targets, and nothing reads them.

    In a whole scan most groups of flagged voxels are vessels, walls and noise, and the crops around nodules show few of
    these.

    Raises:
        MissingData: the files of the crops are not there.
    """
    data = lidc.crops()
    try:
        around = calibration_crops(read_dicom())
    except MissingData:
        return data
    calibration = Split(
        inputs=np.concatenate([data.calibration.inputs, around]),
        targets=np.concatenate([data.calibration.targets, np.zeros(len(around), np.int64)]),
    )
    return replace(data, calibration=calibration, origin=f"{data.origin}; {_BESIDES}")


def malignancy() -> Dataset:
    """For `luna_malignancy`: the same inputs, validation with nodules only; targets 0 (benign) or 1 (malignant).

    Raises:
        MissingData: the files are not there.
    """
    data = lidc.crops()
    return replace(data, train=_rated(data.train), calibration=_rated(data.calibration),
                   validation=_rated(data.validation, nodules_only=True))  # fmt: skip


def slices() -> Dataset:
    """For `luna_unet`: `lidc.slices`; if the whole CT is on disk, tiles of it calibrate too.

    The crops around nodules show only lung: a net calibrated on them would meet bone, table and air for the first time
    in a whole scan. The tiles have empty targets, because nothing reads the targets of calibration.

    Raises:
        MissingData: the files of the crops are not there.
    """
    data = lidc.slices()
    try:
        tiles = calibration_tiles(read_dicom())
    except MissingData:
        return data
    calibration = Split(
        inputs=np.concatenate([data.calibration.inputs, tiles]),
        targets=np.concatenate([data.calibration.targets, np.zeros((len(tiles), 1, *tiles.shape[2:]), np.float32)]),
    )
    return replace(data, calibration=calibration, origin=f"{data.origin}; {_BESIDES}")


def dicom_folder() -> Path:
    """Where the whole CT lies, if it is on disk."""
    return data_root() / DICOM


def read_dicom() -> Volume:
    """The whole CT, 99 slices of 512 x 512; raises MissingData if it is not on disk."""
    return read_scan(dicom_folder())


def calibration_tiles(volume: Volume) -> np.ndarray:
    """(N, 7, 96, 96) float32 HU: six tiles of each slice of `CALIBRATED` that the volume has, at fixed places."""
    height, width = lidc.SEGMENT[1:]
    draw = np.random.default_rng(0)
    tiles = []
    for middle in (i for i in CALIBRATED if i + CONTEXT < len(volume.hu)):
        for _ in range(_TILES):
            row, column = (
                int(draw.integers(0, (there - side) // _MULTIPLE + 1)) * _MULTIPLE
                for there, side in zip(volume.hu.shape[1:], (height, width), strict=True)
            )
            tiles.append(
                volume.hu[middle - CONTEXT : middle + CONTEXT + 1, row : row + height, column : column + width]
            )
    return np.clip(np.stack(tiles), AIR_HU, CLIP_HU).astype(np.float32)


def calibration_crops(volume: Volume) -> np.ndarray:
    """(N, 1, 32, 48, 48) float32 HU: six crops around each slice of `CALIBRATED`, at fixed places all over it."""
    draw = np.random.default_rng(1)
    places = [
        (middle, *(int(draw.integers(0, side)) for side in volume.hu.shape[1:]))
        for middle in CALIBRATED
        if middle < len(volume.hu)
        for _ in range(_TILES)
    ]
    return np.stack([crop(volume.hu, place, lidc.CANDIDATE)[np.newaxis] for place in places]).astype(np.float32)


def _rated(split: Split, *, nodules_only: bool = False) -> Split:
    assert split.kinds is not None
    kept = split.kinds > 0 if nodules_only else np.ones(len(split), bool)
    return Split(
        inputs=split.inputs[kept],
        targets=(split.kinds[kept] > 1).astype(np.int64),
        kinds=split.kinds[kept],
        groups=None if split.groups is None else split.groups[kept],
    )
