"""Seeded faults: a wrong stage is caught and named, and nothing is left behind."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from quarters import quarters_model
from torch import nn

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.errors import UsageError, VerificationError
from edgekit.optimize.deploy import NEAR_TIE, Deployable, DeployModel, run_module
from edgekit.optimize.exporters import EXPORTERS, Stage
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.verify import FloatReference
from edgekit.train.preprocess import PixelNormalize

ONNX, FP32, W8A8 = EXPORTERS["onnx"], RECIPES["fp32"], RECIPES["w8a8_static"]


@pytest.fixture(scope="module")
def model() -> DeployModel:
    """Four classes by which quarter of the picture is brightest: a model that is right by construction."""
    net = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 4, bias=False))
    with torch.no_grad():
        net[2].weight.copy_(8 * torch.eye(4))
    return quarters_model(net, name="quarters", samples=96)


@pytest.fixture(scope="module")
def reference(model) -> FloatReference:
    return FloatReference.of(model)


def faulty(kind: str):
    """The ONNX exporter with one more stage of `kind` whose program turns the picture upside down."""

    def export(model, recipe, path: Path):
        yield from ONNX.export(model, recipe, path)
        yield Stage(kind=kind, run=lambda a: run_module(model, model.module, {k: v[:, ::-1] for k, v in a.items()}))

    return replace(ONNX, export=export)


def test_the_model_is_right_by_construction(reference):
    assert reference.metric.value == 1.0
    assert reference.metric.samples == 64


def test_golden_samples_take_the_classes_in_turn(model, reference):
    assert len(reference.golden_indices) == 32
    assert set(model.targets[reference.golden_indices][:4]) == {0, 1, 2, 3}


def test_a_near_tie_is_golden_only_where_there_are_too_few_other_rows(model):
    """Which class wins one depends on the CPU: birds_cnn in fp16 lost 1 of 32 so where a CPU adds up in float16."""
    answers = np.tile(np.float32([0.7, 0.1, 0.1, 0.1]), (64, 1))
    before = model.golden_indices(answers)
    answers[before[:3]] = [0.3, 0.3 - NEAR_TIE / 2, 0.2, 0.2]
    untold = replace(model, targets=None)
    for chosen in (model.golden_indices(answers), untold.golden_indices(answers)):
        assert len(set(chosen)) == 32
        assert not set(chosen) & set(before[:3])
    answers[:] = 0.25
    assert list(model.golden_indices(answers)) == list(before)
    assert len(set(untold.golden_indices(answers))) == 32


@pytest.mark.parametrize("kind", ["rewrite", "lower", "quantize"])
def test_a_wrong_stage_is_named_and_nothing_is_left(model, reference, kind, tmp_path):
    with pytest.raises(VerificationError, match=f"stage '{kind}' is wrong on real samples"):
        pack_bundle(model, faulty(kind), FP32, tmp_path, reference=reference)
    assert list(tmp_path.iterdir()) == []


def test_when_the_user_insists_it_is_stamped_unverified(model, reference, tmp_path):
    folder = pack_bundle(model, faulty("lower"), FP32, tmp_path, reference=reference, allow_unverified=True).path
    manifest = Bundle.open(folder).manifest
    assert manifest.status == "unverified"
    assert [(s.stage, s.passed) for s in manifest.stages] == [
        ("capture", True), ("rewrite", True), ("lower", True), ("lower", False), ("reload", True)
    ]  # fmt: skip


def test_a_missed_accuracy_gate_is_refused(model, reference, tmp_path):
    biased = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 4))
    with torch.no_grad():
        biased[2].weight.copy_(8 * torch.eye(4))
        biased[2].bias.copy_(torch.tensor([-3.0, 0, 0, 0]))  # forgets the first class more often than not
    worse = replace(
        model, module=Deployable(PixelNormalize((0.5,), (0.25,)), biased, nn.Softmax(-1)).eval().requires_grad_(False)
    )
    lenient = replace(FP32, sqnr_floor_db=0.0, agreement_floor=0.0)
    # Exports the worse model and lets no stage be compared, so that only the gate can see it.
    unseen = replace(ONNX, export=lambda m, r, p: iter(list(ONNX.export(worse, r, p))[:0]))
    with pytest.raises(VerificationError, match="accuracy lost 12.50 points, at least 5.42"):
        pack_bundle(model, unseen, lenient, tmp_path, reference=reference)
    assert list(tmp_path.iterdir()) == []


def test_an_old_bundle_survives_a_failed_new_one(model, reference, tmp_path):
    folder = pack_bundle(model, ONNX, FP32, tmp_path, reference=reference).path
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(VerificationError):
        pack_bundle(model, faulty("lower"), FP32, tmp_path, reference=reference)
    assert (folder / "manifest.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["quarters-onnx-fp32"]


def test_packing_twice_gives_the_same_bytes(model, reference, tmp_path):
    first = pack_bundle(model, ONNX, W8A8, tmp_path / "a", reference=reference, max_drop=0.05).path
    second = pack_bundle(model, ONNX, W8A8, tmp_path / "b", reference=reference, max_drop=0.05).path
    for name in ("model.onnx", "golden.npz", "manifest.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert Bundle.open(first).save_zip(tmp_path / "a.zip").read_bytes() == (
        Bundle.open(second).save_zip(tmp_path / "b.zip").read_bytes()
    )


def test_the_file_carries_no_path_of_the_machine_that_made_it(model, reference, tmp_path):
    folder = pack_bundle(model, ONNX, FP32, tmp_path, reference=reference).path
    home = str(Path(__file__).resolve().parent.parent.parent).encode()
    assert all(home not in path.read_bytes() for path in folder.iterdir())


def test_an_impossible_pair_is_wrong_usage(model, reference, tmp_path):
    with pytest.raises(UsageError, match="torchscript_traced cannot do w8a8_static. It does: fp32"):
        pack_bundle(model, EXPORTERS["torchscript_traced"], W8A8, tmp_path, reference=reference)
