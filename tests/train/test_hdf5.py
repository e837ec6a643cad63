"""HDF5 and NumPy: what is written comes back, in part where a part is asked for, and tensors share memory."""

import h5py
import numpy as np
import pytest
import torch

from edgekit.edge_runtime.errors import InputError, MissingData
from edgekit.train.data.digits import digits
from edgekit.train.data.hdf5 import load_split, read_array, save_split
from edgekit.train.dataset import Split


def test_a_calibration_set_comes_back_bit_for_bit(tmp_path):
    split = digits().calibration
    save_split(tmp_path / "calibration.hdf5", split)
    found = load_split(tmp_path / "calibration.hdf5")
    assert np.array_equal(found.inputs, split.inputs)
    assert np.array_equal(found.targets, split.targets)
    assert (found.inputs.dtype, found.targets.dtype) == (np.uint8, np.int64)
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.hdf5"]


def test_a_part_is_read_without_the_rest(tmp_path):
    inputs = np.arange(8 * 2**18, dtype=np.float32).reshape(8, 2**18)  # 8 pieces of 1 MiB
    path = tmp_path / "large.hdf5"
    save_split(path, Split(inputs=inputs, targets=np.arange(8)))
    with h5py.File(path) as file:  # the piece of the first row is then spoilt on disk
        offset = file["inputs"].id.get_chunk_info(0).byte_offset
        assert file["inputs"].chunks == (1, 2**18)
    with path.open("r+b") as raw:
        raw.seek(offset)
        raw.write(b"\xff" * 2**20)
    with pytest.raises(InputError, match="large.hdf5 is damaged: 'inputs' cannot be read"):
        load_split(path)
    found = load_split(path, slice(5, 7))
    assert np.array_equal(found.inputs, inputs[5:7])
    assert found.targets.tolist() == [5, 6]


def test_tensors_and_arrays_share_memory(tmp_path):
    save_split(tmp_path / "a.hdf5", Split(inputs=np.zeros((3, 4), np.float32), targets=np.arange(3)))
    array = load_split(tmp_path / "a.hdf5").inputs
    tensor = torch.from_numpy(array)
    tensor[1, 2] = 7
    assert array[1, 2] == 7
    assert tensor.data_ptr() == array.ctypes.data == tensor.t().numpy().ctypes.data


def test_the_books_points(data_root, tmp_path):
    folder = data_root / "book" / "p1ch3"
    if not (folder / "ourpoints.hdf5").is_file():
        pytest.skip(f"the book's points are not in {data_root}")
    points = torch.load(folder / "ourpoints.t", weights_only=True)
    coords = read_array(folder / "ourpoints.hdf5", "coords")
    assert torch.equal(torch.from_numpy(coords), points)
    assert read_array(folder / "ourpoints.hdf5", "coords", slice(-2, None)).shape == (2, 4)
    save_split(tmp_path / "again.hdf5", Split(inputs=points.numpy(), targets=np.arange(3)))
    assert np.array_equal(load_split(tmp_path / "again.hdf5").inputs, coords)


def test_the_chapters_strides():
    points = torch.tensor([[4.0, 1.0], [5.0, 3.0], [2.0, 1.0]])
    assert (points.stride(), points.t().stride(), points.t().contiguous().stride()) == ((2, 1), (1, 2), (3, 1))
    assert points.t().data_ptr() == points.data_ptr() == points.numpy().T.ctypes.data
    assert torch.zeros(3, 4, 5).transpose(0, 2).stride() == (1, 5, 20)


def test_what_is_no_split_is_refused(tmp_path):
    (tmp_path / "text.hdf5").write_text("no HDF5")
    with pytest.raises(InputError, match="text.hdf5 is no HDF5 file"):
        load_split(tmp_path / "text.hdf5")
    with pytest.raises(MissingData, match="gone.hdf5 is not there"):
        load_split(tmp_path / "gone.hdf5")
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["coords"] = np.ones((3, 4))
    with pytest.raises(InputError, match=r"has no data set 'inputs'. It holds: coords"):
        load_split(tmp_path / "other.hdf5")
    save_split(tmp_path / "a.hdf5", Split(inputs=np.zeros((3, 4)), targets=np.arange(3)))
    with pytest.raises(InputError, match="hold 0 inputs"):
        load_split(tmp_path / "a.hdf5", slice(3, 9))
