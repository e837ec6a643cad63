"""What a data set is: three splits of arrays, exactly as a device would feed them to the model.

Pictures are raw pixels; normalisation belongs to the model's input (`preprocess.py`), so that it can travel in the
exported graph. This module knows no data set in particular and no torch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Split:
    """`inputs`: (N, ...), for pictures (N, H, W, C) uint8 raw pixels.

    `targets`: (N,) int64 class indices; for a regression (N, F) float32, as the model answers, with their unit; for
    masks (N, 1, H, W) float32, 0 or 1; to train on, classes may be probabilities (N, C) float32. `kinds`: (N,) int64,
    what balancing tells apart where targets do not.
    """

    inputs: np.ndarray
    targets: np.ndarray
    kinds: np.ndarray | None = None

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets) or len(self.inputs) == 0:
            raise ValueError(f"a split of {len(self.inputs)} inputs and {len(self.targets)} targets is no split")

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The splits of one data set. `calibration` serves quantization and is never part of `validation`.

    `origin` says in one sentence where the data come from, for run.json and the manifest. `fingerprint` stands for the
    bytes of all splits where reading them would take long; "" where it would not.
    """

    train: Split
    calibration: Split
    validation: Split
    origin: str
    fingerprint: str = ""

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
