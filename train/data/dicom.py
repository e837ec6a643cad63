"""A CT series in DICOM files as one volume in Hounsfield units, its slices in the order of the body. Chapters 4 and 14.

Knows tags and geometry, not what the volume shows. Files are read by pydicom.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.edge_runtime.errors import InputError, MissingData, shown
from edgekit.edge_runtime.format import count_text

_TAGS = (
    "SeriesInstanceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "RescaleSlope",
    "RescaleIntercept",
    "Rows",
    "Columns",
)
_OPTIONAL = ("SliceThickness", "Modality", "RescaleType", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated")
# How far a slice may lie from where even steps along the normal would put it: of the spacing, and in mm. Positions are
# decimal texts, often with two digits, so a scan with a spacing of 0.625 mm is off by 0.005 mm and more.
_OFF, _OFF_MM = 0.01, 0.011
_SPACING_MM = (0.01, 100.0)  # between voxels of a scan; a CT has 0.1 to 10
_MODALITIES, _UNITS = ("", "CT"), ("", "HU", "US")  # none is a CT's as well, and US leaves the unit open
_ORTHONORMAL = 1e-4  # what rounding to six digits leaves of directions that are of length 1 and at right angles


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A scan. Indices are (slice, row, column); patient coordinates x, y, z grow to the left, the back and the head."""

    hu: np.ndarray
    """(D, H, W) float32, or int16 where the file has that; Hounsfield units, -1000 for air and 0 for water."""
    spacing_mm: tuple[float, float, float]
    """Between voxels, along the three indices."""
    origin_mm: tuple[float, float, float]
    """(x, y, z) of voxel (0, 0, 0)."""
    orientation: np.ndarray
    """(3, 3): row k is the direction in which index k grows, as a unit vector (x, y, z) in the patient."""
    series_uid: str
    """The scan's name in DICOM and in LUNA16's lists."""

    def patient_mm(self, index: Sequence[float]) -> np.ndarray:
        """Where the voxel (slice, row, column) lies in the patient: (x, y, z) in mm."""
        steps = np.asarray(index, np.float64) * self.spacing_mm
        return np.asarray(self.origin_mm) + steps @ self.orientation


