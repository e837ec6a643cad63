"""`edgekit luna`: from nothing to a store, by the commands' own functions and once as a user types it."""

import json

import numpy as np
import pytest

from edgekit.cli.luna import prepare, samples, synthesize
from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.errors import EdgekitError, MissingData
from edgekit.train.data import lidc, luna_sets


def test_from_nothing_to_a_store(tmp_path, capsys):
    synthesize(tmp_path / "scans", count=2, slices=40, side=96, others=3)
    said = capsys.readouterr()
    assert "2 SYNTHETIC scans in" in said.out
    assert "They show no patient" in said.out
    assert f"next:    {EDGEKIT} luna prepare {tmp_path / 'scans'}" in said.out
    assert prepare(tmp_path / "scans", store=tmp_path / "store")
    assert "SYNTHETIC scans, which show no patient: 2 scans, 2 of them cut now" in capsys.readouterr().out
    assert prepare(tmp_path / "scans", store=tmp_path / "store")
    assert "2 scans, 0 of them cut now" in capsys.readouterr().out


def test_a_skipped_scan_is_said_twice_and_is_no_success(tmp_path, capsys):
    synthesize(tmp_path / "scans", count=2, slices=40, side=96, others=3)
    next((tmp_path / "scans" / "subset1").glob("*.raw")).unlink()
    capsys.readouterr()
    assert not prepare(tmp_path / "scans", store=tmp_path / "store", as_json=True)
    said = capsys.readouterr()
    assert "which is not beside it" in json.loads(said.out)["skipped"]["SYNTHETIC.1.0001"]
    assert "2/2 SYNTHETIC.1.0001: skipped: " in said.err


def test_the_real_crops_as_a_store(tmp_path, data_root, capsys):
    if not (data_root / "luna").is_dir():
        pytest.skip(f"the real crops are not in {data_root}")
    samples(store=tmp_path / "store")
    assert "36 crops to calibrate on, 25 to validate on" in capsys.readouterr().out
    kept, real = luna_sets.nodules(tmp_path / "store"), lidc.crops()
    assert np.array_equal(kept.validation.inputs, real.validation.inputs)
    assert np.array_equal(kept.validation.targets, real.validation.targets)
    assert luna_sets.malignancy(tmp_path / "store").validation.targets.tolist() == [1, 0, 0, 1, 0, 0, 1]
    assert np.array_equal(luna_sets.segments(tmp_path / "store").validation.targets, lidc.slices().validation.targets)
    with pytest.raises(EdgekitError, match="exists already. Remove it, or give another --store"):
        samples(store=tmp_path / "store")


def test_real_crops_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path))
    with pytest.raises(MissingData, match="These real crops cannot be downloaded"):
        samples()


def test_as_a_user_types_it(edgekit, tmp_path):
    made = edgekit("luna", "synthesize", tmp_path / "scans", "--slices", 20)
    assert (made.returncode, made.stderr.count("Traceback")) == (2, 0)
    assert "too small for the book's crops" in made.stderr
    nothing = edgekit("luna", "prepare", tmp_path)
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "error: there are no scans in" in nothing.stderr
