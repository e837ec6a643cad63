"""A chest CT from a MetaImage file or a DICOM series, places in the patient as voxels, and crops. Chapters 10 and 13.

Knows geometry and files; `luna.py` knows what is at a place. MetaImage is read by SimpleITK.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekit.edge_runtime.errors import InputError, MissingData, shown
from edgekit.edge_runtime.native_output import caught_stderr
from edgekit.train.data.dicom import Volume, check_orthonormal, read_series

AIR_HU, CLIP_HU = -1000, 1000  # what the book clips to: air, and dense bone
Index = tuple[int, int, int]

_ELEMENT_BYTES = {"MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_FLOAT": 4}
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
    _check_header(path)
    try:
        with caught_stderr():  # its warnings; what keeps it from reading is in the exception
            image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:  # SimpleITK's only kind; its last line has the reason
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"{path} cannot be read as MetaImage: {reason}. Download it again") from None
    across, down, along = image.GetSpacing()
    x, y, z = image.GetOrigin()
    # SimpleITK's columns are the directions of column, row and slice; ours are rows, slice first.
    orientation = np.array(image.GetDirection(), np.float64).reshape(3, 3).T[::-1].copy()
    check_orthonormal(orientation, str(path))
    return Volume(
        hu=SimpleITK.GetArrayFromImage(image),
        spacing_mm=(along, down, across),
        origin_mm=(x, y, z),
        orientation=orientation,
        series_uid=path.stem,
    )


def _check_header(path: Path) -> None:
    """Refuses files that SimpleITK would pad with zeros, or fail on without a reason."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES).decode("latin-1")
    # Lines as MetaIO has them, which also takes a colon for an equals sign: it is not to read another header than this.
    for line in header.split("\n"):
        key, equals, value = line.partition("=")
        if not equals or ":" in key:
            break
        fields[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            break
    try:
        sides = [int(side) for side in fields["DimSize"].split()]
        element, data = fields["ElementType"], fields["ElementDataFile"]
    except (KeyError, ValueError):
        raise InputError(
            f"{path} is not a MetaImage header: it lacks DimSize, ElementType or ElementDataFile. Download it again"
        ) from None
    spacing = fields.get("ElementSpacing", "none")
    if (
        not re.fullmatch(r"(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?(\s+|$)" * 3, spacing)
        or min(map(float, spacing.split())) <= 0
    ):
        raise InputError(
            f"{path} does not say how large a voxel is: ElementSpacing should be 3 numbers above 0, found {spacing}. "
            "Export the scan again"
        )
    if len(sides) != 3 or min(sides) < 1 or element not in _ELEMENT_BYTES or data.startswith("LIST"):
        raise InputError(f"{path} is not a scan: found {element} of size {sides} in {data}. Give one volume of numbers")
    if data != "LOCAL" and (Path(data).name != data or "\\" in data or "%" in data):
        raise InputError(
            f"{path} names {shown(repr(data), 120)} for its voxels. Only a file beside it is read: move that file, and "
            "give its plain name as ElementDataFile"
        )
    if data == "LOCAL" or fields.get("CompressedData", "False").lower() == "true":
        return  # SimpleITK itself notices when these end early
    raw = path.parent / data
    if not raw.is_file():
        raise MissingData(f"{path} names {data} for its voxels, which is not beside it. Download both files")
    wanted, size = int(np.prod(sides)) * _ELEMENT_BYTES[element], raw.stat().st_size
    if size < wanted:
        raise InputError(
            f"{raw} has {size:,} bytes, its header {path.name} says {wanted:,}: it was cut short. Download it again"
        )


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
