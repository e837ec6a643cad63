"""A user's samples as arrays in .npy, .npz and .h5, with or without true answers; pictures have `picture_samples.py`.

Random noise is made here and nowhere else, and says so. This module knows no model; what does not fit is refused with
the file's name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgekit.edge_runtime.array_file import read_array_file
from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.edge_runtime.errors import InputError, MissingData
from edgekit.train.data import ranked
from edgekit.train.data.hdf5 import read_all

from .signature import Signature

ARRAYS = (".npy", ".npz", ".h5", ".hdf5")
GROUPS = "groups"  # of an array file that says which samples belong together
TARGETS = "targets"


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Raw inputs (N, …) by name, one row a sample.

    `targets` are the true answers, (N,) int64 class indices or (N, …) float32; None where they are not known. `groups`
    (N,) say which samples belong together, such as a patient's. `words` say what the samples are, for people and for
    the manifest; `place` is the file or folder that they come from, "" for memory.
    """

    arrays: Arrays
    targets: np.ndarray | None = None
    groups: np.ndarray | None = None
    words: str
    place: str = ""

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))


def read_arrays(path: Path, signature: Signature) -> Samples:
    """Arrays of a file (.npy, .npz, .h5), or of a folder with one such file, or with one .npy for each input.

    They have the names that the file gives them; `Signature.bound` binds them to those of `forward`.

    Raises:
        InputError: the arrays differ in length, are empty, or hold NaN.
    """
    arrays = dict(_arrays_of(path))
    targets = None if TARGETS in signature.required else arrays.pop(TARGETS, None)
    groups = None if GROUPS in signature.names else arrays.pop(GROUPS, None)
    if not arrays:
        raise InputError(
            f"{path} has no array for the input {signature.first!r}. Name the arrays like the arguments of forward"
        )
    check_rows(arrays if targets is None else arrays | {TARGETS: targets}, str(path))
    count = len(next(iter(arrays.values())))
    if groups is not None and groups.shape != (count,):
        raise InputError(f"{path}: {GROUPS!r} has the shape {groups.shape}. Give one number or name for each sample")
    return Samples(
        arrays=arrays, targets=targets, groups=groups, words=f"{count:,} samples of {path.name}", place=path.name
    )


def check_rows(arrays: Mapping[str, np.ndarray], where: str) -> None:
    """Raises InputError unless all arrays have the same number of rows, at least one, and only finite numbers."""
    rows = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if min(rows.values()) == 0:
        raise InputError(f"{where}: {min(rows, key=rows.__getitem__)!r} is empty. Axis 0 is the samples")
    if len(set(rows.values())) > 1:
        raise InputError(f"{where}: the arrays differ in length: {', '.join(f'{k} {n:,}' for k, n in rows.items())}")
    for name, array in arrays.items():
        if array.dtype.kind not in ("fiub" if name == TARGETS else "fiu"):
            raise InputError(
                f"{where}: {name!r} holds {array.dtype}, a dtype that models do not take. Give int64, uint8 or float32"
            )
        if array.dtype.kind == "f" and not (finite := np.isfinite(array)).all():
            row = int((~finite.reshape(len(array), -1).all(axis=1)).argmax())
            raise InputError(f"{where}: sample {row} of {name!r} holds NaN or infinity. Leave it out, or mend it")


def without(samples: Samples, others: Samples) -> tuple[Samples, int]:
    """`samples` but for those that are in `others` as well, bit for bit, and how many those were.

    Raises:
        InputError: none are left.
    """
    taken = set(_hashes(others))
    kept = np.array([i for i, digest in enumerate(_hashes(samples)) if digest not in taken], dtype=np.int64)
    if not len(kept):
        raise InputError(
            "every calibration sample is in the validation split as well, so its accuracy would be measured on what "
            "the ranges were fitted to. Give other samples with --calibration"
        )
    dropped = len(samples) - len(kept)
    arrays = {name: rows[kept] for name, rows in samples.arrays.items()}
    words = samples.words + (f", but for {dropped:,} that are in the validation split" if dropped else "")
    return replace(samples, arrays=arrays, targets=None, groups=None, words=words), dropped


def fewer(samples: Samples, most: int) -> Samples:
    """At most `most` of them, always the same ones."""
    if len(samples) <= most:
        return samples
    rows = np.sort(ranked(range(len(samples)), seed=1)[:most])
    arrays = {name: array[rows] for name, array in samples.arrays.items()}
    targets, groups = (None if found is None else found[rows] for found in (samples.targets, samples.groups))
    return replace(samples, arrays=arrays, targets=targets, groups=groups, words=f"{most:,} of {samples.words}")


def noise(specs: Sequence[TensorSpec], count: int = 32) -> Samples:
    """Random inputs, normal or over the whole range of bytes, whole numbers 0 and 1: they fit, and prove nothing."""
    draw = np.random.default_rng(0)
    arrays = {}
    for spec in specs:
        shape, dtype = (count, *spec.shape[1:]), np.dtype(spec.dtype)
        if dtype.kind == "f":
            arrays[spec.name] = draw.standard_normal(shape).astype(dtype)
        else:
            arrays[spec.name] = draw.integers(0, 256 if spec.dtype == "uint8" else 2, shape).astype(dtype)
    return Samples(arrays=arrays, words=f"{count} random samples")


def _arrays_of(path: Path) -> dict[str, np.ndarray]:
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in ARRAYS)
        if len(files) == 1:
            return _arrays_of(files[0])
        return {file.stem: array for file in files for array in _arrays_of(file).values()}
    if not path.is_file():
        raise MissingData(f"there is nothing at {path}. Give a folder of pictures, or a file of arrays")
    if path.suffix.lower() in (".h5", ".hdf5"):
        return read_all(path)
    if path.suffix.lower() not in (".npy", ".npz"):
        raise InputError(f"{path} is not a file of arrays. Known: {', '.join(ARRAYS)}")
    try:
        found = read_array_file(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}. Check the path") from None
    return found if isinstance(found, dict) else {path.stem: found}


def _hashes(samples: Samples) -> list[bytes]:
    rows = zip(*samples.arrays.values(), strict=True)
    return [hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in row)).digest() for row in rows]
