"""Every slice lies where its own header says, or the scan is refused: series and MetaImages of any geometry."""

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from test_dicom import write_slice

from edgekit.edge_runtime.errors import InputError
from edgekit.train.data.ct import read_scan, voxel_at
from edgekit.train.data.dicom import read_series

SLICES = 5
angles = st.floats(-np.pi, np.pi)
few = settings(max_examples=25, deadline=None)


def turned(a: float, b: float, c: float) -> np.ndarray:
    """(3, 3): a rotation by three angles."""
    turn_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    return turn_z @ turn_y @ turn_x


def write_series(folder, rotation, origins, *, across=None):
    """Slices at `origins` (D, 3), named in an order that is none of the body; numbers with six digits, as scanners."""
    across, down = rotation[0] if across is None else across, rotation[1]
    for k, origin in enumerate(origins):
        place = {"ImagePositionPatient": [round(float(x), 6) for x in origin]}
        cosines = [round(float(x), 6) for x in (*across, *down)]
        write_slice(folder, f"{(3 * k) % len(origins)}.dcm", k, ImageOrientationPatient=cosines, **place)


def worst_mm(volume, origins) -> float:
    """How far a slice lies at most from its own position; the pixels say which slice one is."""
    numbers = np.round(volume.hu[:, 0, 0] + 24).astype(int)
    places = [volume.patient_mm((k, 0, 0)) for k in range(len(numbers))]
    return float(np.linalg.norm(np.array(places) - np.asarray(origins)[numbers], axis=1).max())


@given(angles, angles, angles, st.floats(0.3, 6), st.sampled_from([1, -1]))
@few
def test_a_right_angled_series_is_read_whichever_way_it_is_turned_or_flipped(tmp_path_factory, a, b, c, step, sign):
    folder, rotation = tmp_path_factory.mktemp("series"), turned(a, b, c)
    origins = np.array([-50.0, 20.0, 300.0]) + sign * step * np.arange(SLICES)[:, None] * rotation[2]
    write_series(folder, rotation, origins)
    volume = read_series(folder)
    assert worst_mm(volume, origins) < 1e-3
    assert volume.spacing_mm[0] == pytest.approx(step, abs=1e-4)
    corner = volume.patient_mm((0, 1, 2)) - volume.patient_mm((0, 0, 0))
    np.testing.assert_allclose(corner, rotation[1] * 0.5 + rotation[0] * 2 * 0.25, atol=1e-5)


@given(angles, angles, angles, st.floats(0.3, 6), st.lists(st.floats(-4, 4), min_size=3 * SLICES, max_size=3 * SLICES))
@few
def test_any_other_places_are_followed_or_refused(tmp_path_factory, a, b, c, step, moved):
    folder, rotation = tmp_path_factory.mktemp("series"), turned(a, b, c)
    # From not at all to far: some of these are within rounding, most are not.
    size = abs(moved[0]) ** 3 / 64
    origins = step * np.arange(SLICES)[:, None] * rotation[2] + size * np.reshape(moved, (SLICES, 3))
    write_series(folder, rotation, origins)
    try:
        volume = read_series(folder)
    except InputError:
        return
    assert worst_mm(volume, origins) <= max(0.01 * volume.spacing_mm[0], 0.011) + 1e-6


@pytest.mark.parametrize("degrees", [0.5, 15.0, -25.0])
def test_a_tilted_gantry_is_refused_with_its_angle(tmp_path, degrees):
    tilt = np.deg2rad(degrees)
    rotation = np.array([[1, 0, 0], [0, np.cos(tilt), np.sin(tilt)], [0, -np.sin(tilt), np.cos(tilt)]])
    write_series(tmp_path, rotation, [(-50, -60, 3 * k) for k in range(20)])
    with pytest.raises(InputError, match=f"shift sideways as they go on, by {abs(degrees):.1f} degrees, as those of a"):
        read_series(tmp_path)


