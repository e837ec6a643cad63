"""HDF5: the book's points, an array bit for bit, and what is wrong with a file."""

import h5py
import numpy as np
import pytest
import torch

from edgekit.edge_runtime.errors import InputError, MissingData
from edgekit.train.data.digits import digits
from edgekit.train.data.hdf5 import read_array


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
