"""The slices of LIDC-IDRI: their split, their scale, their disc, and the chances to learn from."""

import numpy as np
import pytest
from small_lidc import write_nodules

from edgekit.edge_runtime.errors import MissingData
from edgekit.edge_runtime.tasks.detection_metrics import auc
from edgekit.train.data.lidc_malignancy import FILE, SIDE, draw_discs, malignancy, read_nodules, resample


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path))
    return write_nodules(tmp_path)


def test_no_series_is_on_both_sides_of_the_split(file):
    found = read_nodules()
    held, seen = set(found.series[found.validation]), set(found.series[~found.validation])
    assert not held & seen
    assert len(held) + len(seen) == 20
    data = malignancy()
    assert (len(data.train), len(data.validation)) == (int((~found.validation).sum()), int(found.validation.sum()))
    assert data.validation.groups.tolist() == found.series[found.validation].tolist()
    assert data.validation.targets.tolist() == (found.rating[found.validation] >= 4).astype(int).tolist()


def test_a_nodule_is_as_large_whatever_the_scanners_pixels():
    """A disc of 10 mm, in pixels of 0.5 and of 0.9 mm, covers the same number of pixels afterwards."""
    spacing = np.array([0.5, 0.9])
    away = np.hypot(*np.meshgrid(np.arange(71) - 35, np.arange(71) - 35))
    hu = np.where(away * spacing[:, None, None] < 5, 0, -1000).astype(np.int16)
    areas = (resample(hu, spacing) > -500).sum(axis=(1, 2)) * 0.7**2
    assert areas == pytest.approx(np.pi * 25, rel=0.05)


def test_at_its_own_scale_a_square_stays_as_it_is():
    hu = np.random.default_rng(0).integers(-1000, 1000, (1, 71, 71)).astype(np.int16)
    made = resample(hu, np.array([0.7]))
    middle = hu[0, 3:68, 3:68].astype(np.float32)  # 64 pixels round the middle of 71: each between four
    between = (middle[:-1, :-1] + middle[1:, :-1] + middle[:-1, 1:] + middle[1:, 1:]) / 4
    assert made.shape == (1, SIDE, SIDE)
    assert made[0] == pytest.approx(between, abs=0.01)


def test_the_disc_has_the_nodules_area():
    marked = draw_discs(np.array([6.0, 20.0]))
    assert marked.shape == (2, SIDE, SIDE)
    assert (marked > 0).sum(axis=(1, 2)) * 0.7**2 == pytest.approx(np.pi * np.array([9, 100]), rel=0.1)
    assert (marked.min(), marked.max()) == (-1000, 1000)


def test_a_missing_and_a_damaged_file_are_named(file):
    file.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(MissingData, match=r"lidc_maxslice.* is damaged"):
        read_nodules()
    file.unlink()
    with pytest.raises(MissingData, match=r"lidc_maxslice.* is not there"):
        read_nodules()


def test_the_real_nodules(data_root):
    if not (data_root / FILE).is_file():
        pytest.skip(f"the nodules of LIDC-IDRI are not in {data_root}")
    found = read_nodules()
    held = found.validation
    assert (len(held), int(held.sum()), int((found.rating >= 4).sum())) == (1900, 582, 425)
    assert auc(found.diameter_mm[held], found.rating[held] >= 4) == pytest.approx(0.8989, abs=1e-4)
    assert -1100 < np.median(found.hu[:, 0, 0]) < 100


def test_chances_to_learn_from_follow_the_rating(file):
    found, data = read_nodules(), malignancy("linear")
    expected = (found.rating[~found.validation] - 1) / 4
    assert data.train.targets[:, 1] == pytest.approx(expected)
    assert data.train.targets.sum(axis=1) == pytest.approx(np.ones(len(expected)))
    assert data.validation.groups.tolist() == found.series[found.validation].tolist()
    assert data.validation.targets.tolist() == (found.rating[found.validation] >= 4).astype(int).tolist()
