"""One file for each data set: where it comes from, how it is split, and where it is on disk.

Here a data set is arrays as a device would feed them. Nothing here normalizes, shuffles or knows a model.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekit.edge_runtime.files import home


def data_root() -> Path:
    """The folder that downloaded data sets live in: $EDGEKIT_DATA, else ~/.cache/edgekit."""
    named = os.environ.get("EDGEKIT_DATA")
    return Path(named).expanduser() if named else home() / ".cache" / "edgekit"


def ranked(indices: Sequence[int] | np.ndarray, seed: int) -> np.ndarray:
    """The indices in a fixed pseudo-random order: by SHA-256 of "seed:index".

    Hashes instead of a random generator, because a split must stay the same with every version of numpy.
    """
    return np.array(sorted((int(i) for i in indices), key=lambda i: hashlib.sha256(f"{seed}:{i}".encode()).digest()))