def read_series(folder: Path) -> Volume:
    """All slices of the one series in `folder`, sorted by their position in the patient, never by file name.

    Files that are not DICOM are ignored, unless their names end in .dcm.

    Raises:
        MissingData: no such folder, or no slices in it.
        InputError: a damaged file, a missing tag, several series, slices of different size or orientation, two slices
            at one place, a gap between slices, a tilted gantry, or another geometry in which a slice would not lie
            where its own ImagePositionPatient says.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, line by line; what keeps a file from being read is an error
        return _series(folder)


def _series(folder: Path) -> Volume:
    slices = _read(folder)
    first_path, first = slices[0]
    for path, slice_ in slices[1:]:
        for tag in ("SeriesInstanceUID", "Rows", "Columns", "ImageOrientationPatient", "PixelSpacing"):
            if slice_[tag].value != first[tag].value:
                raise InputError(
                    f"{folder} mixes slices of different volumes: {tag} is {shown(first[tag].value, 80)} in "
                    f"{first_path.name} and {shown(slice_[tag].value, 80)} in {path.name}. "
                    "Give a folder with the files of one series"
                )
    # A row's index grows down the column of pixels, a column's across the row.
    across, down = _numbers(first_path, first, "ImageOrientationPatient", 6).reshape(2, 3)
    normal = np.cross(across, down)
    orientation = np.stack([normal, down, across])
    check_orthonormal(orientation, str(first_path))
    between_rows, between_columns = map(float, _numbers(first_path, first, "PixelSpacing", 2))
    if min(between_rows, between_columns) <= 0:
        raise InputError(f"{first_path} has a PixelSpacing of {first.PixelSpacing}. Download the series again")
    origins = np.stack([_numbers(path, slice_, "ImagePositionPatient", 3) for path, slice_ in slices])  # (D, 3)
    order = np.argsort(origins @ normal)
    paths, origins = [slices[i][0] for i in order], origins[order]
    spacing = _slice_spacing(paths, origins @ normal, first)
    check_spacing((spacing, between_rows, between_columns), str(folder))
    _check_places(paths, origins, normal, spacing)
    x, y, z = map(float, origins[0])
    return Volume(
        hu=np.stack([_hounsfield(*slices[i]) for i in order]),
        spacing_mm=(spacing, between_rows, between_columns),
        origin_mm=(x, y, z),
        orientation=orientation,
        series_uid=str(first.SeriesInstanceUID),
    )


def check_orthonormal(orientation: np.ndarray, where: str) -> None:
    """Holds the three directions of a scan to length 1 and to right angles: distances in mm are taken along them.

    Raises:
        InputError: they are others; `where` begins the message.
    """
    if not np.abs(orientation @ orientation.T - np.eye(3)).max() <= _ORTHONORMAL:
        rows = "; ".join(", ".join(f"{value:.6g}" for value in row) for row in orientation)
        raise InputError(
            f"{where}: the directions of slice, row and column ({rows}) are not of length 1 and at right angles: the "
            "scan is sheared or stretched. Resample it to a right-angled grid first"
        )


def check_spacing(spacing_mm: Sequence[float], where: str) -> None:
    """Raises InputError where the millimetres between voxels are none that a scanner makes."""
    least, most = _SPACING_MM
    if not all(least <= one <= most for one in spacing_mm):
        listed = ", ".join(f"{one:g}" for one in spacing_mm)
        raise InputError(
            f"{where}: its voxels are {listed} mm apart along slice, row and column; a scan's are {least:g} to "
            f"{most:g} mm. Download or export it again"
        )


def _read(folder: Path) -> list[tuple[Path, Any]]:
    """Each DICOM file, with all the tags that are needed; its pixels are not decoded yet."""
    import pydicom  # only this function's callers need it
    from pydicom.errors import InvalidDicomError

    if not folder.is_dir():
        raise MissingData(f"{folder} is not a folder. Give the folder that holds the .dcm files of one series")
    slices = []
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        try:
            slice_ = pydicom.dcmread(path)
            for tag in (*_TAGS, *_OPTIONAL):
                slice_.get(tag)  # decoded only now; whatever pydicom raises on a damaged one, it raises here
        except InvalidDicomError:
            if path.suffix.lower() == ".dcm":
                raise InputError(f"{path} is damaged, or not a DICOM file. Download it again") from None
            continue
        except Exception as error:  # pydicom raises many kinds on files cut short
            raise InputError(f"{path} cannot be read: {shown(error)}. Download it again") from None
        absent = [tag for tag in _TAGS if slice_.get(tag) is None]
        if absent:
            raise InputError(f"{path} has no {', '.join(absent)}. Only CT slices with these tags make a volume")
        _check_kind(path, slice_)
        slices.append((path, slice_))
    if not slices:
        raise MissingData(f"{folder} holds no DICOM slices. Give the folder that holds the files of one series")
    return slices


def _check_kind(path: Path, slice_: Any) -> None:
    """Raises InputError where a file is not one slice of Hounsfield units."""
    modality, unit = (str(slice_.get(tag) or "") for tag in ("Modality", "RescaleType"))
    if modality not in _MODALITIES or unit not in _UNITS:
        raise InputError(
            f"{path} is not a slice of a CT in Hounsfield units: its Modality is {shown(modality or 'not given', 40)}, "
            f"its RescaleType {shown(unit or 'not given', 40)}. Give the files of a CT series"
        )
    frames, samples = (str(slice_.get(tag) or 1) for tag in ("NumberOfFrames", "SamplesPerPixel"))
    if (frames, samples) != ("1", "1"):
        raise InputError(
            f"{path} says frames: {shown(frames, 40)}, numbers for each pixel: {shown(samples, 40)}. Only files with "
            "one grey slice each make a volume: export the series as such"
        )
    bits = str(slice_.get("BitsAllocated"))
    if bits not in ("8", "16", "32"):
        raise InputError(f"{path} has pixels of {shown(bits, 40)} bits; 8, 16 and 32 are read. Export the series again")


def _slice_spacing(paths: Sequence[Path], places: np.ndarray, first: Any) -> float:
    """Millimetres between neighbours of the sorted `places` (D,); for a single slice its thickness, or 1."""
    if len(places) == 1:
        return float(_numbers(paths[0], first, "SliceThickness", 1)[0]) if first.get("SliceThickness") else 1.0
    gaps = np.diff(places)
    spacing = float(np.median(gaps))
    for i, (place, gap) in enumerate(zip(places, gaps, strict=False)):
        if abs(gap - spacing) > 2 * max(_OFF * spacing, _OFF_MM) or gap <= 0:
            what = "two slices lie at one place" if gap < 1e-3 else "a slice is missing or out of place"
            raise InputError(
                f"{paths[i].parent}: {what}: {paths[i + 1].name} lies {gap:.3f} mm after {paths[i].name} at "
                f"{place:.3f} mm; the others are {spacing:.3f} mm apart. Download the series again, and nothing else"
            )
    # Not the median: what that is off by would add up over hundreds of slices.
    return float((places[-1] - places[0]) / (len(places) - 1))


def _check_places(paths: Sequence[Path], origins: np.ndarray, normal: np.ndarray, spacing: float) -> None:
    """Compares where even steps along the normal lead with each slice's own position (D, 3), both in mm."""
    even = origins[0] + np.arange(len(origins))[:, None] * spacing * normal
    off = np.linalg.norm(origins - even, axis=1)
    worst = int(off.argmax())
    if off[worst] <= max(_OFF * spacing, _OFF_MM):
        return
    step = origins[-1] - origins[0]
    lean = np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1)))
    why = "the gaps between its slices differ"
    if lean > 0.05:
        why = f"its slices shift sideways as they go on, by {lean:.1f} degrees, as those of a tilted gantry do"
    raise InputError(
        f"{paths[worst].parent}: {why}: in even steps along their normal {paths[worst].name} would lie "
        f"{off[worst]:.2f} mm off its own ImagePositionPatient. Resample the series to a right-angled grid of even "
        "steps first"
    )


