"""Splits to and from HDF5: a calibration set as one file, of which only the rows that are asked for are read.

Source: chapter 3, section 3.12. Knows arrays and files, no data set. Read by h5py; what is written has no pickles.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.edge_runtime.errors import InputError, MissingData
from edgekit.edge_runtime.files import write_atomically
from edgekit.train.dataset import Split

INPUTS, TARGETS = "inputs", "targets"
_CHUNK_BYTES = 1 << 20  # of one piece on disk: a read takes whole pieces


def save_split(path: Path, split: Split) -> None:
    """Writes `inputs` (N, …) and `targets` (N, …) to `path`, whole or not at all, in checksummed pieces of 1 MiB."""
    import h5py  # only who reads or writes HDF5 needs it

    with write_atomically(path) as part, h5py.File(part, "w") as file:
        for name, array in ((INPUTS, split.inputs), (TARGETS, split.targets)):
            rows = max(1, min(len(array), _CHUNK_BYTES // max(1, array[0].nbytes)))
            file.create_dataset(name, data=array, chunks=(rows, *array.shape[1:]), fletcher32=True)


def load_split(path: Path, rows: slice = slice(None)) -> Split:
    """The given rows of what `save_split` wrote; the others are not read.

    Raises:
        MissingData: no such file.
        InputError: not an HDF5 file, one without `inputs` and `targets`, or no rows there.
    """
    inputs, targets = read_array(path, INPUTS, rows), read_array(path, TARGETS, rows)
    if len(inputs) != len(targets) or not len(inputs):
        raise InputError(f"{path}: rows {rows} hold {len(inputs)} inputs and {len(targets)} targets, which is no split")
    return Split(inputs=inputs, targets=targets)


def read_array(path: Path, name: str, rows: slice = slice(None)) -> np.ndarray:
    """Rows of one data set of any HDF5 file as an array of its own, such as the last two of the book's `coords`.

    Raises:
        MissingData: no such file.
        InputError: not an HDF5 file, no data set of that name, or one of a single number.
    """
    with _opened(path) as file:
        found = file.get(name)
        if not hasattr(found, "shape"):
            raise InputError(f"{path} has no data set {name!r}. It holds: {', '.join(sorted(file)) or 'nothing'}")
        if not found.shape:
            raise InputError(f"{path}: {name!r} is a single value, which has no rows")
        try:
            return np.asarray(found[rows])
        except OSError as error:
            raise InputError(f"{path} is damaged: {name!r} cannot be read: {error}") from None


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import h5py

    if not path.is_file():
        raise MissingData(f"{path} is not there. `edgekit.train.data.hdf5.save_split` writes one")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path} is no HDF5 file, or damaged: {error}") from None
    with file:
        yield file
