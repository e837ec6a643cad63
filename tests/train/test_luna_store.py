"""The store of crops: what it holds, that it goes on, that a bad scan is skipped, and what it refuses."""

import shutil

import numpy as np
import pytest

from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.errors import EdgekitError, MissingData
from edgekit.edge_runtime.owner import mark
from edgekit.train.data import luna_store
from edgekit.train.data.ct import crop, read_scan, voxel_at
from edgekit.train.data.luna import CANDIDATES, MALIGNANCY, read_annotations, scans
from edgekit.train.data.luna_store import INDEX, prepare, read_index, rows
from edgekit.train.data.nodule_mask import nodule_box, nodule_mask
from edgekit.train.data.synthetic_ct import write_scans


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("synthetic")
    write_scans(root, 4, slices=40, side=96, others=6)
    return root


@pytest.fixture(scope="module")
def store(root, tmp_path_factory):
    store = tmp_path_factory.mktemp("stores") / "store"
    prepare(root, store)
    return store


def contents(store):
    return {path.name: path.read_bytes() for path in store.iterdir()}


def test_the_first_of_every_ten_series_is_validation(store, root):
    index = read_index(store)
    assert [scan.part for scan in index.scans] == ["validation", "train", "train", "train"]
    assert index.origin == "SYNTHETIC scans, which show no patient"
    nodules = len(read_annotations(root / MALIGNANCY))
    assert sum(len(rows(store, part, "mask")) for part in ("train", "validation")) == nodules
    assert len(rows(store, "validation", "crop")) == 6 + sum(rows(store, "validation", "label") > 0)


def test_rows_are_the_scans_own_voxels(store, root):
    """Nodules come first in a scan, malignant and large ones before others."""
    volume = read_scan(scans(root)["SYNTHETIC.1.0000"])
    mine = [one for one in read_annotations(root / MALIGNANCY) if one.series_uid == volume.series_uid]
    first = max(mine, key=lambda one: (one.malignant, one.diameter_mm))
    place = voxel_at(volume, first.center_mm)
    found = rows(store, "validation", "crop")
    assert np.array_equal(found[0], crop(volume.hu, place, (32, 48, 48)))
    assert (rows(store, "validation", "label")[0], found.dtype) == (1 + first.malignant, np.int16)
    assert rows(store, "validation", "diameter_mm")[0] == np.float32(first.diameter_mm)
    middle = crop(nodule_mask(volume.hu, [voxel_at(volume, one.center_mm) for one in mine]), place, (7, 96, 96))[3]
    assert np.array_equal(rows(store, "validation", "mask")[0], middle)


def test_a_box_grows_to_the_nodules_edge_and_stays_in_the_scan():
    hu = np.full((20, 20, 20), -1000)
    hu[4:13, 5:12, 10:] = 0  # reaches the last column
    assert nodule_box(hu, (8, 8, 14)) == (slice(3, 14), slice(4, 13), slice(9, 20))
    assert nodule_mask(hu, [(8, 8, 14)]).sum() == 9 * 7 * 10
    assert nodule_mask(np.full((9, 9, 9), -1000), [(4, 4, 4)]).sum() == 0


def test_two_processes_make_the_same_store(store, root, tmp_path):
    prepare(root, tmp_path / "store", jobs=2)
    assert contents(tmp_path / "store") == contents(store)


