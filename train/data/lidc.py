"""A few real crops of chest CTs: enough to prove an artifact and to calibrate one, far too few to train on.

Eight nodules of two LIDC-IDRI patients, four candidates of LUNA16 and the book's one example of chapter 15. Source:
Armato et al., "The Lung Image Database Consortium and Image Database Resource Initiative", Medical Physics 38 (2011).
"""

from __future__ import annotations

import csv
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.errors import MissingData
from edgekit.train.data import data_root
from edgekit.train.data.ct import Index, crop
from edgekit.train.data.nodule_mask import nodule_mask
from edgekit.train.dataset import Dataset, Split

CANDIDATE = (32, 48, 48)
SEGMENT = (7, 96, 96)
# By file: LIDC's patient and the nodule's number. Calibration and validation share a patient, but no slices.
CALIBRATION = ("LIDC-IDRI-0055_0", "LIDC-IDRI-0055_1", "LIDC-IDRI-0055_2", "LIDC-IDRI-0055_3")
VALIDATION = ("LIDC-IDRI-0055_4", "LIDC-IDRI-0055_5", "LIDC-IDRI-0055_6", "LIDC-IDRI-0001_0")
ORIGIN = "real crops of LIDC-IDRI patients 0001 and 0055 (TCIA, CC BY 3.0)"
# Every nodule is in the middle of its 100 x 100 pixels and in slice 30.
_MIDDLE = (30, 50, 50)
_MALIGNANT = 4
_CORNERS = [(30, r, c) for r in (24, 76) for c in (24, 76)]


def crops() -> Dataset:
    """Inputs (N, 1, 32, 48, 48) float32 HU, as measured; targets 0 (no nodule) or 1; kinds 0, 1 benign, 2 malignant.

    For each of the eight nodules one crop in the middle, which shows it, and four in the corners, which show other
    lung; for calibration more corners, of other slices. Validation also has the four candidates and the example.

    Raises:
        MissingData: the files are not there.
    """
    calibration = [_candidates(name, also=[(16, r, c) for _, r, c in _CORNERS]) for name in CALIBRATION]
    validation = [*(_candidates(name) for name in VALIDATION), _book_candidates()]
    held = _joined(calibration)
    return Dataset(
        train=held,
        calibration=held,
        validation=_joined(validation),
        origin=f"{ORIGIN}, four candidates of LUNA16 and one of the book's: to prove artifacts, too few to train on",
    )


def crops_by_content() -> dict[str, Split]:
    """The crops of all eight nodules, the four candidates and the book's example, by what they show.

    Those of the nodules in `CALIBRATION` are also what `crops` calibrates on.

    Raises:
        MissingData: the files are not there.
    """
    around = _joined([_candidates(name) for name in (*CALIBRATION, *VALIDATION)])
    candidates = _book_candidates()
    return {
        "LUNA16 candidates that are nodules": _of_class(candidates, 1),
        "LUNA16 candidates that are none": _of_class(candidates, 0),
        "LIDC nodules, in the middle of the crop": _of_class(around, 1),
        "lung in the corners around them": _of_class(around, 0),
    }


def slices() -> Dataset:
    """Inputs (N, 7, 96, 96) float32 HU, a slice between its neighbours; targets (N, 1, 96, 96) float32 masks, 0 or 1.

    Every slice in which the rule of `nodule_mask` marks pixels of a nodule, and for each nodule one without any.

    Raises:
        MissingData: the files are not there.
    """
    calibration, validation = (_joined([_masked(name) for name in names]) for names in (CALIBRATION, VALIDATION))
    return Dataset(
        train=calibration,
        calibration=calibration,
        validation=validation,
        origin=f"{ORIGIN}, masks by the book's -700 HU rule: to prove artifacts, too few to train on",
    )


def nodule_hu(name: str) -> np.ndarray:
    """The surroundings of one nodule, (46 to 60, 100, 100) int16 HU, not clipped; slice 30 is the nodule's."""
    with np.load(_file(f"lidc_3d_hu_100px/{name}.npz")) as file:
        return np.ascontiguousarray(file["hu"].transpose(2, 0, 1))  # the file has the slice last


