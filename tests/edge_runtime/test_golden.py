"""Golden files: what is saved comes back, and a file that lies about its arrays is refused with what is wrong."""

import io
import zipfile

import numpy as np
import pytest
from hostile_content import HOSTILE_NPY

from edgekit.edge_runtime.bundle.golden import MAX_GOLDEN_BYTES, GoldenSet, load_golden, save_golden, write_arrays
from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.edge_runtime.errors import BundleError
from edgekit.edge_runtime.worker.child import decode_arrays, encode_arrays

INPUT = TensorSpec(name="x", dtype="int64", shape=(1, 2))
OUTPUT = TensorSpec(name="y", dtype="float16", shape=(1, 3, 2))
ANSWERS = np.arange(24, dtype=np.float16).reshape(4, 2, 3).transpose(0, 2, 1)  # (4, 3, 2), not contiguous
GOLDEN = GoldenSet(
    inputs={"x": np.arange(8).reshape(4, 2)},
    outputs={"y": ANSWERS},
    packed={"y": ANSWERS + 1},
    targets=np.array([True, False, True, True]),
)


@pytest.fixture
def path(tmp_path):
    save_golden(tmp_path / "golden.npz", GOLDEN)
    return tmp_path / "golden.npz"


def refusal(path):
    with pytest.raises(BundleError) as error:
        load_golden(path, (INPUT,), (OUTPUT,))
    assert str(error.value).startswith(f"{path}: golden.npz ")
    return str(error.value)


def rewrite(path, changes, **options):
    """The archive with members replaced, and with None taken out."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()} | changes
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, raw in members.items():
            if raw is not None:
                archive.writestr(name, raw)


def test_what_was_saved_comes_back_in_c_order_and_writable(path):
    found = load_golden(path, (INPUT,), (OUTPUT,))
    np.testing.assert_array_equal(found.inputs["x"], GOLDEN.inputs["x"])
    np.testing.assert_array_equal(found.packed["y"], ANSWERS + 1)
    np.testing.assert_array_equal(found.targets, GOLDEN.targets)
    assert (found.outputs["y"].flags.c_contiguous, found.outputs["y"].flags.writeable) == (True, True)


def test_arrays_are_written_as_numpy_writes_them():
    mine, numpys = io.BytesIO(), io.BytesIO()
    write_arrays(mine, {"x": GOLDEN.inputs["x"], "y": ANSWERS})
    np.savez(numpys, x=GOLDEN.inputs["x"], y=ANSWERS)
    assert mine.getvalue() == numpys.getvalue()


def test_arrays_may_have_the_names_of_numpys_own_arguments():
    arrays = {"file": np.arange(3), "allow_pickle": np.arange(4), "self": np.arange(5)}
    found = decode_arrays(encode_arrays(arrays))
    assert {name: len(rows) for name, rows in found.items()} == {"file": 3, "allow_pickle": 4, "self": 5}


def test_objects_are_not_written():
    with pytest.raises(ValueError, match="allow_pickle=False"):
        write_arrays(io.BytesIO(), {"x": np.array([{}])})


def test_answers_that_are_not_known_are_an_empty_column(tmp_path):
    unknown = GoldenSet(inputs=GOLDEN.inputs, outputs=GOLDEN.outputs, packed=GOLDEN.packed, targets=np.zeros((4, 0)))
    save_golden(tmp_path / "g.npz", unknown)
    assert load_golden(tmp_path / "g.npz", (INPUT,), (OUTPUT,)).targets.shape == (4, 0)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"packed/y.npy": None}, "should hold the arrays inputs/x, outputs/y, packed/y, targets and no others"),
        ({"more.npy": b""}, "it differs in 'more.npy'"),
        ({"targets.npy": HOSTILE_NPY["huge shape"]}, "targets.npy is not as long as its shape [1000000000000] says"),
        ({"targets.npy": HOSTILE_NPY["objects"]}, "does not hold little-endian numbers in C order"),
        ({"targets.npy": HOSTILE_NPY["columns first"]}, "does not hold little-endian numbers in C order"),
        ({"targets.npy": HOSTILE_NPY["version 2"]}, "is not in version 1.0 of the npy format"),
        ({"targets.npy": HOSTILE_NPY["empty"]}, "has no targets"),
        ({"targets.npy": HOSTILE_NPY["a scalar"]}, "has no targets"),
        ({"targets.npy": b"nothing"}, "cannot be read"),
    ],
)
def test_arrays_that_are_not_what_they_should_be_are_refused(path, changes, said):
    rewrite(path, changes)
    assert said in refusal(path)


def test_an_array_of_another_shape_or_type_is_refused(path):
    with pytest.raises(
        BundleError, match=r"'inputs/x' should be int32 \[4, 2\], found int64 \[4, 2\]. Pack the bundle"
    ):
        load_golden(path, (TensorSpec(name="x", dtype="int32", shape=(1, 2)),), (OUTPUT,))
    with pytest.raises(BundleError, match=r"'inputs/x' should be int64 \[4, 3\], found int64 \[4, 2\]"):
        load_golden(path, (TensorSpec(name="x", dtype="int64", shape=(1, 3)),), (OUTPUT,))


def test_compressed_arrays_are_refused(path):
    rewrite(path, {}, compression=zipfile.ZIP_DEFLATED)
    assert "is compressed; only stored arrays are read" in refusal(path)


def test_a_size_beyond_the_file_is_refused(path):
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\1\2")
    raw[at + 20 : at + 28] = (1 << 29).to_bytes(4, "little") * 2
    path.write_bytes(raw)
    assert "says its arrays are larger than itself" in refusal(path)


def test_a_file_over_the_limit_is_refused_from_its_size(path):
    with path.open("r+b") as file:
        file.truncate(MAX_GOLDEN_BYTES + 1)  # sparse: takes no space
    assert "is larger than 1,073,741,824 bytes" in refusal(path)


def test_a_damaged_archive_is_refused(path):
    path.write_bytes(path.read_bytes()[:-30])
    assert "cannot be read: File is not a zip file. Fetch the bundle again" in refusal(path)
