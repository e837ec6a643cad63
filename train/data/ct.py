"""A chest CT from a MetaImage file or a DICOM series, places in the patient as voxels, and crops. Chapters 10 and 13.

Knows geometry and files; `luna.py` knows what is at a place. MetaImage is read by SimpleITK.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.edge_runtime.errors import InputError, MissingData, shown
from edgekit.edge_runtime.native_output import caught_stderr
from edgekit.train.data.dicom import Volume, check_orthonormal, check_spacing, read_series

AIR_HU, CLIP_HU = -1000, 1000  # what the book clips to: air, and dense bone
Index = tuple[int, int, int]

_ELEMENTS = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_FLOAT": "f4",
}
# What else a header may say, and what it has to be: MetaIO reads a scan of another kind as if nothing had been said.
_NUMBERS = r"([-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?(\s+|$)){%d}"
_ALLOWED = {
    "NDims": "3",
    "BinaryData": "(?i:true)",
    "ElementNumberOfChannels": "1",
    "DistanceUnits": r"(?i:mm|\?|)",
    "Modality": r"MET_MOD_(CT|OTHER|UNKNOWN)|\?|",
    "ElementToIntensityFunctionSlope": r"1(\.0*)?",
    "ElementToIntensityFunctionOffset": r"[-+]?0(\.0*)?",
    **dict.fromkeys(("Offset", "Origin", "Position", "CenterOfRotation"), _NUMBERS % 3),
    **dict.fromkeys(("TransformMatrix", "Rotation", "Orientation"), _NUMBERS % 9),
}
_CHUNK = 1 << 22
_HEADER_BYTES = 16_384  # a header is a few hundred bytes of text; in .mha files the voxels follow it


def read_scan(path: Path, *, clip: bool = False) -> Volume:
    """The scan in a MetaImage file (.mhd beside its .raw, or .mha) or in a folder of DICOM slices.

    Args:
        clip: to -1000..1000 HU, as chapters 10 to 12 and 14 do with whole scans.

    Raises:
        MissingData, InputError: as `read_metaimage` and `read_series`.
    """
    volume = read_series(path) if path.is_dir() else read_metaimage(path)
    if clip:
        np.clip(volume.hu, AIR_HU, CLIP_HU, out=volume.hu)
    return volume


def read_metaimage(path: Path) -> Volume:
    """A scan in LUNA16's format. `hu` has the type of the file, int16 in LUNA16; the file's name is the series uid.

    Raises:
        MissingData: the file, or the file of voxels that it names, is missing.
        InputError: the header is damaged, does not describe one volume of numbers, or promises too many voxels.
    """
    import SimpleITK  # only this function's callers need it

    if not path.is_file():
        raise MissingData(f"there is no scan at {path}. Give a .mhd or .mha file, or a folder of DICOM slices")
    header = _read_header(path)
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("MetaImageIO")
    try:
        with caught_stderr():  # its warnings; what keeps it from reading is in the exception
            if header.is_compressed:  # where the voxels end early, SimpleITK fills up with whatever was in memory
                reader.ReadImageInformation()
                hu = _inflated(path, header)
            else:
                hu = SimpleITK.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:  # SimpleITK's only kind; its line with the reason names the class first
        lines = str(error).strip().splitlines()
        reason = next((line for line in lines if "ERROR" in line and "Exception thrown" not in line), lines[-1])
        raise InputError(f"{path} cannot be read as MetaImage: {shown(reason)}. Download it again") from None
    if hu.dtype.kind == "f" and not np.isfinite(hu).all():
        raise InputError(f"{path} has voxels that are NaN or infinite. Export the scan again")
    across, down, along = reader.GetSpacing()
    x, y, z = reader.GetOrigin()
    # SimpleITK's columns are the directions of column, row and slice; ours are rows, slice first.
    orientation = np.array(reader.GetDirection(), np.float64).reshape(3, 3).T[::-1].copy()
    check_spacing((along, down, across), str(path))
    check_orthonormal(orientation, str(path))
    return Volume(
        hu=hu,
        spacing_mm=(along, down, across),
        origin_mm=(x, y, z),
        orientation=orientation,
        series_uid=path.stem,
    )


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What is needed of a MetaImage header to read its voxels."""

    shape: tuple[int, int, int]
    """(slices, rows, columns)."""
    dtype: np.dtype
    """As the voxels are written."""
    voxels: Path
    """The file that they are in."""
    start: int
    """Where they begin in it, in bytes."""
    is_compressed: bool

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def _read_header(path: Path) -> _Header:
    """Refuses files that SimpleITK would pad, read as something else, or fail on without a reason."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        raw = file.read(_HEADER_BYTES)
    # Lines as MetaIO has them, which also takes a colon for an equals sign: it is not to read another header than this.
    lines, header_bytes = raw.decode("latin-1").split("\n"), 0
    for line in lines:
        header_bytes += len(line) + 1
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or ":" in key:
            break
        if key in fields:
            raise InputError(f"{path} says {shown(key, 40)} twice. Export the scan again")
        fields[key] = value
        if key == "ElementDataFile":
            break
    try:
        sides = [int(side) for side in fields["DimSize"].split()]
        element, data = fields["ElementType"], fields["ElementDataFile"]
    except (KeyError, ValueError):
        raise InputError(
            f"{path} is not a MetaImage header: it lacks DimSize, ElementType or ElementDataFile. Download it again"
        ) from None
    _check_fields(path, fields)
    if len(sides) != 3 or min(sides) < 1 or element not in _ELEMENTS or data.startswith("LIST"):
        raise InputError(
            f"{path} is not a scan: found {shown(element, 40)} of size {shown(sides, 80)} in {shown(data, 120)}. Give "
            "one volume of numbers"
        )
    local = data == "LOCAL"
    is_big = "true" in (fields.get(key, "").lower() for key in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"))
    header = _Header(
        shape=(sides[2], sides[1], sides[0]),
        dtype=np.dtype((">" if is_big else "<") + _ELEMENTS[element]),
        voxels=path if local else _beside(path, data),
        start=header_bytes if local else 0,
        is_compressed=fields.get("CompressedData", "False").lower() == "true",
    )
    size = header.voxels.stat().st_size - header.start
    if not header.is_compressed and size < header.bytes:
        raise InputError(
            f"{header.voxels} has {size:,} bytes, its header {path.name} says {header.bytes:,}: it was cut short. "
            "Download it again"
        )
    return header


def _check_fields(path: Path, fields: Mapping[str, str]) -> None:
    spacing = fields.get("ElementSpacing", "none")
    if not re.fullmatch(_NUMBERS % 3, spacing) or min(map(float, spacing.split())) <= 0:
        raise InputError(
            f"{path} does not say how large a voxel is: ElementSpacing should be 3 numbers above 0, found "
            f"{shown(spacing, 80)}. Export the scan again"
        )
    for key, form in _ALLOWED.items():
        if key in fields and not re.fullmatch(form, fields[key]):
            raise InputError(
                f"{path} says {key} = {shown(fields[key] or 'nothing', 80)}, which is not read: only volumes of "
                "one CT, in mm and Hounsfield units, are. Export the scan again"
            )


def _beside(path: Path, data: str) -> Path:
    """The file of voxels, which lies in the header's folder; links may lead both to one other folder."""
    if Path(data).name != data or "\\" in data or "%" in data:
        raise InputError(
            f"{path} names {shown(repr(data), 120)} for its voxels. Only a file beside it is read: move that file, and "
            "give its plain name as ElementDataFile"
        )
    raw = path.parent / data
    if not raw.is_file():
        raise MissingData(f"{path} names {data} for its voxels, which is not beside it. Download both files")
    if raw.resolve().parent not in (path.parent.resolve(), path.resolve().parent):
        raise InputError(
            f"{path} names {data} for its voxels, a link to another folder. Put that file itself beside it"
        )
    return raw


