"""A store of synthetic scans made in memory: the rows that their files would give, and it goes on."""

import pytest

from edgekit.edge_runtime.errors import EdgekitError
from edgekit.train.data.luna_store import INDEX, prepare, read_index
from edgekit.train.data.scan_rows import ARRAYS
from edgekit.train.data.synthetic_ct import write_scans
from experiments.luna_lessons.synthetic_store import make_store

SIZE = {"slices": 40, "side": 96, "others": 4}


def rows(store):
    return {path.name: path.read_bytes() for path in store.iterdir() if path.name != INDEX}


def test_rows_are_those_that_the_files_give(tmp_path):
    write_scans(tmp_path / "scans", 3, seed=4, **SIZE)
    prepare(tmp_path / "scans", tmp_path / "from-files")
    made = make_store(tmp_path / "made", 3, seed=4, **SIZE)
    found = rows(tmp_path / "made")
    assert found == rows(tmp_path / "from-files")
    assert sorted(found) == sorted(f"{part}-{array}.bin" for part in ("train", "validation") for array in ARRAYS)
    assert made.scans == read_index(tmp_path / "from-files").scans
    assert made.origin == "SYNTHETIC scans, which show no patient"


def test_what_is_made_is_not_made_again_and_by_two_processes_it_is_the_same(tmp_path):
    calls = []

    def stop(entry, scans):
        calls.append((entry.uid, scans))
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_store(tmp_path / "one", 4, on_scan=stop, **SIZE)
    make_store(tmp_path / "one", 4, on_scan=lambda entry, scans: calls.append((entry.uid, scans)), **SIZE)
    assert calls == [(f"SYNTHETIC.1.{n:04d}", 4) for n in range(4)]
    make_store(tmp_path / "two", 4, jobs=2, **SIZE)
    assert rows(tmp_path / "one") == rows(tmp_path / "two")


def test_a_store_of_other_scans_is_not_gone_on_with(tmp_path):
    make_store(tmp_path / "store", 2, **SIZE)
    with pytest.raises(EdgekitError, match="was prepared from other lists of places"):
        make_store(tmp_path / "store", 2, **{**SIZE, "others": 5})
