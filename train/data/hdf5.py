"""Arrays from HDF5 files, read by h5py. Source: chapter 3, section 3.12. Knows no data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.edge_runtime.errors import InputError, MissingData


def read_array(path: Path, name: str) -> np.ndarray:
    """One data set of an HDF5 file as an array.

    Raises:
        MissingData: no such file.
        InputError: not an HDF5 file, no data set of that name, or one that is a single number.
    """
    import h5py  # only HDF5 files need it

    if not path.is_file():
        raise MissingData(f"there is no file {path}")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path} is not an HDF5 file, or it is damaged: {error}") from None
    with file:
        dataset = file.get(name)
        if not hasattr(dataset, "shape"):
            raise InputError(f"{path} has no data set {name!r}. It holds: {', '.join(sorted(file)) or 'nothing'}")
        if not dataset.shape:
            raise InputError(f"{path}: {name!r} is a single value, which has no rows")
        try:
            return np.asarray(dataset[:])
        except OSError as error:
            raise InputError(f"{path} is damaged: {name!r} cannot be read: {error}") from None
