"""A CT series: the book's real chest scan, and small made-up series that are wrong in one way each."""

import random

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from edgekit.edge_runtime.errors import InputError, MissingData
from edgekit.train.data.dicom import read_series

SERIES = generate_uid()


def write_slice(folder, name, z, *, series=SERIES, drop=(), **tags):
    """A slice of 2 × 3 pixels at height z, every raw value z + 1000, so that HU are z - 24."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    made = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    made.SeriesInstanceUID, made.Rows, made.Columns = series, 2, 3
    made.ImagePositionPatient, made.ImageOrientationPatient = [-10, -20, z], [1, 0, 0, 0, 1, 0]
    made.PixelSpacing, made.RescaleSlope, made.RescaleIntercept = [0.5, 0.25], 1, -1024
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
    made.PixelData = np.full((2, 3), z + 1000, "<u2").tobytes()
    for tag, value in tags.items():
        setattr(made, tag, value)
    for tag in drop:
        delattr(made, tag)
    made.save_as(folder / name, enforce_file_format=True)


def test_the_books_scan(data_root):
    folder = data_root / "book" / "p1ch4" / "volumetric-dicom" / "2-LUNG 3.0  B70f-04083"
    if not folder.is_dir():
        pytest.skip(f"the book's CT is not in {data_root}")
    volume = read_series(folder)
    assert (volume.hu.shape, volume.hu.dtype) == ((99, 512, 512), np.float32)
    assert volume.spacing_mm == (3.0, 0.564453125, 0.564453125)
    assert volume.patient_mm((98, 0, 0)).tolist() == [-143.2177734375, -287.2177734375, volume.origin_mm[2] + 294]
    heights = {path: float(pydicom.dcmread(path).ImagePositionPatient[2]) for path in folder.glob("*.dcm")}
    lowest = min(heights, key=heights.get)
    assert lowest.name != "000000.dcm"  # file names are in no order of the body
    assert np.array_equal(volume.hu[0], pydicom.dcmread(lowest).pixel_array.astype(np.float32) - 1024)
    assert volume.hu.min() >= -1024
    assert np.median(volume.hu[:, 200:300, 120:160]) < -700  # lung is mostly air


def test_slices_are_sorted_by_position_and_rescaled(tmp_path):
    for name, z in (("a.dcm", 5), ("b.dcm", -1), ("c.dcm", 2)):
        write_slice(tmp_path, name, z)
    (tmp_path / "LICENSE").write_text("not DICOM, and passed over")
    volume = read_series(tmp_path)
    assert volume.hu[:, 0, 0].tolist() == [-25, -22, -19]
    assert (volume.spacing_mm, volume.origin_mm) == ((3.0, 0.5, 0.25), (-10.0, -20.0, -1.0))
    assert volume.orientation.tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert volume.patient_mm((2, 1, 2)).tolist() == [-9.5, -19.5, 5.0]


def test_another_slope_counts(tmp_path):
    write_slice(tmp_path, "a.dcm", 0, RescaleSlope=0.5, RescaleIntercept=-10, SliceThickness=3)
    volume = read_series(tmp_path)
    assert (volume.hu[0, 0, 0], volume.spacing_mm[0]) == (490, 3.0)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"z": 3, "series": generate_uid()}, "SeriesInstanceUID is .* in a.dcm and .* in b.dcm"),
        ({"z": 3, "Rows": 1}, "Rows is 2 in a.dcm and 1 in b.dcm"),
        ({"z": 3, "drop": ["RescaleSlope", "PixelSpacing"]}, "b.dcm has no PixelSpacing, RescaleSlope"),
        ({"z": 0}, "two slices lie at one place"),
        ({"z": 9}, "a slice is missing or out of place: b.dcm lies 6.000 mm after c.dcm at 3.000 mm"),
        ({"z": 3, "drop": ["PixelData"]}, "the pixels of .*b.dcm cannot be decoded"),
    ],
)
def test_what_makes_no_volume_is_named(tmp_path, second, message):
    for name, z in (("a.dcm", 0), ("c.dcm", -3), ("d.dcm", -6)) if second["z"] != 9 else (("a.dcm", 0), ("c.dcm", 3)):
        write_slice(tmp_path, name, z)
    if second["z"] == 9:
        write_slice(tmp_path, "e.dcm", -3)
    write_slice(tmp_path, "b.dcm", **second)
    with pytest.raises(InputError, match=message):
        read_series(tmp_path)


def test_no_slices_and_no_folder(tmp_path):
    with pytest.raises(MissingData, match="holds no DICOM slices"):
        read_series(tmp_path)
    with pytest.raises(MissingData, match="is not a folder"):
        read_series(tmp_path / "gone")


def test_a_dcm_file_that_is_none_is_damaged(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"cut short")
    with pytest.raises(InputError, match=r"a.dcm is damaged, or not a DICOM file"):
        read_series(tmp_path)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"RescaleSlope": 0}, "RescaleSlope is 0"),
        ({"RescaleType": "OD"}, "not a slice of a CT in Hounsfield units.*RescaleType OD"),
        ({"Modality": "MR"}, "not a slice of a CT in Hounsfield units: its Modality is MR"),
        ({"NumberOfFrames": 2}, "frames: 2"),
        ({"SamplesPerPixel": 3}, "numbers for each pixel: 3"),
        ({"SliceThickness": -3}, "voxels are -3, 0.5, 0.25 mm apart"),
        ({"PixelSpacing": [0.5, 1e-9]}, "mm apart"),
        ({"PixelData": bytes(48)}, r"has pixels \[4, 2, 3\], and says 2 x 3"),
    ],
)
def test_one_slice_that_is_no_ct_in_hounsfield_units_is_refused(tmp_path, tags, message):
    write_slice(tmp_path, "a.dcm", 0, **tags)
    with pytest.raises(InputError, match=message):
        read_series(tmp_path)


@pytest.mark.parametrize("text", [b"nan ", b"abc ", b"1\\2 ", b"1e999 "])
@pytest.mark.parametrize("tag", ["RescaleSlope", "RescaleIntercept", "SliceThickness"])
def test_a_number_that_is_none_is_named(tmp_path, tag, text):
    write_slice(tmp_path, "a.dcm", 0, **{tag: "123456"[: len(text)]})
    raw = (tmp_path / "a.dcm").read_bytes()
    (tmp_path / "a.dcm").write_bytes(raw.replace(b"123456"[: len(text)] + b" " * (len(text) % 2), text))
    with pytest.raises(InputError, match=f"{tag} should be 1 number"):
        read_series(tmp_path)


def test_whatever_is_in_its_tags_a_series_is_read_or_refused(tmp_path):
    write_slice(tmp_path, "a.dcm", 0)
    raw, draw = (tmp_path / "a.dcm").read_bytes(), random.Random(0)
    read = 0
    for _ in range(300):
        spoiled = bytearray(raw)
        for _ in range(3):
            spoiled[draw.randrange(300, len(raw))] = draw.choice((0, 255, draw.randrange(256)))
        (tmp_path / "a.dcm").write_bytes(spoiled)
        try:
            volume = read_series(tmp_path)
        except (InputError, MissingData):
            continue
        assert volume.hu.ndim == 3
        assert np.isfinite(volume.hu).all()
        read += 1
    assert read > 0