def _inflated(path: Path, header: _Header) -> np.ndarray:
    """The voxels (D, H, W) out of a zlib or gzip stream, which ends where they do."""
    packed, found = zlib.decompressobj(wbits=47), bytearray()  # 47: the stream says which of the two it is
    try:
        with header.voxels.open("rb") as file:
            file.seek(header.start)
            while not packed.eof and len(found) <= header.bytes and (chunk := file.read(_CHUNK)):
                while chunk and len(found) <= header.bytes:
                    found += packed.decompress(chunk, _CHUNK)
                    chunk = packed.unconsumed_tail
    except zlib.error as error:
        raise InputError(f"{header.voxels} is damaged: {error}. Download it again") from None
    if len(found) != header.bytes or not packed.eof:
        raise InputError(
            f"{header.voxels} unpacks to {'more' if len(found) > header.bytes else 'less'} than the {header.bytes:,} "
            f"bytes that its header {path.name} says. Download it again"
        )
    native = header.dtype.newbyteorder("=")
    return np.frombuffer(found, header.dtype).reshape(header.shape).astype(native, copy=False)


def voxel_at(volume: Volume, xyz_mm: Sequence[float], *, where: str = "") -> Index:
    """The voxel (slice, row, column) nearest to a place in the patient.

    The same as the book's `xyz2irc` for scans along the axes, mirrored ones included; all of LUNA16 are. For tilted
    scans the book's answers differ, because it multiplies the inverted directions from the wrong side.

    Args:
        where: file and line that named the place; the error begins with it.

    Raises:
        InputError: the place is outside the scan.
    """
    offset = np.asarray(xyz_mm, np.float64) - volume.origin_mm
    steps = np.linalg.solve(volume.orientation.T, offset) / volume.spacing_mm
    index = np.round(steps).astype(int)
    if not inside(index, volume.hu.shape):
        place = ", ".join(f"{value:.2f}" for value in xyz_mm)
        raise InputError(
            f"{where + ': ' if where else ''}the place ({place}) mm is voxel {tuple(map(int, index))}, outside of scan "
            f"{volume.series_uid}, which has {volume.hu.shape}. Correct the line, or remove it"
        )
    return int(index[0]), int(index[1]), int(index[2])


def inside(index: Sequence[int] | np.ndarray, shape: Sequence[int]) -> bool:
    """Whether (slice, row, column) is a voxel of an array of `shape`."""
    return all(0 <= i < side for i, side in zip(index, shape, strict=True))


def crop_start(center: Sequence[int], width: Sequence[int], shape: Sequence[int]) -> Index:
    """Where a crop of `width` around `center` begins; at a border it is moved inwards, never padded.

    Source: chapter 10, `getRawCandidate`. The middle of an odd width is `center`, or one less for every other center.

    Raises:
        InputError: the scan is smaller than the crop.
    """
    if any(w > side for w, side in zip(width, shape, strict=True)):
        raise InputError(f"a crop of {tuple(width)} voxels does not fit into a scan of {tuple(shape)}")
    starts = (min(max(round(c - w / 2), 0), side - w) for c, w, side in zip(center, width, shape, strict=True))
    i, r, c = starts
    return i, r, c


def crop(hu: np.ndarray, center: Sequence[int], width: Sequence[int]) -> np.ndarray:
    """The part of `hu` (D, H, W) of `width` around `center`, without a copy; raises as `crop_start`."""
    i, r, c = crop_start(center, width, hu.shape)
    return hu[i : i + width[0], r : r + width[1], c : c + width[2]]
