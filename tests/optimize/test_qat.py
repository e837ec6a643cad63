"""Quantization-aware training, on a net that int8 ruins and that no equalization can mend."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from quarters import quarters_model
from torch import nn

from edgekit.edge_runtime.errors import ExportError
from edgekit.optimize.cache import fingerprint
from edgekit.optimize.combinations import combinations
from edgekit.optimize.deliver import deliver
from edgekit.optimize.deploy import DeployModel, TrainingData, run_module, training_data
from edgekit.optimize.events import BundleBegun, Event, TrainingProgress, Trial
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.exporters.layerwise import calibration_batches
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.tuning.qat import SETTINGS, QuantizationAwareTraining, loss_of_answers
from edgekit.optimize.user_model.request import Request
from edgekit.optimize.verify import FloatReference
from edgekit.train.book_model import FitConfig
from edgekit.train.registry import book_model

XNNPACK, QAT = EXPORTERS["executorch_xnnpack"], RECIPES["w8a8_qat"]
FIT = FitConfig(epochs=1, batch_size=32, learning_rate=1e-3, cpu_threads=1)


def with_training(model: DeployModel) -> DeployModel:
    pixels = np.random.default_rng(1).integers(0, 256, (1000, 4, 4, 1), dtype=np.uint8)
    quarters = pixels[..., 0].reshape(1000, 2, 2, 2, 2).mean(axis=(2, 4)).reshape(1000, 4)
    return replace(model, training=TrainingData(inputs=pixels, targets=quarters.argmax(1), fit=FIT))


def hostile_model() -> DeployModel:
    """Right in float; reads a channel that one 100 times as large drowns. A bound forbids to equalize them."""
    drowned, read = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 1, 1)
    linears = nn.Linear(4, 4), nn.Linear(4, 4)
    net = nn.Sequential(nn.AvgPool2d(2), drowned, nn.Hardtanh(0, 1e6), read, nn.Flatten(), *linears)
    with torch.no_grad():
        drowned.weight.copy_(torch.tensor([1.0, 100.0]).reshape(2, 1, 1, 1))
        drowned.bias.fill_(3.0)
        read.weight.copy_(torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1))
        read.bias.fill_(-3.0)
        for linear in linears:
            linear.weight.copy_(3 * torch.eye(4))
            linear.bias.zero_()
    return with_training(quarters_model(net, name="hostile", samples=160))


@pytest.fixture(scope="module")
def model() -> DeployModel:
    return hostile_model()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def trained(model: DeployModel, **settings) -> tuple[torch.fx.GraphModule, dict[str, str]]:
    training = QuantizationAwareTraining(QAT, model, settings=replace(SETTINGS, **settings))
    return training.recipe.pt2e(None, calibration_batches(model), frozenset()), training.notes


PAIRS = [(XNNPACK, RECIPES["w8a8_static"]), (XNNPACK, QAT)]


def test_after_a_missed_gate_training_saves_a_net_that_int8_ruins(model, tmp_path):
    weights = copy.deepcopy(model.module.state_dict())
    heard: list[Event] = []
    options = Request(model="m", out=tmp_path / "out", max_drop=0.03, quick=True)
    delivered = deliver(model, PAIRS, options, lambda samples: None, on_event=heard.append)
    assert [row.recipe for row in delivered.failed] == ["w8a8_static"]
    (made,) = delivered.packed
    manifest = made.manifest
    assert manifest.recipe == "w8a8_qat"
    assert manifest.status in ("verified", "undecided")
    assert manifest.metrics[0].value >= 0.97
    notes = manifest.provenance
    assert float(notes["qat_loss_after"]) < 0.5 * float(notes["qat_loss_before"])
    assert (notes["qat_epochs"], notes["qat_seed"], notes["qat_samples"]) == ("4", "123", "1000")
    assert notes["qat_learning_rate"] == "0.0003 (adam, cosine)"
    lines = [event.text for event in heard if isinstance(event, Trial)]
    assert [sum(f"epoch {epoch} of 4: loss" in line for line in lines) for epoch in (1, 2, 3, 4)] == [1, 1, 1, 1]
    steps = [(event.done, event.total) for event in heard if isinstance(event, TrainingProgress)]
    assert steps == [(step, 128) for step in range(1, 129)]  # 1,000 samples, 32 a step, four times
    assert all(torch.equal(value, weights[name]) for name, value in model.module.state_dict().items())


def test_without_training_data_it_does_not_follow_a_missed_gate(model, tmp_path):
    heard: list[Event] = []
    bare, options = replace(model, training=None), Request(model="m", out=tmp_path / "out", max_drop=0.03)
    with pytest.raises(ExportError, match="no bundle of hostile could be made"):
        deliver(bare, PAIRS, options, lambda samples: None, on_event=heard.append)
    begun = [event.name for event in heard if isinstance(event, BundleBegun)]
    assert begun == ["hostile-executorch_xnnpack-w8a8_static"]


def test_asked_for_without_training_data_it_says_so(model, tmp_path):
    bare = replace(model, training=None)
    with pytest.raises(ExportError, match="hostile comes without training data"):
        pack_bundle(bare, XNNPACK, QAT, tmp_path / "out", reference=FloatReference.of(bare))
    assert [e.name for e, _ in combinations(Request(model="m", recipes=("w8a8_qat",)))] == ["executorch_xnnpack"]


def test_ctrl_c_in_the_midst_of_training_leaves_nothing(model, tmp_path):
    def interrupt(event: Event) -> None:
        if isinstance(event, TrainingProgress):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack_bundle(model, XNNPACK, QAT, tmp_path / "out", reference=FloatReference.of(model), on_event=interrupt)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_seed_gives_the_same_answers_again_and_another_one_others(model):
    # Two epochs: in the last one the scales stand still, and so small a net may round to the same again.
    found = [trained(model, epochs=2, seed=seed)[0] for seed in (5, 5, 6)]
    first, again, other = (run_module(model, module, model.calibration)["probabilities"] for module in found)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_batch_norms_are_folded_and_their_statistics_are_left(tmp_path):
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    norm.running_mean.copy_(torch.randn(4))
    norm.running_var.copy_(torch.rand(4) + 0.5)
    net = nn.Sequential(nn.Conv2d(1, 4, 2, stride=2), norm, nn.ReLU(), nn.Flatten(), nn.Linear(16, 4))
    model = with_training(quarters_model(net, name="normed", samples=160))
    mean = norm.running_mean.clone()
    module, notes = trained(model, epochs=2, learning_rate=3e-3)
    assert not any("batch_norm" in str(node.target) for node in module.graph.nodes)
    assert torch.equal(norm.running_mean, mean)
    assert float(notes["qat_loss_after"]) < float(notes["qat_loss_before"])


def test_the_loss_of_probabilities_is_that_of_the_logits():
    logits, targets = torch.randn(16, 5), torch.arange(16) % 5
    data = TrainingData(inputs=np.zeros(1), targets=np.zeros(1), fit=replace(FIT, label_smoothing=0.1))
    found = loss_of_answers("classification", data)(logits.softmax(-1), targets)
    assert torch.allclose(found, F.cross_entropy(logits, targets, label_smoothing=0.1), rtol=1e-5)


def test_a_training_that_diverges_says_so(model):
    with pytest.raises(ExportError, match="diverged: in epoch 1 the loss is (nan|inf)"):
        trained(model, learning_rate=1e30)


def test_other_training_data_is_another_cause_of_this_recipe_alone(model):
    other = replace(model, training=replace(model.training, targets=1 - model.training.targets))
    reference = FloatReference.of(model)

    def cause(model, recipe):
        return fingerprint(model, reference, XNNPACK, RECIPES[recipe], tools={}, settings=())

    assert cause(model, "w8a8_qat") != cause(other, "w8a8_qat")
    assert cause(model, "w8a8_static") == cause(other, "w8a8_static")


def test_a_model_of_the_registry_brings_its_training_split():
    book = book_model("digits_cnn")
    data = book.data()
    found = training_data(book, data)
    assert found.inputs.shape == (len(data.train), 8, 8, 1)
    assert (found.inputs.dtype, found.targets.dtype) == (np.uint8, np.int64)
    assert training_data(replace(book, crops=True), data) is None