def test_gaps_that_differ_a_little_must_not_add_up(tmp_path):
    """Each gap is within 1 % of the median, and in 40 slices they come to more than half a millimetre."""
    write_series(tmp_path, np.eye(3), [(0, 0, 3 * k + 0.0004 * k * k) for k in range(40)])
    with pytest.raises(InputError, match="the gaps between its slices differ: .* mm off its own ImagePositionPatient"):
        read_series(tmp_path)


def test_positions_of_two_digits_are_close_enough(tmp_path):
    origins = [(0, 0, round(0.625 * k, 2)) for k in range(30)]
    write_series(tmp_path, np.eye(3), origins)
    assert worst_mm(read_series(tmp_path), origins) <= 0.011


@pytest.mark.parametrize(
    ("across", "message"),
    [
        ((1, 0.1, 0), "are not of length 1 and at right angles"),
        ((1.1, 0, 0), "are not of length 1"),
        ((0, 0, 0), "not"),
    ],
)
def test_sheared_or_stretched_slices_are_refused(tmp_path, across, message):
    write_series(tmp_path, np.eye(3), [(0, 0, 3 * k) for k in range(3)], across=np.array(across, float))
    with pytest.raises(InputError, match=message):
        read_series(tmp_path)


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("PixelSpacing", [0, 1]),
        ("PixelSpacing", [1, -1]),
        ("ImagePositionPatient", [1, 2]),
        ("PixelSpacing", [1, 2, 3]),
    ],
)
def test_numbers_that_are_no_geometry_are_refused(tmp_path, tag, value):
    write_slice(tmp_path, "a.dcm", 0, **{tag: value})
    with pytest.raises(InputError, match=f"a.dcm.*{tag}"):
        read_series(tmp_path)


def write_metaimage(folder, matrix):
    """A scan (4, 5, 6) whose header has this TransformMatrix, row by row, to six digits."""
    (folder / "scan.raw").write_bytes(bytes(2 * 4 * 5 * 6))
    numbers = " ".join(f"{value:.6f}" for value in np.ravel(matrix))
    (folder / "scan.mhd").write_text(
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\nTransformMatrix = {numbers}\nOffset = -10 20 -300\n"
        "ElementSpacing = 0.25 0.5 2.5\nDimSize = 6 5 4\nElementType = MET_SHORT\nElementDataFile = scan.raw\n"
    )
    return folder / "scan.mhd"


@given(angles, angles, angles, st.lists(st.sampled_from([1, -1]), min_size=3, max_size=3))
@few
def test_a_metaimage_lies_where_its_own_library_says(tmp_path_factory, a, b, c, signs):
    path = write_metaimage(tmp_path_factory.mktemp("scan"), turned(a, b, c) * np.array(signs)[:, None])
    image, volume = SimpleITK.ReadImage(str(path)), read_scan(path)
    for index in ((0, 0, 0), (3, 4, 5), (1, 2, 3)):
        place = image.TransformIndexToPhysicalPoint(index[::-1])
        np.testing.assert_allclose(volume.patient_mm(index), place, atol=1e-6)
        assert voxel_at(volume, place) == index


@given(angles, st.floats(0.01, 0.5))
@few
def test_a_sheared_metaimage_is_refused(tmp_path_factory, a, shear):
    matrix = turned(a, 0, 0) @ np.array([[1, 0, 0], [0, 1, 0], [0, shear, 1]])
    with pytest.raises(InputError, match="not of length 1 and at right angles"):
        read_scan(write_metaimage(tmp_path_factory.mktemp("scan"), matrix))


def test_a_metaimage_that_does_not_say_how_large_a_voxel_is_is_refused(tmp_path):
    path = write_metaimage(tmp_path, np.eye(3))
    path.write_text(path.read_text().replace("ElementSpacing = 0.25 0.5 2.5\n", ""))
    with pytest.raises(InputError, match="ElementSpacing should be 3 numbers above 0, found none"):
        read_scan(path)
    for wrong in ("0 0.5 2.5", "-0.25 0.5 2.5", "nan 0.5 2.5"):
        write_metaimage(tmp_path, np.eye(3))
        path.write_text(path.read_text().replace("0.25 0.5 2.5", wrong))
        with pytest.raises(InputError, match=f"above 0, found {wrong}"):
            read_scan(path)
