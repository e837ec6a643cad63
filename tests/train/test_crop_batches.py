"""Balancing and augmentation of crops: patterns of kinds, one map a sample, the book's slips, and masks that follow."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.train.book_model import FitConfig
from edgekit.train.dataset import Split
from edgekit.train.loop.crop_batches import CropBatches
from edgekit.train.preprocess import Clip

CONFIG = FitConfig(epochs=1, batch_size=4, learning_rate=1)
KINDS = np.array([0] * 9 + [1] * 2 + [2] * 3)


def crops(**settings):
    """14 crops of 4 x 6 x 6 voxels; the first voxel tells which it is."""
    inputs = np.zeros((14, 1, 4, 6, 6), np.int16)
    inputs[:, 0, 0, 0, 0] = np.arange(14)
    split = Split(inputs=inputs, targets=(KINDS == 2).astype(np.int64), kinds=KINDS)
    return CropBatches(split, replace(CONFIG, **settings), inputs=Clip(-1000, 1000), device="cpu")


def rows(batches, epoch=1):
    return batches.take(batches.begin(epoch))[0][:, 0, 0, 0, 0].tolist()


def test_every_sample_once_where_nothing_is_balanced():
    batches = crops()
    assert sorted(rows(batches)) == list(range(14))
    assert rows(batches, 1) == rows(crops(), 1) != rows(batches, 2)
    assert sorted(rows(crops(epoch_samples=28))) == sorted([*range(14)] * 2)


def test_half_of_every_batch_are_nodules():
    split = Split(inputs=np.zeros((5, 1, 4, 6, 6), np.int16), targets=np.array([0, 0, 0, 1, 1]))
    config = replace(CONFIG, balance="nodules", epoch_samples=8)
    batches = CropBatches(split, config, inputs=nn.Identity(), device="cpu")
    assert [int(batches.take(batch)[1].sum()) for batch in batches.begin(1).split(4)] == [2, 2]


def test_malignant_ones_are_half_and_the_others_benign_and_none():
    found = KINDS[np.int64(rows(crops(balance="malignancy", epoch_samples=24)))].reshape(6, 4)
    assert [sorted(batch) for batch in found.tolist()] == [[0, 1, 2, 2]] * 6
    assert len(set(map(tuple, found.tolist()))) > 1  # in no fixed order


def test_no_sample_comes_twice_while_others_are_left():
    found = rows(crops(balance="malignancy", epoch_samples=24))
    assert len({row for row in found if KINDS[int(row)] == 0}) == 6


def test_a_kind_that_is_missing_is_refused():
    split = Split(inputs=np.zeros((2, 1, 4, 6, 6)), targets=np.array([0, 0]))
    with pytest.raises(ValueError, match="balancing nodules needs samples of kind 1, and there are none"):
        CropBatches(split, replace(CONFIG, balance="nodules"), inputs=nn.Identity(), device="cpu")


def maps(augment, axes=3):
    shape = (8, 1, 4, 6, 6) if axes == 3 else (8, 7, 6, 6)
    split = Split(inputs=np.zeros(shape, np.float32), targets=np.zeros(8, np.int64))
    batches = CropBatches(split, replace(CONFIG, augment=augment), inputs=nn.Identity(), device="cpu")
    batches.begin(1)
    return batches._maps


def test_each_sample_has_a_map_of_its_own_with_offset_and_scale():
    found = maps("affine")
    assert (found.shape, len(torch.unique(found, dim=0))) == ((8, 3, 4), 8)
    assert 0 < found[:, :, 3].abs().max() <= 0.1
    sizes = torch.linalg.svdvals(found[:, :, :3])
    assert (sizes.min() >= 0.8, sizes.max() <= 1.2, float(sizes.std()) > 0.01) == (True, True, True)
    assert torch.equal(found[:, 2, :2], torch.zeros(8, 2))  # slices stay slices: turned in rows and columns alone


def test_a_rigid_map_turns_mirrors_and_moves_and_leaves_the_size():
    for axes in (2, 3):
        found = maps("rigid", axes=axes)
        assert torch.allclose(torch.linalg.svdvals(found[:, :, :axes]), torch.ones(len(found), axes), atol=1e-5)
        assert float(found[:, :, axes].std()) > 0.01
        assert len({round(float(one), 4) for one in found[:, 0, 0]}) > len(found) // 2


def test_the_books_map_is_a_batchs_without_offset_or_scale():
    found = maps("book")
    assert (found.shape, len(torch.unique(found, dim=0))) == ((8, 3, 4), 2)
    assert torch.equal(found[:, :, 3], torch.zeros(8, 3))
    assert torch.allclose(torch.linalg.svdvals(found[:, :, :3]), torch.ones(8, 3), atol=1e-6)
    scaled = torch.linalg.svdvals(maps("book", axes=2)[:, :, :2])  # its segmentation scales
    assert float(scaled.std()) > 0.01


def test_masks_move_with_their_slices():
    random = np.random.default_rng(1)
    picture = np.kron(random.integers(0, 2, (4, 1, 6, 6)), np.ones((1, 1, 8, 8))).astype(np.float32)
    split = Split(inputs=np.repeat(1000 * picture, 3, axis=1), targets=picture)
    batches = CropBatches(split, replace(CONFIG, augment="affine"), inputs=nn.Identity(), device="cpu")
    inputs, masks = batches.take(batches.begin(1))
    assert set(masks.unique().tolist()) == {0, 1}
    assert (inputs[:, 1:2] > 500).float().eq(masks).float().mean() > 0.99
    assert float((inputs[:, 0] - inputs[:, 1]).std()) == pytest.approx(25 * 2**0.5, rel=0.05)  # each has its own noise


def test_shares_of_a_batch_are_what_one_process_takes():
    whole, share = crops(augment="book"), crops(augment="book")
    order = whole.begin(3)
    share.begin(3)
    assert torch.equal(whole.take(order[:4])[0][1::2], share.take(order[1:4:2])[0])
