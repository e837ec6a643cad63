"""`golden.npz`: real inputs and what the float model answered to them. Plain arrays, never pickled objects.

    inputs/<name>            (N, …)  one row a sample, as the device feeds them, batch axis dropped to N
    outputs/<name>           (N, …)  the float model's answers
    packed/<engine>/<name>   (N, …)  the artifact's own answers when it was packed, of each engine that ran it
    targets                  (N, …)  the true answers

In format 1 `packed/<name>` are the answers of one engine, which is not named. This module knows nothing about engines;
`replay` runs them.
"""

from __future__ import annotations

import math
import re
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from ..arrays import Arrays
from ..errors import BundleError, shown
from ..files import write_atomically
from .limits import MAX_GOLDEN_BYTES, MAX_MEMBER_NAME, MAX_RANK
from .manifest import Program, TensorSpec

ONE_OF_SEVERAL = ("probabilities", "logits", "log_probabilities")  # outputs with one number for each label
UNNAMED = ""  # the engine of format 1's `packed` answers
_CHUNK = 1 << 20
_END = struct.Struct("<4s4H2LH")  # the end record of a zip archive
# The header of an array in a golden file of format 2.
_HEADER = re.compile(
    rb"\{'descr': '(\|[biu]1|<[iu][248]|<f[248])', 'fortran_order': False, "
    rb"'shape': \(((?:0|[1-9][0-9]{0,17}),|(?:0|[1-9][0-9]{0,17})(?:, (?:0|[1-9][0-9]{0,17}))+|)\), \} *\n"
)
_ENTRY_BYTES = 46 + MAX_MEMBER_NAME + 64  # of its directory, for one member


@dataclass(frozen=True, kw_only=True)
class GoldenSet:
    """Golden samples in memory; each array has one row for each sample."""

    inputs: Arrays
    """What the model gets."""
    outputs: Arrays
    """What the float model answered."""
    packed: dict[str, Arrays]
    """What the artifact answered when it was packed, by `EngineRun.key`."""
    targets: np.ndarray
    """The true answers."""

    @property
    def samples(self) -> int:
        return len(self.targets)

    def sample(self, index: int) -> Arrays:
        """The inputs of one sample, with a batch axis of 1."""
        return {name: rows[index : index + 1] for name, rows in self.inputs.items()}

    def own_answers(self, engine: str = "") -> Arrays | None:
        """The artifact's own answers when it was packed; None if it was never run.

        Args:
            engine: an engine as a session names it, "onnxruntime 1.32.0". Its answers are returned if it was among
                those that ran, else those of the first.
        """
        name = engine.split(" ")[0]
        matching = (answers for key, answers in self.packed.items() if name and key.rpartition("-")[0] == name)
        return next(matching, next(iter(self.packed.values()), None))


def save_golden(path: Path, golden: GoldenSet) -> None:
    """Writes `golden.npz` atomically: uncompressed, so equal content gives equal bytes and no size can be hidden."""
    arrays: Arrays = {"targets": golden.targets}
    for group in ("inputs", "outputs"):
        arrays |= {f"{group}/{name}": rows for name, rows in getattr(golden, group).items()}
    for engine, answers in golden.packed.items():
        arrays |= {f"{_prefix(engine)}/{name}": rows for name, rows in answers.items()}
    with write_atomically(path) as part, part.open("wb") as file:
        write_arrays(file, {name: np.ascontiguousarray(rows) for name, rows in arrays.items()})


def write_arrays(file: BinaryIO, arrays: Mapping[str, np.ndarray], *, compression: int = zipfile.ZIP_STORED) -> None:
    """Writes arrays as `.npz`, the same bytes for the same arrays; no objects.

    Not `np.savez`, which takes them as keywords: one called `file` collides with its own, and so, in some versions of
    numpy, does `allow_pickle`.
    """
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, rows in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(rows), allow_pickle=False)


def load_golden(path: Path, program: Program) -> GoldenSet:
    """Reads a program's `golden.npz` and checks every array against its tensors.

    The number of members is checked before the archive's directory is read. Memory for an array is taken only once its
    size was found to match its member and the file.

    Raises:
        BundleError: compressed or oversized members, pickled objects, a missing or additional array, a wrong dtype or
            shape.
    """
    engines = [run.key for run in program.engines] if program.golden.replay != "joint" else [UNNAMED]
    groups = {"inputs": program.inputs, "outputs": program.outputs}
    groups |= dict.fromkeys(map(_prefix, engines), program.outputs)
    names = ["targets", *(f"{kind}/{spec.name}" for kind, specs in groups.items() for spec in specs)]
    try:
        arrays = _read_arrays(path, names, exact=program.golden.replay != "joint")
    except BundleError:
        raise
    except Exception as error:  # numpy and zipfile raise many kinds on damaged files
        raise BundleError(f"{path}: golden.npz cannot be read: {shown(error)}. Fetch the bundle again") from None
    targets = arrays["targets"]
    if targets.ndim == 0 or len(targets) == 0:
        raise BundleError(f"{path}: golden.npz has no targets. Pack the bundle again")
    if program.golden.replay != "joint":
        _check_targets(path, program, targets)
    rows = {
        kind: {spec.name: _rows(path, arrays, f"{kind}/{spec.name}", spec, len(targets)) for spec in specs}
        for kind, specs in groups.items()
    }
    packed = {engine: rows[_prefix(engine)] for engine in engines}
    return GoldenSet(inputs=rows["inputs"], outputs=rows["outputs"], packed=packed, targets=targets)


