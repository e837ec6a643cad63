"""The comparison of bundles with float weights over a real scan file: what is kept, what runs again, what it needs."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK
import torch
from net_bundles import CROP, TILE, Chances, pack_net
from small_nodules import LUNG_HU, always, ball, thresholding

from edgekit.edge_runtime.errors import MissingData
from edgekit.train.models.luna_malignancy import PUBLISHED as CLASSIFIER
from edgekit.train.nodules.analysis import PUBLISHED_SEGMENTER
from experiments.lung.scans import combine, measure


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A scan of one ball, float weights where the book's lie, and two forms of bundles, one of which finds nothing."""
    root = tmp_path_factory.mktemp("lung")
    hu = np.where(ball((32, 96, 96), (16, 20, 30), 4), 0, LUNG_HU).astype(np.int16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(hu), str(root / "ball.mhd"))
    for name, net in ((PUBLISHED_SEGMENTER, thresholding()), (CLASSIFIER, always(3))):
        path = root / "data" / "book" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"model_state": net.state_dict()}, path)
    pack_net(root / "bundles" / "onnx-fp32" / "unet", "luna_unet", thresholding(), TILE, "mask")
    pack_net(root / "bundles" / "onnx-fp32" / "classifier", "luna_classifier", Chances(3), CROP, "probabilities")
    shutil.copytree(root / "bundles" / "onnx-fp32" / "unet", root / "bundles" / "onnx-int8" / "unet")
    pack_net(root / "bundles" / "onnx-int8" / "classifier", "luna_classifier", Chances(-3), CROP, "probabilities")
    return root


@pytest.fixture(autouse=True)
def data(made, monkeypatch):
    monkeypatch.setenv("EDGEKIT_DATA", str(made / "data"))


def runs(said):
    return [line.removesuffix(": running") for line in said.err.splitlines() if line.endswith(": running")]


def test_a_second_call_runs_only_what_changed(made, tmp_path, capsys):
    bundles = shutil.copytree(made / "bundles", tmp_path / "bundles")
    places = {"bundles": bundles, "work": tmp_path / "work", "results": tmp_path / "found.json"}
    measure(made / "ball.mhd", **places)
    assert runs(capsys.readouterr()) == ["float", "onnx-int8", "onnx-fp32"]
    written = json.loads((tmp_path / "found.json").read_text())
    assert written["scan"]["shape"] == [32, 96, 96]
    assert (written["reference"]["flagged_voxels"], written["reference"]["findings"]) == (257, 1)
    assert (written["forms"]["onnx-fp32"]["findings"], written["forms"]["onnx-int8"]["findings"]) == (1, 0)
    assert written["forms"]["onnx-fp32"]["against_float"]["findings_common"] == 1
    assert written["forms"]["onnx-int8"]["against_float"]["flagged_differ"] == 0
    measure(made / "ball.mhd", **places)
    assert runs(capsys.readouterr()) == []
    shutil.rmtree(bundles / "onnx-int8" / "classifier")
    shutil.copytree(bundles / "onnx-fp32" / "classifier", bundles / "onnx-int8" / "classifier")
    measure(made / "ball.mhd", **places)
    assert runs(capsys.readouterr()) == ["onnx-int8"]
    assert json.loads((tmp_path / "found.json").read_text())["forms"]["onnx-int8"]["findings"] == 1


def test_without_bundles_it_says_how_to_make_them(made, tmp_path):
    places = {"bundles": tmp_path / "none", "work": tmp_path / "work", "results": tmp_path / "found.json"}
    with pytest.raises(MissingData, match=r"python -m experiments\.lung\.bundles"):
        measure(made / "ball.mhd", **places)


def test_two_forms_are_combined_to_tell_what_each_net_does(made, tmp_path):
    fp32, int8 = (made / "bundles" / form for form in ("onnx-fp32", "onnx-int8"))
    for _ in range(2):  # what an earlier call left there is replaced
        both = combine(tmp_path / "both", unet=fp32, classifier=int8)
    content = {path.name: (path / "manifest.json").read_bytes() for path in both.iterdir()}
    assert content == {
        "unet": (fp32 / "unet" / "manifest.json").read_bytes(),
        "classifier": (int8 / "classifier" / "manifest.json").read_bytes(),
    }
