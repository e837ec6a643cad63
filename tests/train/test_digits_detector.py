"""The small detector: its scenes, its loss, that it learns, and the way from its weights to a proven bundle."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from edgekit.edge_runtime.tasks.average_precision import matched
from edgekit.edge_runtime.tasks.detection import detections
from edgekit.optimize.deploy import deploy_book_model, run_module
from edgekit.train.checkpoint import save_weights
from edgekit.train.data.digit_scenes import MOST, SIDE, _scenes, digit_scenes, enlarged
from edgekit.train.data.digits import digits
from edgekit.train.dataset import Split
from edgekit.train.loop.detection_loss import detection_loss
from edgekit.train.loop.fit import fit
from edgekit.train.registry import book_model

MODEL = book_model("digits_detector")


@pytest.fixture(scope="module")
def scenes():
    return digit_scenes()


def first(split, count):
    return Split(inputs=split.inputs[:count], targets=split.targets[:count])


def test_the_scenes_are_always_the_same(scenes):
    counts = [len(split) for split in (scenes.train, scenes.calibration, scenes.validation)]
    assert counts == [2000, 58, 236]
    assert scenes.validation.inputs.shape[1:] == (SIDE, SIDE, 1)
    assert scenes.validation.targets.shape[1:] == (MOST, 6)
    assert scenes.sha256().startswith("011b85e75c72e290")


def test_boxes_are_where_the_ink_is_and_do_not_meet(scenes):
    for pixels, boxes in zip(scenes.validation.inputs[:60], scenes.validation.targets[:60], strict=True):
        inside = np.zeros((SIDE, SIDE), int)
        for label, crowd, *box in boxes[boxes[:, 0] >= 0].astype(int).tolist():
            left, top, right, bottom = box
            assert (0 <= label < 10, crowd) == (True, 0)
            ink = pixels[top:bottom, left:right, 0] >= 64
            assert (ink.any(axis=0)[[0, -1]].all(), ink.any(axis=1)[[0, -1]].all()) == (True, True)
            inside[top:bottom, left:right] += 1
        assert inside.max() == 1
        assert pixels[inside == 0].max() <= 48


def test_outside_of_training_every_digit_is_there_at_most_once(scenes):
    held = digits().validation
    shown = int((scenes.validation.targets[..., 0] >= 0).sum())
    assert 0.97 * len(held) < shown <= len(held)
    again = _scenes(held, "validation")
    np.testing.assert_array_equal(again.inputs, scenes.validation.inputs)


def test_enlarging_keeps_levels_and_interpolates_between_them():
    assert enlarged(np.full((8, 8), 7, np.uint8), 20) == pytest.approx(7)
    ramp = enlarged(np.arange(8, dtype=np.uint8)[:, None].repeat(8, 1), 16)
    assert ramp[:, 0] == pytest.approx([0, *np.arange(0.25, 7, 0.5), 7])


def test_the_loss_falls_to_nothing_for_what_is_right_and_asks_for_boxes_in_the_middle_alone():
    places = torch.tensor([[4.0, 4.0], [12.0, 4.0], [4.0, 12.0]])
    targets = torch.tensor([[[1.0, 0, 0, 0, 8, 8], [-1, 0, 0, 0, 0, 0]]])
    boxes = torch.tensor([[[0.0, 0, 8, 8], [50, 50, 51, 51], [-9, 3, 2, 2]]])
    logits = torch.full((1, 3, 2), -20.0)
    logits[0, 0, 1] = 20.0
    assert detection_loss((logits, boxes, places), targets).item() == pytest.approx(0, abs=1e-5)
    moved = boxes + torch.tensor([2.0, 0, 2, 0])  # overlaps by 0.6
    loss = detection_loss((logits, moved, places), targets).item()
    assert loss == pytest.approx(2 * (1 - 0.6 + 0.125) + 20 * 0.4 * 0.4**2, rel=1e-4)
    crowd = targets.clone()
    crowd[0, 0, 1] = 1
    assert detection_loss((logits, moved, places), crowd).item() > 19  # nothing is to be learned there


def test_a_place_in_two_boxes_answers_for_the_smaller_one():
    places = torch.tensor([[8.0, 8.0]])
    targets = torch.tensor([[[0.0, 0, 0, 0, 16, 16], [1, 0, 6, 6, 10, 10]]])
    logits = torch.tensor([[[-20.0, 20.0]]])
    right, wrong = torch.tensor([[[6.0, 6, 10, 10]]]), torch.tensor([[[0.0, 0, 16, 16]]])
    assert detection_loss((logits, right, places), targets).item() == pytest.approx(0, abs=1e-5)
    assert detection_loss((logits, wrong, places), targets).item() > 2


def test_it_learns_and_its_weights_become_a_float_model_that_finds_as_much(scenes, tmp_path):
    small = replace(scenes, train=first(scenes.train, 160), validation=first(scenes.validation, 12))
    model = replace(MODEL, data=lambda: small)
    result = fit(model, tmp_path, config=replace(MODEL.fit, epochs=2), device="cpu")
    losses = [epoch.loss for epoch in result.record.curve]
    assert losses[1] < 0.95 * losses[0]
    assert result.record.metric == "mean_average_precision"
    assert sum(p.numel() for p in MODEL.build().parameters()) == result.record.parameters == 42_430
    deployed = deploy_book_model(model, result.weights)
    assert deployed.training is None
    answers = run_module(deployed, deployed.module, deployed.validation)
    found = detections(answers["scores"], answers["boxes"], MODEL.suppression)
    assert matched(found, small.validation.targets).value == pytest.approx(result.record.value, abs=1e-3)


def test_in_training_it_gives_its_places_too(tmp_path):
    net = MODEL.build()
    logits, boxes, places = net.train()(torch.zeros(2, 1, SIDE, SIDE))
    assert (logits.shape, boxes.shape, places.shape) == ((2, 256, 10), (2, 256, 4), (256, 2))
    assert places[:17].tolist()[::16] == [[2.0, 2.0], [2.0, 6.0]]
    save_weights(net, tmp_path / "weights.safetensors")
    assert len(net.eval()(torch.zeros(1, 1, SIDE, SIDE))) == 2


@pytest.mark.slow
def test_trained_as_it_is_registered_it_reaches_its_aim_and_int8_is_proven(tmp_path, edgekit):
    trained = edgekit("train", "digits_detector", "--device", "cpu", cwd=tmp_path, timeout=900)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    ways = ["--exporter", "onnx", "--exporter", "executorch_xnnpack", "--recipe", "fp32", "--recipe", "w8a8_static"]
    done = edgekit("optimize", "digits_detector", *ways, "--quick", cwd=tmp_path, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    from edgekit.edge_runtime.bundle.bundle import Bundle

    for name in ("onnx", "executorch_xnnpack"):
        for recipe in ("fp32", "w8a8_static"):
            manifest = Bundle.open(tmp_path / "bundles" / f"digits_detector-{name}-{recipe}").manifest
            assert manifest.status == "verified"
            assert manifest.verdict.metric == "mean_average_precision"
            assert manifest.metrics[0].value > MODEL.target.value
