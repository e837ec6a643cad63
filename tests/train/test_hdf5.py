"""HDF5: the book's points, an array bit for bit, and what is wrong with a file."""

import h5py
import numpy as np
import pytest
import torch

from edgekit.edge_runtime.errors import InputError, MissingData
from edgekit.train.data.digits import digits
from edgekit.train.data.hdf5 import read_all, read_array


def test_an_array_comes_back_bit_for_bit(tmp_path):
    pictures = digits().calibration.inputs
    with h5py.File(tmp_path / "calibration.hdf5", "w") as file:
        file["inputs"] = pictures
    found = read_array(tmp_path / "calibration.hdf5", "inputs")
    assert np.array_equal(found, pictures)
    assert (found.shape, found.dtype) == ((179, 8, 8, 1), np.uint8)


def test_the_books_points(data_root):
    folder = data_root / "book" / "p1ch3"
    if not (folder / "ourpoints.hdf5").is_file():
        pytest.skip(f"the book's points are not in {data_root}")
    points = torch.load(folder / "ourpoints.t", weights_only=True)
    coords = read_array(folder / "ourpoints.hdf5", "coords")
    assert torch.equal(torch.from_numpy(coords), points)


def test_a_damaged_piece_is_named(tmp_path):
    path = tmp_path / "large.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("inputs", data=np.arange(2.0**18), chunks=(2**17,), fletcher32=True)
        offset = file["inputs"].id.get_chunk_info(1).byte_offset
    with path.open("r+b") as raw:
        raw.seek(offset)
        raw.write(b"\xff" * 2**20)
    with pytest.raises(InputError, match="large.hdf5 is damaged: 'inputs' cannot be read"):
        read_array(path, "inputs")


def test_what_holds_no_such_array_is_refused(tmp_path):
    (tmp_path / "text.hdf5").write_text("no HDF5")
    with pytest.raises(InputError, match="text.hdf5 is not an HDF5 file, or it is damaged"):
        read_array(tmp_path / "text.hdf5", "inputs")
    with pytest.raises(MissingData, match="there is no file .*gone.hdf5"):
        read_array(tmp_path / "gone.hdf5", "inputs")
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["coords"], file["one"] = np.ones((3, 4)), 1.0
    with pytest.raises(InputError, match=r"has no data set 'inputs'. It holds: coords, one"):
        read_array(tmp_path / "other.hdf5", "inputs")
    with pytest.raises(InputError, match="'one' is a single value"):
        read_array(tmp_path / "other.hdf5", "one")


def with_external_storage(file, other):
    other.write_bytes(b"private " * 8)
    file.create_dataset("inputs", (8, 8), "u1", external=[(str(other), 0, 64)])


def with_an_external_link(file, other):
    with h5py.File(other, "w") as private:
        private["inputs"] = np.ones((8, 8))
    file["inputs"] = h5py.ExternalLink(str(other), "inputs")


def with_a_link_to_an_external_link(file, other):
    with h5py.File(other, "w") as private:
        private["a/inputs"] = np.ones((8, 8))
    file["elsewhere"] = h5py.ExternalLink(str(other), "a")
    file["inputs"] = h5py.SoftLink("/elsewhere/inputs")


def as_a_virtual_data_set(file, other):
    with h5py.File(other, "w") as private:
        private["inputs"] = np.ones((8, 8))
    layout = h5py.VirtualLayout((8, 8), "f8")
    layout[:] = h5py.VirtualSource(str(other), "inputs", (8, 8))
    file.create_virtual_dataset("inputs", layout)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (with_external_storage, "external storage"),
        (with_an_external_link, "an external link"),
        (with_a_link_to_an_external_link, "an external link"),
        (as_a_virtual_data_set, "a virtual data set"),
    ],
)
@pytest.mark.parametrize("folder", [".", "elsewhere"])
def test_what_lies_in_another_file_is_refused_and_named(tmp_path, make, kind, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    other = tmp_path / folder / "other.h5"
    with h5py.File(tmp_path / "samples.h5", "w") as file:
        make(file, other)
    for read in (lambda: read_array(tmp_path / "samples.h5", "inputs"), lambda: read_all(tmp_path / "samples.h5")):
        with pytest.raises(InputError, match=rf"is {kind}: its numbers lie in '.*other\.h5'\. Only what is in"):
            read()


def test_links_within_the_file_are_followed_and_those_to_nothing_are_named(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a/b/inputs"] = np.ones((3, 4))
        file["inputs"], file["a/near"] = h5py.SoftLink("/a/near/inputs"), h5py.SoftLink("b")
    assert read_all(tmp_path / "x.h5")["inputs"].shape == (3, 4)
    assert read_array(tmp_path / "x.h5", "a/near/inputs").sum() == 12
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file["broken"], file["circle"] = h5py.SoftLink("/a/b/nothing"), h5py.SoftLink("/circle")
    with pytest.raises(InputError, match="'circle' is a link that leads in a circle"):
        read_array(tmp_path / "x.h5", "circle")
    with pytest.raises(InputError, match=r"x\.h5.*'broken'"):
        read_all(tmp_path / "x.h5")


def test_rows_that_were_never_written_take_no_memory(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("inputs", (1 << 40,), "f8", chunks=(1 << 10,))
    with pytest.raises(InputError, match="says that it has 8,796,093,022,208 bytes, more than its file can hold"):
        read_array(tmp_path / "x.h5", "inputs")
