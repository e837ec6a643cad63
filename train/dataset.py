"""A data set: three splits of arrays, exactly as a device would feed them to the model.

Pictures are raw pixels. Normalization belongs to the model's input (`preprocess.py`), so that it is exported with the
graph. This module knows no particular data set, and no torch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Split:
    """Samples with their answers."""

    inputs: np.ndarray
    """(N, ...); for pictures (N, H, W, C) uint8, raw pixels."""
    targets: np.ndarray
    """(N,) int64, class indices; in a training split also (N, C) float32, probabilities of the classes.

    For a regression (N, F) float32, in the model's unit; for masks (N, 1, H, W) float32, 0 or 1; for boxes (N, M, 6)
    float32: label, 1 for a crowd, left, top, right, bottom in pixels of the input, and -1 in unused rows.
    """
    kinds: np.ndarray | None = None
    """(N,) int64, the kinds that balancing tells apart, where these are not the targets."""
    groups: np.ndarray | None = None
    """(N,) what each sample belongs to, such as a patient or a scan, by number or name; None: each is on its own."""

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets) or len(self.inputs) == 0:
            raise ValueError(f"a split of {len(self.inputs)} inputs and {len(self.targets)} targets is not a split")
        if self.groups is not None and len(self.groups) != len(self.inputs):
            raise ValueError(f"a split of {len(self.inputs)} inputs has {len(self.groups)} groups, one for each is due")

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The splits of one data set."""

    train: Split
    """What the model learns from."""
    calibration: Split
    """What quantization measures ranges on; never part of `validation`."""
    validation: Split
    """What the model is judged on."""
    origin: str
    """Where the data come from, in one sentence, for run.json and the manifest."""
    fingerprint: str = ""
    """Stands for the bytes of all splits, where reading them would take long."""

    def sha256(self) -> str:
        """Hash of every byte, shape and dtype of the three splits, or the fingerprint: the same data, the same text."""
        if self.fingerprint:
            return self.fingerprint
        digest = hashlib.sha256()
        for split in (self.train, self.calibration, self.validation):
            for array in (split.inputs, split.targets):
                digest.update(f"{array.dtype.newbyteorder('<').str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()
