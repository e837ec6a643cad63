"""The comparison of bundles with float weights over a scan: what is kept, what runs again, what it needs."""

import json

import numpy as np
import pytest

from edgekit.edge_runtime.errors import MissingData
from edgekit.train.nodules.report import save_mask
from experiments.lung import scans as nodules_measure


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """Stands in for the command: writes a result whose mask depends on the bundles, and counts the runs."""
    made = []

    def nodules(scan, *, out, bundles, top):
        made.append(out.name)
        out.mkdir(parents=True)
        mask = np.zeros((2, 3, 4), bool)
        mask[0, : 1 if bundles is None else 2] = True
        save_mask(out / "mask.npz", mask)
        weights = {"segmenter": {"file": "x", "sha256": sums[bundles.name if bundles else "float"]}}
        provenance = {"series_uid": "1.2", "groups": 1, "flagged_voxels": int(mask.sum()), "weights": weights}
        provenance["seconds"] = {"segment": 1.5}
        (out / "nodules.json").write_text(json.dumps({"findings": [], "provenance": provenance}))

    sums = {form: f"sum of {form}" for form in ("float", *nodules_measure.FORMS)}
    monkeypatch.setattr(nodules_measure, "nodules", nodules)
    monkeypatch.setattr(nodules_measure, "_complete", lambda folder: folder.is_dir())
    monkeypatch.setattr(
        nodules_measure, "_sums", lambda bundles: {"segmenter": sums[bundles.name if bundles else "float"]}
    )
    for form in ("onnx-int8", "onnx-fp32"):
        (tmp_path / "bundles" / form).mkdir(parents=True)
    return made, sums


def test_a_second_call_runs_only_what_changed(runs, tmp_path):
    made, sums = runs
    places = {"bundles": tmp_path / "bundles", "work": tmp_path / "work", "results": tmp_path / "found.json"}
    nodules_measure.measure(tmp_path / "scan.mhd", **places)
    assert made == ["float", "onnx-int8", "onnx-fp32"]
    written = json.loads((tmp_path / "found.json").read_text())
    assert written["forms"]["onnx-int8"]["against_float"]["flagged_differ"] == 4
    assert written["reference"]["flagged_voxels"] == 4
    nodules_measure.measure(tmp_path / "scan.mhd", **places)
    assert len(made) == 3
    sums["onnx-int8"] = "another file"
    nodules_measure.measure(tmp_path / "scan.mhd", **places)
    assert made[3:] == ["onnx-int8"]


def test_without_bundles_it_says_how_to_make_them(tmp_path):
    with pytest.raises(MissingData, match=r"python -m optimize\.lung\.bundles"):
        nodules_measure.measure(
            tmp_path, bundles=tmp_path / "none", work=tmp_path / "work", results=tmp_path / "found.json"
        )


def test_two_forms_are_combined_to_tell_what_each_net_does(tmp_path, monkeypatch):
    for folder in ("one/unet", "one/classifier", "two/unet", "two/classifier"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "model").write_text(folder)
    nets = {"segmenter": "unet", "classifier": "classifier"}
    monkeypatch.setattr(nodules_measure, "chosen_bundles", lambda root: {net: root / at for net, at in nets.items()})
    for _ in range(2):  # what an earlier call left there is replaced
        made = nodules_measure._combined(tmp_path / "both", tmp_path / "one", tmp_path / "two")
    assert {path.name: (path / "model").read_text() for path in made.iterdir()} == {
        "unet": "one/unet",
        "classifier": "two/classifier",
    }
