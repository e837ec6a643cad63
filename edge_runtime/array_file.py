"""Arrays out of a .npy or .npz that somebody gives: numbers only, and no more of them than such a file can hold.

numpy alone reads a zip archive under either ending, hands out members that are no arrays as bytes, and unpacks by
methods that make gigabytes of a kilobyte. Knows no model.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from .errors import InputError, shown
from .files import check_plain

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what numpy writes
_MOST_RATIO = 1100  # deflate packs 1,032 to 1
_ADVICE = "Save them with numpy.save or numpy.savez"


def read_array_file(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    """The array in a .npy; those in a .npz by name. What it is follows from the content, whatever the ending.

    Raises:
        OSError: no regular file, or none that can be read.
        InputError: it is damaged, holds Python objects or something else than arrays, or says that it unpacks to more
            than it can hold.
    """
    check_plain(path)
    try:
        with path.open("rb") as file:
            if zipfile.is_zipfile(file):
                return _read_archive(path)
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{path} holds more than fits into this memory. Give fewer samples") from None
    except Exception as error:  # numpy and zipfile raise many kinds on damaged files
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = "it holds Python objects" if "allow_pickle" in str(error) else str(error)
        raise InputError(f"{path} is no .npy or .npz of plain numbers: {shown(reason)}. {_ADVICE}") from None


def _read_archive(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for member in members:
            if not member.filename.endswith(".npy"):
                raise InputError(f"{path} holds {shown(member.filename, 80)!r}, which is no array. {_ADVICE}")
            if member.compress_type not in _METHODS:
                raise InputError(f"{path}: {shown(member.filename, 80)!r} is packed in a way that numpy never uses")
        if len({member.filename for member in members}) < len(members):
            raise InputError(f"{path} holds two arrays of one name. {_ADVICE}")
        # Members may overlap: then a small file unpacks to a large one.
        size, packed = path.stat().st_size, sum(member.compress_size for member in members)
        unpacked = sum(member.file_size for member in members)
        if packed > size or unpacked > _MOST_RATIO * size:
            raise InputError(
                f"{path} says that it unpacks to {unpacked:,} bytes, more than its {size:,} can hold. {_ADVICE}"
            )
        arrays = {}
        for member in members:
            with archive.open(member) as file:
                arrays[member.filename.removesuffix(".npy")] = np.lib.format.read_array(file, allow_pickle=False)
        return arrays
