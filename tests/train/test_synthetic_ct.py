"""Synthetic scans: LUNA16's files, nodules where the lists say, the same again, and marked as what they are."""

import numpy as np
import pytest

from edgekit.edge_runtime.errors import UsageError
from edgekit.edge_runtime.tasks.detection_metrics import auc
from edgekit.train.data.ct import read_scan, voxel_at
from edgekit.train.data.luna import ANNOTATIONS, CANDIDATES, MALIGNANCY, read_annotations, read_candidates, scans
from edgekit.train.data.synthetic_ct import MARK_FILE, make_scan, write_scans


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic")
    write_scans(root, 3, slices=40, side=96, others=5)
    return root


def test_the_files_are_luna16s(made):
    paths = scans(made)
    assert [path.relative_to(made).as_posix() for path in paths.values()] == [
        f"subset{n}/SYNTHETIC.1.000{n}.mhd" for n in range(3)
    ]
    volume = read_scan(paths["SYNTHETIC.1.0001"])
    assert (volume.hu.shape, volume.hu.dtype, volume.spacing_mm) == ((40, 96, 96), np.int16, (1.25, 0.7, 0.7))
    assert -1024 <= volume.hu.min() < -900
    assert volume.hu.max() > 300
    assert "show no patient" in (made / MARK_FILE).read_text()


def test_every_nodule_is_dense_and_where_the_lists_say(made):
    volumes = {uid: read_scan(path) for uid, path in scans(made).items()}
    annotations = read_annotations(made / MALIGNANCY)
    assert len(annotations) >= 3
    for one in annotations:
        volume = volumes[one.series_uid]
        i, r, c = voxel_at(volume, one.center_mm, where=one.where)
        assert np.median(volume.hu[i - 1 : i + 2, r - 1 : r + 2, c - 1 : c + 2]) > -200
        assert one.diameter_mm >= 3.5
    assert [one.center_mm for one in annotations] == [one.center_mm for one in read_annotations(made / ANNOTATIONS)]


def test_candidates_are_the_nodules_and_five_others_a_scan(made):
    candidates = read_candidates(made / CANDIDATES)
    assert sum(one.nodule for one in candidates) == len(read_annotations(made / ANNOTATIONS))
    assert sum(not one.nodule for one in candidates) == 15


def test_the_same_number_and_seed_give_the_same_scan():
    first, again, other = (make_scan(4, seed=seed, slices=40, side=96, others=2) for seed in (1, 1, 2))
    assert np.array_equal(first.hu, again.hu)
    assert (first.nodules, first.others_mm) == (again.nodules, again.others_mm)
    assert not np.array_equal(first.hu, other.hu)


def test_there_are_both_kinds_and_malignant_ones_are_larger_on_average():
    nodules = [nodule for n in range(8) for nodule in make_scan(n, slices=64, side=128, others=1).nodules]
    sizes = {bad: [n.diameter_mm for n in nodules if n.malignant is bad] for bad in (True, False)}
    assert min(map(len, sizes.values())) >= 2, sizes
    assert np.mean(sizes[True]) > np.mean(sizes[False])


def test_a_malignant_nodule_is_mottled_inside_and_a_benign_one_is_not():
    """In a square of 7 voxels around the middle of nodules of 9 mm and more; of a benign one only noise is there."""
    spread = {True: [], False: []}
    for scan in (make_scan(n, slices=72, others=0) for n in (0, 2, 4, 5)):
        for nodule in scan.nodules:
            place = (np.array(nodule.center_mm) - scan.origin_mm)[::-1] / (1.25, 0.7, 0.7)
            i, r, c = place.round().astype(int)
            if nodule.diameter_mm >= 9:
                spread[nodule.malignant].append(scan.hu[i, r - 3 : r + 4, c - 3 : c + 4].std())
    assert min(map(len, spread.values())) >= 2, spread
    assert min(spread[True]) > 1.5 * max(spread[False])


def test_what_cannot_be_made_is_refused(tmp_path):
    with pytest.raises(UsageError, match="too small for the book's crops. Use at least 40 slices of 96 x 96"):
        make_scan(0, slices=32, side=96)
    with pytest.raises(UsageError, match="0 scans: at least 1 is needed"):
        write_scans(tmp_path, 0)
    (tmp_path / "subset0").mkdir()
    with pytest.raises(UsageError, match="holds scans that are not synthetic; the two must not be mixed"):
        write_scans(tmp_path, 1)


@pytest.mark.slow
def test_the_diameter_alone_says_little_about_malignancy():
    """Drawn, it has an area of 0.78; small lungs leave out the largest nodules."""
    nodules = [nodule for n in range(40) for nodule in make_scan(n, slices=48, side=144, others=0).nodules]
    area = auc(np.array([n.diameter_mm for n in nodules]), np.array([n.malignant for n in nodules]))
    assert 0.6 < area < 0.85