def _candidates(name: str, also: Sequence[Index] = ()) -> Split:
    hu = nodule_hu(name)
    places = [_MIDDLE, *_CORNERS, *also]
    shown = np.array([place == _MIDDLE for place in places], np.int64)
    return Split(
        inputs=np.stack([crop(hu, place, CANDIDATE)[np.newaxis] for place in places]).astype(np.float32),
        targets=shown,
        kinds=shown * (2 if _ratings()[name] >= _MALIGNANT else 1),
        groups=np.full(len(places), _patient(name)),
    )


def _patient(name: str) -> str:
    return name.partition("_")[0]


def _ratings() -> dict[str, int]:
    """How malignant radiologists rate each nodule, from 1 to 5."""
    with _file("lidc_3d_hu_100px/nodules.csv").open(encoding="utf-8", newline="") as file:
        return {f"{row['PatientID']}_{row['NoduleID']}": int(row["Malignancy"]) for row in csv.DictReader(file)}


def _book_candidates() -> Split:
    """Four of LUNA16's, with the class in its list; and the book's example, which is no nodule."""
    import torch  # the example is a torch file

    inputs, kinds, series = [], [], []
    table = _file("book_candidates/present_candidates.csv")
    for line in table.read_text(encoding="utf-8").splitlines()[1:]:
        fields = line.split(",")
        with np.load(table.parent / Path(fields[-1]).name.replace(":", "_")) as file:
            inputs.append(file["ct_chunk"])
        kinds.append({"0": 1, "1": 2, "2": 0}[fields[2]])
        series.append(fields[0])
    example = data_root() / "book" / "p3ch15" / "cls_val_example.pt"
    try:
        inputs.append(torch.load(example, weights_only=True)[0][0].numpy())
    except (OSError, pickle.UnpicklingError):
        raise MissingData(f"{example} is missing or damaged. It comes with the book's code") from None
    all_kinds = np.array([*kinds, 0], np.int64)
    return Split(
        inputs=np.stack(inputs)[:, np.newaxis],
        targets=(all_kinds > 0).astype(np.int64),
        kinds=all_kinds,
        groups=np.array([*series, "the book's example"]),
    )


def _masked(name: str) -> Split:
    hu = nodule_hu(name)
    around, mask = crop(hu, _MIDDLE, (len(hu), *SEGMENT[1:])), nodule_mask(hu, [_MIDDLE])
    mask = crop(mask, _MIDDLE, (len(hu), *SEGMENT[1:]))
    with_nodule = [int(i) for i in np.flatnonzero(mask.any(axis=(1, 2))) if 3 <= i < len(hu) - 3]
    chosen = [*with_nodule, 4]
    return Split(
        inputs=np.stack([around[i - 3 : i + 4] for i in chosen]).astype(np.float32),
        targets=np.stack([mask[i : i + 1] for i in chosen]).astype(np.float32),
        groups=np.full(len(chosen), _patient(name)),
    )


def _of_class(split: Split, target: int) -> Split:
    chosen = split.targets == target
    groups = None if split.groups is None else split.groups[chosen]
    return Split(inputs=split.inputs[chosen], targets=split.targets[chosen], groups=groups)


def _joined(splits: list[Split]) -> Split:
    kinds = [split.kinds for split in splits if split.kinds is not None]
    groups = [split.groups for split in splits if split.groups is not None]
    return Split(
        inputs=np.concatenate([split.inputs for split in splits]),
        targets=np.concatenate([split.targets for split in splits]),
        kinds=np.concatenate(kinds) if kinds else None,
        groups=np.concatenate(groups) if groups else None,
    )


def _file(relative: str) -> Path:
    path = data_root() / "luna" / relative
    if not path.is_file():
        raise MissingData(
            f"{path} is not there. These real crops cannot be downloaded. With scans of LUNA16 in DIR, or synthetic "
            f"ones made by `{EDGEKIT} luna synthesize DIR`, run: {EDGEKIT} luna prepare DIR"
        )
    return path
