"""Scans from MetaImage files, places in the patient and back, and crops; each damaged file named."""

import zlib

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from test_dicom import write_slice

from edgekit.edge_runtime.errors import InputError, MissingData
from edgekit.train.data.ct import crop, crop_start, read_scan, voxel_at
from edgekit.train.data.dicom import Volume

SHAPE = (9, 11, 13)


def write_scan(folder, name="1.2.3.mhd", *, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)):
    """A scan (4, 5, 6) whose voxels count up from -2000, 2.5 mm between slices, 0.5 between rows, 0.25 columns."""
    image = SimpleITK.GetImageFromArray((np.arange(120, dtype=np.int16) * 40 - 2000).reshape(4, 5, 6))
    image.SetSpacing((0.25, 0.5, 2.5))
    image.SetOrigin((-10, 20, -300))
    image.SetDirection(direction)
    SimpleITK.WriteImage(image, str(folder / name))
    return folder / name


@st.composite
def volumes(draw):
    """Scans in any orientation: turned by three angles, each axis as it is or mirrored."""
    a, b, c = (draw(st.floats(-np.pi, np.pi)) for _ in range(3))
    turn_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    mirrored = np.diag([draw(st.sampled_from((1.0, -1.0))) for _ in range(3)])
    numbers = st.floats(0.3, 5)
    return Volume(
        hu=np.zeros(SHAPE, np.int16),
        spacing_mm=(draw(numbers), draw(numbers), draw(numbers)),
        origin_mm=(draw(st.floats(-500, 500)), draw(st.floats(-500, 500)), draw(st.floats(-500, 500))),
        orientation=turn_z @ turn_y @ turn_x @ mirrored,
        series_uid="any",
    )


indices = st.tuples(*(st.integers(0, side - 1) for side in SHAPE))


@given(volumes(), indices, st.tuples(*[st.floats(-0.49, 0.49)] * 3))
@settings(max_examples=60, deadline=None)
def test_a_voxel_is_found_again_from_anywhere_within_it(volume, index, within):
    place = volume.patient_mm(np.add(index, within))
    if all(0 <= i + w <= side - 1 for i, w, side in zip(index, within, SHAPE, strict=True)):
        assert voxel_at(volume, place) == index


@given(indices, st.tuples(*(st.integers(2, side) for side in SHAPE)))
@settings(max_examples=60, deadline=None)
def test_a_crop_has_its_width_holds_its_center_and_stays_inside(center, width):
    start = crop_start(center, width, SHAPE)
    for begin, middle, size, side in zip(start, center, width, SHAPE, strict=True):
        assert 0 <= begin <= side - size
        assert begin <= middle < begin + size
        if middle - size / 2 >= 0 and middle + size / 2 <= side:
            assert begin == round(middle - size / 2)


def test_crops_at_the_borders_are_moved_not_padded():
    hu = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    assert np.array_equal(crop(hu, (0, 5, 12), (4, 4, 4)), hu[0:4, 3:7, 9:13])
    with pytest.raises(InputError, match=r"a crop of \(10, 4, 4\) voxels does not fit into a scan of \(9, 11, 13\)"):
        crop(hu, (0, 0, 0), (10, 4, 4))


def test_a_metaimage_and_its_geometry(tmp_path):
    volume = read_scan(write_scan(tmp_path))
    assert (volume.hu.shape, volume.hu.dtype, volume.series_uid) == ((4, 5, 6), np.int16, "1.2.3")
    assert (volume.spacing_mm, volume.origin_mm) == ((2.5, 0.5, 0.25), (-10.0, 20.0, -300.0))
    assert volume.patient_mm((3, 2, 4)).tolist() == [-9.0, 21.0, -292.5]
    assert voxel_at(volume, (-9, 21, -292.5)) == (3, 2, 4)
    clipped = read_scan(tmp_path / "1.2.3.mhd", clip=True).hu
    assert np.array_equal(clipped, volume.hu.clip(-1000, 1000))


@pytest.mark.parametrize("direction", [(-1, 0, 0, 0, -1, 0, 0, 0, 1), (0.6, -0.8, 0, 0.8, 0.6, 0, 0, 0, 1)])
def test_places_are_those_of_simpleitk(tmp_path, direction):
    path = write_scan(tmp_path, direction=direction)
    image, volume = SimpleITK.ReadImage(str(path)), read_scan(path)
    for index in ((0, 0, 0), (3, 4, 5), (1, 2, 3)):
        place = image.TransformIndexToPhysicalPoint(index[::-1])
        assert volume.patient_mm(index) == pytest.approx(place)
        assert voxel_at(volume, place) == index


def test_the_books_formula_agrees_on_mirrored_scans(tmp_path):
    """((xyz - origin) @ inverse(direction)) / spacing, rounded, reversed: chapter 10's `xyz2irc`."""
    volume = read_scan(write_scan(tmp_path, direction=(-1, 0, 0, 0, -1, 0, 0, 0, 1)))
    place = np.array([-10.9, 18.8, -294.9])
    steps = ((place - volume.origin_mm) @ np.linalg.inv(np.diag([-1, -1, 1]))) / np.array([0.25, 0.5, 2.5])
    assert voxel_at(volume, place) == tuple(np.round(steps).astype(int)[::-1])


def test_a_place_outside_is_named_with_its_line(tmp_path):
    volume = read_scan(write_scan(tmp_path))
    message = (
        r"candidates.csv, line 7: the place \(0.00, 20.00, -300.00\) mm is voxel \(0, 0, 40\), outside of scan 1.2.3"
    )
    with pytest.raises(InputError, match=message):
        voxel_at(volume, (0, 20, -300), where="candidates.csv, line 7")


