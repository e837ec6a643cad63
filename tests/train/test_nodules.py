"""Groups, crops, and the nets on whole scans: what the analysis finds, and where."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from small_nodules import Middle, Share, ball, upright
from torch import nn

from edgekit.edge_runtime.errors import EdgekitError
from edgekit.train.data import lidc
from edgekit.train.data.ct import crop
from edgekit.train.nodules.analysis import (
    Finding,
    analyse,
    ball_diameter_mm,
    choose_weights,
    classify,
    group_voxels,
    load_nets,
    segment,
)
from edgekit.train.nodules.report import picture


def test_blobs_are_groups_and_a_single_voxel_is_none():
    mask = ball((20, 20, 20), (5, 5, 5), 3) | ball((20, 20, 20), (13, 13, 13), 2)
    mask[3, 16, 16] = True
    first, second = group_voxels(mask, np.zeros(mask.shape, np.int16))
    assert first.center == pytest.approx((5, 5, 5))
    assert second.center == pytest.approx((13, 13, 13))
    assert (first.voxels, second.voxels) == tuple(np.count_nonzero(ball((9, 9, 9), (4, 4, 4), r)) for r in (3, 2))
    assert group_voxels(np.zeros_like(mask), np.zeros(mask.shape)) == []


def test_groups_that_touch_by_an_edge_only_are_two():
    left = np.zeros((1, 2, 2), bool)
    left[0, 0, 0] = left[0, 1, 1] = True
    grown = np.kron(left, np.ones((5, 5, 5), bool)).astype(bool)
    assert len(group_voxels(np.pad(grown, 1), np.zeros(np.add(grown.shape, 2)))) == 2


def test_the_centre_is_scipys_weighted_by_density_within_the_books_range():
    random = np.random.default_rng(2)
    hu = random.integers(-2000, 3000, (12, 14, 16)).astype(np.int16)
    mask = ball(hu.shape, (6, 7, 8), 4)
    (found,) = group_voxels(mask, hu)
    weight = np.clip(hu.astype(float), -1000, 1000) + 1001
    wanted = ndimage.center_of_mass(weight, ndimage.binary_erosion(mask), 1)
    assert found.center == pytest.approx(wanted)
    assert math.dist(found.center, (6, 7, 8)) > 0.05


def test_a_balls_diameter_comes_back_from_its_voxels():
    voxels = np.count_nonzero(ball((41, 41, 41), (20, 20, 20), 15))
    assert ball_diameter_mm(voxels, (0.5, 0.5, 0.5)) == pytest.approx(15, rel=0.02)


def test_the_end_slices_are_seen_again_in_place_of_those_beyond():
    """Sides that are no multiples of 4; the first slice's window of seven is four times itself."""
    hu = np.full((9, 10, 13), -900, np.int16)
    hu[[0, 8]] = 50
    mask = segment(hu, Share())
    assert (mask.shape, mask.dtype) == (hu.shape, bool)
    assert mask.all(axis=(1, 2)).tolist() == mask.any(axis=(1, 2)).tolist() == [True, *[False] * 7, True]


def test_each_crop_gets_the_answer_of_its_own_and_is_clipped():
    hu = np.full((40, 60, 60), 3000, np.int16)
    hu[:, :30] = -100
    centers = [(20, 50 if i % 3 else 10, 30) for i in range(11)]  # more than one batch
    wanted = [
        float(
            Middle()(
                torch.from_numpy(crop(hu, c, (32, 48, 48)).astype(np.float32)).clamp(-1000, 1000)[None, None]
            ).softmax(1)[0, 1]
        )
        for c in centers
    ]
    assert classify(hu, centers, Middle()) == pytest.approx(wanted)
    assert len(set(np.round(wanted, 6))) == 2


def test_the_published_nets_find_real_nodules(data_root):
    """In two of LIDC's patients, each within the book's 0.7 of its diameter, and first of all findings there."""
    if not (data_root / "luna").is_dir() or not (data_root / "book" / "part2" / "models").is_dir():
        pytest.skip(f"the real crops or the published checkpoints are not in {data_root}")
    nets = load_nets(choose_weights("book", segmenter=None, classifier=None, malignancy=None))
    for name, diameter_mm in (("LIDC-IDRI-0001_0", 32.8), ("LIDC-IDRI-0055_4", 15.3)):
        volume = upright(lidc.nodule_hu(name), (2.5, 0.703125, 0.703125))
        first = analyse(volume, nets).findings[0]
        assert math.dist(first.center_mm, volume.patient_mm((30, 50, 50))) < 0.7 * diameter_mm
        assert first.diameter_mm == pytest.approx(diameter_mm, rel=0.2)
        assert first.nodule > 0.95


def test_the_picture_circles_the_finding():
    volume = upright(np.where(ball((40, 64, 64), (20, 40, 16), 4), 0, -1000).astype(np.int16), (1, 1, 1))
    finding = Finding(
        number=1, voxel=(20, 40, 16), center_mm=(16, 40, 20), diameter_mm=8, voxels=257, nodule=0.9, malignant=None
    )
    pixels = np.asarray(picture(volume, finding).convert("RGB")).astype(int)[30:, :512]
    rows, columns = np.nonzero(pixels[..., 0] - pixels[..., 2] > 60)  # only the circle has colour
    assert (rows.mean() / 8, columns.mean() / 8) == pytest.approx((40.5, 16.5), abs=0.3)
    assert (rows.max() - rows.min()) / 8 == pytest.approx(1.5 * 8, abs=0.5)
    assert pixels[324, 132].tolist() == [229] * 3  # 0 HU in a window from -1350 to 150


def test_damaged_weights_are_no_silent_none():
    with pytest.raises(EdgekitError, match="the segmenter answers NaN or infinity: its weights are damaged"):
        segment(np.zeros((8, 16, 16)), nn.Sequential(Share(), nn.Threshold(2, math.nan)))
