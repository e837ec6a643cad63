"""`edgekit nodules --bundles`: the same findings as from the weights that the bundles were made of; and bad bundles."""

import json

import numpy as np
import pytest
import SimpleITK
import torch
from net_bundles import CROP, TILE, Chances, pack_net
from small_nodules import LUNG_HU, always, ball, thresholding
from typer.testing import CliRunner

from edgekit.cli import app
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.errors import InputError, UsageError
from edgekit.edge_runtime.files import sha256_file
from edgekit.train.checkpoint import save_weights
from edgekit.train.models.luna_unet import LunaUNet
from edgekit.train.nodules.bundles import Tiled, choose_bundles, load_bundle_nets


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    root = tmp_path_factory.mktemp("bundles")
    pack_net(root / "unet", "luna_unet", thresholding(), TILE, "mask")
    pack_net(root / "classifier", "luna_classifier", Chances(3), CROP, "probabilities")
    pack_net(root / "malignancy", "luna_malignancy", Chances(-1), CROP, "probabilities")
    return root


@pytest.mark.parametrize("sides", [(96, 96), (148, 100), (160, 212)])
def test_tiles_answer_as_the_whole_slice(sides):
    torch.manual_seed(3)
    net, hu = LunaUNet().eval(), torch.randn(2, 7, *sides)
    with torch.inference_mode():
        assert torch.allclose(Tiled(net, (96, 96))(hu), net(hu), atol=1e-5)


def test_bundles_find_what_their_weights_find(bundles, tmp_path):
    """Two balls in different tiles, one across a seam; sides that are no multiple of 4."""
    shape = (32, 130, 141)
    dense = ball(shape, (16, 71, 72), 5) | ball(shape, (12, 110, 120), 4)
    image = SimpleITK.GetImageFromArray(np.where(dense, 0, LUNG_HU).astype(np.int16))
    SimpleITK.WriteImage(image, str(tmp_path / "balls.mhd"))
    files = []
    for option, net in (("segmenter", thresholding()), ("classifier", always(3)), ("malignancy", always(-1))):
        save_weights(net, tmp_path / f"{option}.safetensors")
        files += [f"--{option}", str(tmp_path / f"{option}.safetensors")]
    answers = []
    for name, words in (("float", files), ("bundles", ["--bundles", str(bundles)])):
        out = tmp_path / name
        line = ["nodules", str(tmp_path / "balls.mhd"), "--out", str(out), "--top", "0", "--json", *words]
        done = CliRunner().invoke(app, line, catch_exceptions=False)
        assert done.exit_code == 0
        answers.append(json.loads((out / "nodules.json").read_text()))
    wanted, found = answers
    assert found["provenance"]["flagged_voxels"] == wanted["provenance"]["flagged_voxels"] == np.count_nonzero(dense)
    assert len(wanted["findings"]) == 2
    for ours, theirs in zip(found["findings"], wanted["findings"], strict=True):
        for key in ("nodule", "malignant"):
            assert ours.pop(key) == pytest.approx(theirs.pop(key), abs=1e-5)
        assert ours == theirs
    assert found["provenance"]["weights"]["segmenter"] == {
        "file": "unet/model.onnx",
        "sha256": sha256_file(bundles / "unet" / "model.onnx"),
    }


def test_a_folder_without_one_bundle_of_each_net(bundles, tmp_path):
    (tmp_path / "unet").symlink_to(bundles / "unet")
    with pytest.raises(UsageError, match=f"holds no bundle of luna_classifier. Make one: {EDGEKIT} optimize"):
        choose_bundles(tmp_path)
    (tmp_path / "again").symlink_to(bundles / "unet")
    with pytest.raises(UsageError, match="holds 2 bundles of luna_unet: again, unet"):
        choose_bundles(tmp_path)


def test_a_bundle_of_another_net_and_too_small_slices_are_refused(bundles):
    with Bundle.open(bundles / "unet") as unet, pytest.raises(UsageError, match=r"has to take \[1, 1, 32"):
        load_bundle_nets({"classifier": unet})
    with pytest.raises(InputError, match="slices of 48 x 96 pixels cannot be cut"):
        Tiled(LunaUNet(), (96, 96))(torch.zeros(1, 7, 48, 96))
    with pytest.raises(UsageError, match="tiles of 48 x 96 pixels are too small"):
        Tiled(LunaUNet(), (48, 96))


def test_weights_beside_bundles_are_refused(bundles, tmp_path):
    line = ["nodules", str(tmp_path), "--out", str(tmp_path / "out"), "--weights", "book", "--bundles", str(bundles)]
    done = CliRunner().invoke(app, line)
    assert isinstance(done.exception, UsageError) or done.exit_code == 2
    assert not (tmp_path / "out").exists()
