"""The data sets: what each split holds is fixed for ever, and data that are not there or damaged are reported."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from edgekit.edge_runtime.errors import MissingData
from edgekit.train.data.cifar import birds_and_airplanes
from edgekit.train.data.digits import digits
from edgekit.train.dataset import Split


@pytest.fixture(scope="module")
def uci():
    return digits()


@pytest.fixture(scope="module")
def birds(data_root):
    if not (data_root / "cifar-10-batches-py").is_dir():
        pytest.skip(f"CIFAR-10 is not in {data_root}")
    return birds_and_airplanes()


def test_the_digits_are_the_same_everywhere(uci):
    assert [len(split) for split in (uci.train, uci.calibration, uci.validation)] == [899, 179, 719]
    assert uci.train.inputs.shape == (899, 8, 8, 1)
    assert (uci.train.inputs.dtype, uci.train.targets.dtype) == (np.uint8, np.int64)
    assert (uci.train.inputs.min(), uci.train.inputs.max()) == (0, 255)
    assert uci.sha256() == "4f33c2bc6e16433b8bc5abeca5db03d83941d255679e9237be9108d6fd6231ce"


def test_the_digits_are_split_without_overlap_or_loss(uci):
    splits = (uci.train, uci.calibration, uci.validation)
    found = np.concatenate([np.column_stack([split.inputs.reshape(-1, 64), split.targets]) for split in splits])
    source = load_digits()
    wanted = np.column_stack([np.floor(source.images.reshape(-1, 64) * 255 / 16 + 0.5), source.target])
    assert sorted(map(tuple, found.astype(int))) == sorted(map(tuple, wanted.astype(int)))


@pytest.mark.parametrize(("part", "share"), [("train", 0.5), ("calibration", 0.1), ("validation", 0.4)])
def test_every_digit_has_its_share_of_each_split(uci, part, share):
    counts = np.bincount(getattr(uci, part).targets)
    assert np.abs(counts - share * np.bincount(load_digits().target)).max() <= 1


def test_birds_and_airplanes_are_the_books(birds):
    assert np.bincount(birds.train.targets).tolist() == [5000, 5000]
    assert np.bincount(birds.validation.targets).tolist() == [1000, 1000]
    assert np.bincount(birds.calibration.targets).tolist() == [256, 256]
    assert birds.train.inputs.shape == (10000, 32, 32, 3)
    assert birds.sha256() == "4570c8ee71e1aadedee5dc4ec0314025d62b374dda3fd76b429a3d7aef94f042"


def test_birds_are_calibrated_on_training_pictures_only(birds):
    train, calibration, validation = (
        {picture.tobytes() for picture in split.inputs} for split in (birds.train, birds.calibration, birds.validation)
    )
    assert len(calibration & train) == 512
    assert len(calibration & validation) == 0


def test_a_damaged_file_is_named_and_left_alone(tmp_path, monkeypatch):
    damaged = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    damaged.parent.mkdir()
    damaged.write_bytes(b"not a batch")
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path))
    with pytest.raises(MissingData, match=f"{damaged} is damaged: its MD5 is not CIFAR-10's"):
        birds_and_airplanes()
    assert damaged.read_bytes() == b"not a batch"


def test_a_split_needs_a_target_for_each_input():
    with pytest.raises(ValueError, match="3 inputs and 2 targets"):
        Split(inputs=np.zeros((3, 8, 8, 1), np.uint8), targets=np.zeros(2, np.int64))