def _numbers(path: Path, slice_: Any, tag: str, count: int) -> np.ndarray:
    """The finite numbers of a tag (`count`,). Raises InputError."""
    values = slice_[tag].value
    try:
        found = np.array([float(value) for value in ([values] if count == 1 else values)], np.float64)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.shape != (count,) or not np.isfinite(found).all():
        raise InputError(
            f"{path}: {tag} should be {count_text(count, 'number')}, found {shown(values, 80)}. Download it again"
        )
    return found


def _hounsfield(path: Path, slice_: Any) -> np.ndarray:
    (slope,), (intercept,) = (_numbers(path, slice_, tag, 1) for tag in ("RescaleSlope", "RescaleIntercept"))
    if slope <= 0:
        raise InputError(f"{path}: its RescaleSlope is {slope:g}, so its pixels say nothing. Download it again")
    try:
        raw = slice_.pixel_array
    except Exception as error:  # missing pixel data, missing decoders, data cut short: none gives a picture
        raise InputError(f"the pixels of {path} cannot be decoded: {shown(error)}. Download it again") from None
    if raw.shape != (slice_.Rows, slice_.Columns):  # with too many pixels pydicom makes frames of them
        raise InputError(
            f"{path} has pixels {list(raw.shape)}, and says {slice_.Rows} x {slice_.Columns}. Download it again"
        )
    return raw.astype(np.float32) * np.float32(slope) + np.float32(intercept)