def test_a_raw_file_cut_short_is_named(tmp_path):
    path = write_scan(tmp_path)
    raw = tmp_path / "1.2.3.raw"
    raw.write_bytes(raw.read_bytes()[:200])
    with pytest.raises(InputError, match="1.2.3.raw has 200 bytes, its header 1.2.3.mhd says 240: it was cut short"):
        read_scan(path)
    raw.unlink()
    with pytest.raises(MissingData, match="names 1.2.3.raw for its voxels, which is not beside it"):
        read_scan(path)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("DimSize", "Size", "is not a MetaImage header: it lacks DimSize"),
        ("6 5 4", "6 5", r"is not a scan: found MET_SHORT of size \[6, 5\]"),
        ("MET_SHORT", "MET_COLOUR", "is not a scan: found MET_COLOUR"),
        ("NDims = 3", "NDims = nine", "says NDims = nine, which is not read"),
    ],
)
def test_a_damaged_header_is_named(tmp_path, before, after, message):
    path = write_scan(tmp_path)
    path.write_text(path.read_text().replace(before, after))
    with pytest.raises(InputError, match=message):
        read_scan(path)


@pytest.mark.parametrize("compressed", ["False", "True"])
@pytest.mark.parametrize("named", ["{elsewhere}/1.2.3.raw", "../elsewhere/1.2.3.raw", "./1.2.3.raw", "a%02d.raw 1 3 1"])
def test_voxels_in_another_folder_are_not_read(tmp_path, named, compressed):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "scans").mkdir()
    write_scan(tmp_path / "elsewhere")
    path = write_scan(tmp_path / "scans")
    header = path.read_text().replace("1.2.3.raw", named.format(elsewhere=tmp_path / "elsewhere"))
    path.write_text(header.replace("CompressedData = False", f"CompressedData = {compressed}"))
    with pytest.raises(InputError, match="Only a file beside it is read"):
        read_scan(path)


@pytest.mark.parametrize(
    "line", ["ElementDataFile: {elsewhere} = x", "Comment = a\x85ElementDataFile = LOCAL", "ElementDataFile : LOCAL"]
)
def test_a_header_that_metaio_reads_otherwise_is_refused(tmp_path, line):
    path = write_scan(tmp_path)
    (tmp_path / "elsewhere").write_bytes(bytes(240))
    header = path.read_bytes().replace(b"1.2.3.raw", bytes(tmp_path / "elsewhere"))
    first = line.format(elsewhere=tmp_path / "elsewhere").encode("latin-1") + b"\n"
    path.write_bytes(header.replace(b"ElementDataFile", first + b"ElementDataFile"))
    with pytest.raises(InputError, match="Only a file beside it is read|is not a MetaImage header"):
        read_scan(path)


def test_no_scan_there(tmp_path):
    with pytest.raises(MissingData, match="there is no scan at"):
        read_scan(tmp_path / "gone.mhd")


def test_a_dicom_folder_is_a_scan_too(tmp_path):
    for name, z in (("a.dcm", 2000), ("b.dcm", 1997), ("c.dcm", 2003)):
        write_slice(tmp_path, name, z)
    clipped = read_scan(tmp_path, clip=True)
    assert clipped.hu.max() == 1000  # of 1979
    assert voxel_at(clipped, (-10 + 2 * 0.25, -20 + 0.5, 2003)) == (2, 1, 2)


def compressed(folder, change=lambda packed: packed):
    path = write_scan(folder)
    raw = folder / "1.2.3.raw"
    raw.write_bytes(change(zlib.compress(raw.read_bytes())))
    path.write_text(path.read_text().replace("CompressedData = False", "CompressedData = True"))
    return path


def test_compressed_voxels_are_those_that_were_packed(tmp_path):
    expected = read_scan(write_scan(tmp_path))
    volume = read_scan(compressed(tmp_path))
    assert np.array_equal(volume.hu, expected.hu)
    assert (volume.hu.dtype, volume.spacing_mm) == (expected.hu.dtype, expected.spacing_mm)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda packed: packed[:-9], "unpacks to less than the 240 bytes"),
        (lambda packed: zlib.compress(bytes(100)), "unpacks to less than the 240 bytes"),
        (lambda packed: zlib.compress(bytes(10**7)), "unpacks to more than the 240 bytes"),
        (lambda packed: b"none" * 60, "is damaged"),
    ],
)
def test_compressed_voxels_that_end_early_are_not_filled_up_with_memory(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        read_scan(compressed(tmp_path, change))


@pytest.mark.parametrize(
    "line",
    [
        "DistanceUnits = cm",
        "Modality = MET_MOD_MR",
        "ElementToIntensityFunctionSlope = 2",
        "ElementNumberOfChannels = 2",
        "Origin = nan 0 0",
        "Position = x",
        "Rotation = 1 0 0 0 1",
        "NDims = 4",
        "DimSize = 2 2 2",
    ],
)
def test_a_header_that_means_another_scan_than_is_read_is_refused(tmp_path, line):
    path = write_scan(tmp_path)
    path.write_text(path.read_text().replace("ElementType", f"{line}\nElementType"))
    with pytest.raises(InputError, match="which is not read|twice"):
        read_scan(path)


def test_voxels_behind_a_link_to_another_folder_are_not_read(tmp_path):
    (tmp_path / "there").mkdir()
    path = write_scan(tmp_path)
    (tmp_path / "1.2.3.raw").rename(tmp_path / "there" / "1.2.3.raw")
    (tmp_path / "1.2.3.raw").symlink_to(tmp_path / "there" / "1.2.3.raw")
    with pytest.raises(InputError, match="a link to another folder"):
        read_scan(path)
    path.rename(tmp_path / "there" / path.name)
    path.symlink_to(tmp_path / "there" / path.name)  # both of them, as a tree of links has it
    assert read_scan(path).hu.shape == (4, 5, 6)
