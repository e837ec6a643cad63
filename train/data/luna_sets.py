"""What chapters 12 to 14 train on, from a store made by `edgekit luna prepare`: nodules, malignancy, masks.

Training rows stay on disk, memory-mapped, in int16; calibration and validation are float32, as a device feeds them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.errors import InputError
from edgekit.edge_runtime.files import sha256_file
from edgekit.train.data import luna_store
from edgekit.train.data.luna_store import INDEX, TRAIN, VALIDATION, read_index, rows
from edgekit.train.dataset import Dataset, Split

_CALIBRATION = 64


def nodules(store: Path | None = None) -> Dataset:
    """Inputs (N, 1, 32, 48, 48) HU; targets 0 (no nodule) or 1. All candidates; few of them are nodules.

    Raises:
        MissingData: no store, or an unfinished one.
        EdgekitError: a damaged one. InputError: it has no nodules to train on.
    """
    return _crops(store, malignancy=False)


def malignancy(store: Path | None = None) -> Dataset:
    """The same inputs; targets 0 (benign, or no nodule) or 1 (malignant). Validation has nodules only.

    `kinds` of the training split are 0 (no nodule), 1 (benign) and 2 (malignant). Raises as `nodules`.
    """
    return _crops(store, malignancy=True)


def segments(store: Path | None = None) -> Dataset:
    """Inputs (N, 7, 96, 96) HU, the slice through a nodule's middle between three on each side; targets its mask.

    The book validates on whole slices, where more is no nodule, so its precision is lower. Raises as `nodules`.
    """
    place = store or luna_store.default_store()
    index = read_index(place)
    splits = {}
    for part in (TRAIN, VALIDATION):
        inputs, masks = (rows(place, part, array, index=index) for array in ("segment", "mask"))
        _need(len(inputs), f"{place} has no nodules to {part}")
        splits[part] = Split(
            inputs=inputs,
            targets=masks[:, np.newaxis].astype(np.float32),
            groups=index.series(part, "segment"),
        )
    chosen = _spread(np.arange(len(splits[TRAIN])), _CALIBRATION)
    return Dataset(
        train=splits[TRAIN],
        calibration=_floats(splits[TRAIN], chosen),
        validation=_floats(splits[VALIDATION], np.arange(len(splits[VALIDATION]))),
        origin=index.origin,
        fingerprint=sha256_file(place / INDEX),
    )


def _crops(store: Path | None, *, malignancy: bool) -> Dataset:
    place = store or luna_store.default_store()
    index = read_index(place)
    splits = {}
    for part in (TRAIN, VALIDATION):
        kinds = rows(place, part, "label", index=index).astype(np.int64)
        _need(int((kinds > 0).sum()), f"{place} has no nodules to {part}")
        if malignancy:  # the area under its ROC curve needs both
            for kind, name in ((1, "benign"), (2, "malignant")):
                _need(int((kinds == kind).sum()), f"the {part} split of {place} has no {name} nodules")
        targets = (kinds > malignancy).astype(np.int64)
        inputs = rows(place, part, "crop", index=index)[:, np.newaxis]
        splits[part] = Split(inputs=inputs, targets=targets, kinds=kinds, groups=index.series(part, "crop"))
    train, validation = splits[TRAIN], splits[VALIDATION]
    assert train.kinds is not None
    assert validation.kinds is not None
    halves = [_spread(np.flatnonzero(train.targets == kind), _CALIBRATION // 2) for kind in (0, 1)]
    judged = np.flatnonzero(validation.kinds > 0) if malignancy else np.arange(len(validation))
    return Dataset(
        train=train,
        calibration=_floats(train, np.concatenate(halves)),
        validation=_floats(validation, judged),
        origin=index.origin,
        fingerprint=sha256_file(place / INDEX),
    )


def _floats(split: Split, chosen: np.ndarray) -> Split:
    groups = None if split.groups is None else split.groups[chosen]
    return Split(inputs=split.inputs[chosen].astype(np.float32), targets=split.targets[chosen], groups=groups)


def _spread(members: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the members, spread evenly from the first to the last."""
    if len(members) <= count:
        return members
    return members[np.linspace(0, len(members) - 1, count).round().astype(int)]


def _need(count: int, what: str) -> None:
    if not count:
        raise InputError(f"{what}. Prepare more scans: {EDGEKIT} luna prepare")