def _check_targets(path: Path, program: Program, targets: np.ndarray) -> None:
    """Where the first output picks one of several labels, a true answer is the index of one, or not known.

    Where it picks one for each of several places, a place whose target is below 0 does not count.
    """
    first = program.outputs[0]
    if first.holds not in ONE_OF_SEVERAL or targets.shape == (len(targets), 0):
        return
    classes, expected = (*first.shape, 1)[1], (len(targets), *first.shape[2:])
    right = targets.dtype.kind in "iu" and targets.shape == expected
    if not right or (targets.ndim == 1 and targets.min() < 0) or targets.max() >= classes:
        raise BundleError(
            f"{path}: golden.npz array 'targets' should be whole numbers {list(expected)} from 0 to {classes - 1}, "
            f"found {targets.dtype} {list(targets.shape)[:9]}. Pack the bundle again"
        )


def _prefix(engine: str) -> str:
    return f"packed/{engine}" if engine else "packed"


def _read_arrays(path: Path, names: Sequence[str], *, exact: bool) -> Arrays:
    """Exactly the arrays `names`; raises BundleError, or whatever zipfile and numpy raise on damaged files.

    Args:
        exact: as in `_read_array`.
    """
    if path.stat().st_size > MAX_GOLDEN_BYTES:
        raise BundleError(f"{path}: golden.npz is larger than {MAX_GOLDEN_BYTES:,} bytes")
    _check_directory(path, len(names))
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise BundleError(f"{path}: golden.npz is compressed; only stored arrays are read")
        if any(member.compress_size != member.file_size for member in members):
            raise BundleError(f"{path}: golden.npz has a stored array of two sizes. Fetch the bundle again")
        # Members may overlap: then a small file unpacks to a large one.
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise BundleError(f"{path}: golden.npz says its arrays are larger than itself. Fetch the bundle again")
        # `filename` would end at a zero byte.
        wanted, found = sorted(f"{name}.npy" for name in names), sorted(member.orig_filename for member in members)
        if wanted != found:
            difference = sorted(set(wanted) ^ set(found)) or found
            listed = ", ".join(sorted(names)[:9]) + (", …" if len(names) > 9 else "")
            raise BundleError(
                f"{path}: golden.npz should hold the arrays {listed} and no others; it differs in "
                f"{difference[0][:80]!r}. Pack the bundle again"
            )
        return {member.filename.removesuffix(".npy"): _read_array(archive, member, exact=exact) for member in members}


def _check_directory(path: Path, members: int) -> None:
    """Refuses an archive whose directory does not fit this number of members, before the directory is read.

    For every entry of the directory, however many there are, zipfile builds an object of some 400 bytes.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _END.size))
        end = file.read(_END.size)
        if len(end) < _END.size or not end.startswith(b"PK\5\6"):
            raise BundleError(
                f"{path}: golden.npz is not a zip archive, or it was cut short or extended. Fetch the bundle again"
            )
        file.seek(max(0, size - _END.size - 20))
        zip64 = file.read(4) == b"PK\6\7"
    _, disk, directory_disk, here, count, length, at, comment = _END.unpack(end)
    if (disk, directory_disk, comment) != (0, 0, 0) or here != count or zip64 or at + length + _END.size != size:
        raise BundleError(f"{path}: golden.npz has a directory that no npz file has. Fetch the bundle again")
    if count != members or length > members * _ENTRY_BYTES:
        raise BundleError(
            f"{path}: golden.npz says it has {count:,} members with {length:,} bytes of directory; this bundle has "
            f"{members:,}. Pack the bundle again"
        )


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, *, exact: bool) -> np.ndarray:
    """One `.npy` of version 1.0: numbers, little-endian, in C order, as long as it says. Raises ValueError and more.

    Args:
        exact: the header is written just as numpy writes it. Format 1 takes other spellings of the same dictionary.
    """
    with archive.open(member) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{member.filename} is not in version 1.0 of the npy format")
        if exact:
            shape, is_fortran, dtype = _exact_header(file, member.filename)
        else:
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype.kind not in "biuf" or dtype.byteorder == ">" or is_fortran or min(shape, default=0) < 0:
            raise ValueError(f"{member.filename} does not hold little-endian numbers in C order")
        size = math.prod(shape) * dtype.itemsize
        if file.tell() + size != member.file_size:
            raise ValueError(f"{member.filename} is not as long as its shape {list(shape)[:9]} says")
        array = np.empty(shape, dtype)
        raw, at = array.reshape(-1).view(np.uint8).data, 0
        while chunk := file.read(_CHUNK):  # to the end, where zipfile compares the CRC-32
            raw[at : at + len(chunk)] = chunk
            at += len(chunk)
        if at != size:
            raise ValueError(f"{member.filename} is cut short")
    return array


def _exact_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and type from the one form that numpy writes; nothing is evaluated."""
    found = _HEADER.fullmatch(file.read(int.from_bytes(file.read(2), "little")))
    shape = tuple(map(int, re.findall(rb"[0-9]+", found[2]))) if found else ()
    if not found or len(shape) > MAX_RANK:
        raise ValueError(f"{name} does not hold little-endian numbers in C order, or not in the form that numpy writes")
    return shape, False, np.dtype(found[1].decode("ascii"))


def _rows(path: Path, arrays: Mapping[str, np.ndarray], key: str, spec: TensorSpec, rows: int) -> np.ndarray:
    found = arrays[key]
    expected = (rows, *spec.shape[1:])
    if found.dtype != spec.dtype or found.shape != expected:
        raise BundleError(
            f"{path}: golden.npz array {key!r} should be {spec.dtype} {list(expected)}, "
            f"found {found.dtype} {list(found.shape)}. Pack the bundle again"
        )
    return found