def test_an_interrupted_preparation_goes_on_with_the_same_result(store, root, tmp_path):
    """Stopped after two scans, in the middle of writing a third."""
    done = []

    def stop(entry, total):
        done.append(entry.uid)
        if len(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(root, tmp_path / "store", on_scan=stop)
    with (tmp_path / "store" / "train-crop.bin").open("ab") as file:
        file.write(b"half a row")
    with pytest.raises(MissingData, match=f"is unfinished. Run `{EDGEKIT} luna prepare` again: it continues"):
        read_index(tmp_path / "store")
    prepare(root, tmp_path / "store", on_scan=lambda entry, total: done.append(entry.uid))
    assert len(done) == 4
    assert contents(tmp_path / "store") == contents(store)


def test_a_bad_scan_is_skipped_with_its_reason_and_tried_again(root, tmp_path):
    copy = shutil.copytree(root, tmp_path / "scans")
    raw = next((copy / "subset2").glob("*.raw"))
    whole = raw.read_bytes()
    raw.write_bytes(whole[:1000])
    (skipped,) = prepare(copy, tmp_path / "store").skipped
    assert skipped.uid == "SYNTHETIC.1.0002"
    assert "SYNTHETIC.1.0002.raw has 1,000 bytes" in skipped.skipped
    raw.write_bytes(whole)
    assert prepare(copy, tmp_path / "store").skipped == ()


def test_a_place_outside_skips_the_scan_and_names_the_line(root, tmp_path):
    copy = shutil.copytree(root, tmp_path / "scans")
    with (copy / CANDIDATES).open("a") as file:
        file.write("SYNTHETIC.1.0003,900,0,0,0\n")
    lines = len((copy / CANDIDATES).read_text().splitlines())
    (skipped,) = prepare(copy, tmp_path / "store").skipped
    assert f"{CANDIDATES}, line {lines}: the place (900.00, 0.00, 0.00) mm is voxel" in skipped.skipped


def test_no_usable_scan_is_an_error(root, tmp_path):
    copy = shutil.copytree(root, tmp_path / "scans")
    for raw in copy.glob("*/*.raw"):
        raw.unlink()
    with pytest.raises(EdgekitError, match="none of the 4 scans could be used. The first one: "):
        prepare(copy, tmp_path / "store")


def test_a_store_of_other_lists_or_of_something_else_is_left_alone(store, root, tmp_path):
    copy = shutil.copytree(root, tmp_path / "scans")
    (copy / CANDIDATES).write_text((copy / CANDIDATES).read_text().replace("SYNTHETIC.1.0003", "another"))
    with pytest.raises(EdgekitError, match="was prepared from other lists of places"):
        prepare(copy, store)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(EdgekitError, match="holds other files and no index.json"):
        prepare(copy, tmp_path / "mine")


def test_what_is_no_store_is_named(store, tmp_path):
    with pytest.raises(MissingData, match=f"there are no prepared scans in .* run: {EDGEKIT} luna prepare DIR"):
        read_index(tmp_path)
    (tmp_path / INDEX).write_text("{")
    with pytest.raises(EdgekitError, match="index.json is damaged"):
        read_index(tmp_path)
    short = shutil.copytree(store, tmp_path / "short")
    (short / "train-crop.bin").write_bytes(b"")
    with pytest.raises(EdgekitError, match="train-crop.bin is shorter than index.json says"):
        luna_store.rows(short, "train", "crop")


def test_a_run_that_was_killed_before_its_first_scan_can_be_continued(store, root, tmp_path):
    """The index is there before any row is, and what was half-written beside it is swept."""
    place = tmp_path / "store"
    place.mkdir()
    left = place / f".index.json.4194304-17-{mark().split('-')[2]}.abcdefgh.part"
    left.write_text("half")

    def stop(job):
        assert not left.exists()
        with pytest.raises(MissingData, match="is unfinished"):
            read_index(place)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        luna_store.fill(place, "made by the test", "sums", luna_store.scan_jobs(root), stop)
    assert (place / "train-crop.bin").stat().st_size == 0
    shutil.rmtree(place)
    place.mkdir()
    left.write_text("half")
    prepare(root, place)
    assert contents(place) == contents(store)


def test_rows_are_written_whole_or_not_at_all(store, tmp_path):
    names = ("crop", "label", "diameter_mm", "segment")
    parts = {"train": {name: rows(store, "train", name) for name in names} | {"unknown": np.zeros(3)}}
    with pytest.raises(KeyError):
        luna_store.write_rows(tmp_path / "store", "made by the test", parts)
    assert list(tmp_path.iterdir()) == []
