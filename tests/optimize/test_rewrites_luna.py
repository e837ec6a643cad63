"""The 3-D classifier of the book: rewritten, exactly the same; with its published weights, whole in the delegate."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import softmax

from edgekit.edge_runtime.tasks.metrics import relative_error, sqnr_db
from edgekit.optimize.deploy import DeployModel, deploy_book_model, run_module
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.rewrites import FOR_XNNPACK, rewrite
from edgekit.train.data import lidc
from edgekit.train.models.luna_classifier import LunaClassifier
from edgekit.train.registry import book_model

WEIGHTS = "book/part2/models/cls_2020-02-06_14.16.55_final-nodule-nonnodule.best.state"
OF_THE_BOOK = [8.6658777, -10.4369677]  # logits of chapter 15's example, computed in float64


@pytest.fixture(scope="module")
def published(data_root):
    """The classifier without softmax, calibrated on a third of the crops there are, to be compared on others."""
    if not (data_root / WEIGHTS).is_file() or not (data_root / "luna" / "lidc_3d_hu_100px").is_dir():
        pytest.skip(f"the book's classifier or the crops of LIDC are not in {data_root}")
    model = deploy_book_model(replace(book_model("luna_classifier"), data=lidc.crops), data_root / WEIGHTS)
    example = torch.load(data_root / "book" / "p3ch15" / "cls_val_example.pt", weights_only=True)[0][None].numpy()
    with torch.no_grad():
        model.module.head = torch.nn.Identity()
    few = model.calibration["hu"][::3]  # fewer clip the range of the logits
    checked = np.concatenate([example, model.validation["hu"][:: len(model.validation["hu"]) // 8]])
    return replace(model, calibration={"hu": few}, validation={"hu": checked}, targets=None)


def stages(model: DeployModel, exporter: str, recipe: str, folder) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The answers of each stage, and all notes."""
    found, notes = {}, {}
    name, path = model.outputs[0].name, folder / f"model{EXPORTERS[exporter].suffix}"
    for stage in EXPORTERS[exporter].export(model, RECIPES[recipe], path):
        found[stage.kind] = stage.run(model.validation)[name]
        notes |= stage.notes
    return found, notes


@pytest.mark.parametrize("batch", [1, 2])
def test_with_drawn_weights(batch):
    torch.manual_seed(0)
    net = LunaClassifier(((2, 2), (3, 3), (4, 4), (5, 5)), depth=16).eval().requires_grad_(False)
    net.tail_batchnorm.running_mean.fill_(-600.0)
    net.tail_batchnorm.running_var.fill_(150_000.0)
    crop = torch.randint(-1000, 1000, (batch, 1, 16, 48, 48)).float()
    captured = torch.export.export(net, (crop,), strict=False).module()
    applied = rewrite(captured, FOR_XNNPACK)
    assert applied.text == "volumes: batch_norm x1, conv3d x8, max_pool3d x4"
    assert applied.weights["block1_conv1_weight_2d"] == "block1.conv1.weight"
    assert relative_error(net(crop).numpy(), captured(crop).numpy()) <= 1e-5


@pytest.mark.slow
def test_the_published_net_is_delegated_whole_and_answers_as_in_the_book(published, tmp_path):
    wanted = run_module(published, published.module, published.validation)[published.outputs[0].name]
    found, notes = stages(published, "executorch_xnnpack", "fp32", tmp_path)
    assert notes["outside_delegate"] == "nothing"
    assert relative_error(found["capture"], found["rewrite"]) <= 1e-5
    assert relative_error(wanted, found["lower"]) <= 1e-5
    assert found["lower"][0] == pytest.approx(OF_THE_BOOK, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("exporter", ["executorch_xnnpack", "onnx"])
def test_in_8_bits_the_decisions_stay(published, exporter, tmp_path):
    wanted = run_module(published, published.module, published.validation)[published.outputs[0].name]
    found, notes = stages(published, exporter, "w8a8_static", tmp_path)
    last = list(found.values())[-1]
    assert notes["rewrites"].startswith("volumes: batch_norm x1, conv3d x8")
    assert notes.get("outside_delegate", "nothing") == "nothing"
    sure = np.abs(wanted[:, 0] - wanted[:, 1]) > 2
    assert sure.sum() >= 5
    assert (last.argmax(1) == wanted.argmax(1))[sure].all()
    assert sqnr_db(softmax(wanted, axis=1), softmax(last, axis=1)) >= RECIPES["w8a8_static"].sqnr_floor_db
