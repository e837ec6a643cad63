"""Arrays from HDF5 files, read by h5py. Source: chapter 3, section 3.12. Knows no data set.

An HDF5 file can name other files, whose content would then pass for its own: by external links, external storage and
virtual data sets. None of the three is followed, wherever it stands on the way to a data set.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.edge_runtime.errors import InputError, MissingData, shown

_MOST_LINKS = 16  # soft links that lead to each other
_MOST_RATIO, _SPARE_BYTES = 1100, 1 << 20  # deflate packs 1,032 to 1; a data set without rows written has only a header


def read_array(path: Path, name: str) -> np.ndarray:
    """One data set of an HDF5 file as an array; `name` may lead through groups.

    Raises:
        MissingData: no such file.
        InputError: not an HDF5 file, no data set of that name, one that lies in another file, or a single number.
    """
    with _opened(path) as file:
        dataset = _dataset(path, file, name)
        if dataset is None:
            listed = shown(", ".join(sorted(file)) or "nothing")
            raise InputError(f"{path} has no data set {shown(repr(name), 80)}. It holds: {listed}")
        if not dataset.shape:
            raise InputError(f"{path}: {shown(repr(name), 80)} is a single value, which has no rows")
        return _rows(path, dataset, name)


def read_all(path: Path) -> dict[str, np.ndarray]:
    """Every data set at the top of an HDF5 file that has rows, by its name; raises as `read_array`."""
    with _opened(path) as file:
        found = {name: _dataset(path, file, name) for name in file}
        return {name: _rows(path, one, name) for name, one in found.items() if one is not None and one.shape}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import h5py  # only HDF5 files need it

    if not path.is_file():
        raise MissingData(f"there is no file {path}")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path} is not an HDF5 file, or it is damaged: {shown(error)}") from None
    with file:
        try:
            yield file
        except (
            OSError,
            RuntimeError,
            KeyError,
            TypeError,
            ValueError,
        ) as error:  # as many kinds as h5py raises on damaged files
            raise InputError(f"{path} is damaged: {shown(error)}. Save it again") from None


def _dataset(path: Path, file: Any, name: str) -> Any:
    """The data set, all of which lies in this file; None where there is none of that name."""
    import h5py

    group, parts, links = file, [part for part in name.split("/") if part], 0
    while parts:
        part = parts[0]
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
        if link is None:
            break
        if isinstance(link, h5py.ExternalLink):
            raise _elsewhere(path, name, "an external link", link.filename)
        if isinstance(link, h5py.SoftLink):
            links += 1
            if links > _MOST_LINKS:
                raise InputError(f"{path}: {shown(repr(name), 80)} is a link that leads in a circle. Save the array")
            group = file if link.path.startswith("/") else group
            parts[:1] = [one for one in link.path.split("/") if one not in ("", ".")]
            continue
        group, parts = group[part], parts[1:]
    if parts or not isinstance(group, h5py.Dataset):
        if links:
            raise InputError(f"{path}: {shown(repr(name), 80)} is a link to nothing. Save the array itself")
        return None
    if group.is_virtual:
        raise _elsewhere(path, name, "a virtual data set", group.virtual_sources()[0].file_name)
    if group.external:
        raise _elsewhere(path, name, "external storage", group.external[0][0])
    return group


def _rows(path: Path, dataset: Any, name: str) -> np.ndarray:
    if dataset.nbytes > _MOST_RATIO * path.stat().st_size + _SPARE_BYTES:
        raise InputError(
            f"{path}: {shown(repr(name), 80)} says that it has {dataset.nbytes:,} bytes, more than its file can hold. "
            "Save it again"
        )
    try:
        return np.asarray(dataset[:])
    except MemoryError:
        raise InputError(
            f"{path}: {shown(repr(name), 80)} takes {dataset.nbytes:,} bytes, too many for this memory. Give fewer"
        ) from None
    except OSError as error:
        raise InputError(f"{path} is damaged: {shown(repr(name), 80)} cannot be read: {shown(error)}") from None


def _elsewhere(path: Path, name: str, kind: str, other: object) -> InputError:
    return InputError(
        f"{path}: {shown(repr(name), 80)} is {kind}: its numbers lie in {shown(repr(other), 120)}. Only what is in the "
        "file itself is read. Save the array into one file: file.create_dataset(NAME, data=ARRAY)"
    )
