"""Calibration methods, bias correction and cross-layer equalization, on small nets that need them."""

import copy

import numpy as np
import pytest
import torch
from drowned import drowned_model
from torch import nn

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.tasks.metrics import sqnr_db
from edgekit.optimize.events import Event, Trial
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.recipes.bias_correction import correct_bias, float_means
from edgekit.optimize.recipes.ranges import METHODS, _divergence, range_of
from edgekit.optimize.recipes.w8a8_static import quantize_onnx, quantize_pt2e
from edgekit.optimize.rewrites import rewrite
from edgekit.optimize.rewrites.equalize import EQUALIZE
from edgekit.optimize.tuning.calibrator import Calibrator, Way
from edgekit.optimize.verify import FloatReference

CLIPPING = [method for method in METHODS if method != "minmax"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def histogram(values):
    counts, edges = np.histogram(values, 4096)
    return counts, edges, values.min(), values.max()


def rounded(values, low, high):
    step = (high - low) / 255
    return low + step * np.round((np.clip(values, low, high) - low) / step)


@pytest.mark.parametrize("method", CLIPPING)
def test_a_few_outliers_are_given_up_for_finer_steps(method):
    values = np.random.default_rng(0).normal(size=300_000)
    values[:2] = -25, 25
    low, high = range_of(method, *histogram(values))
    found = sqnr_db(values[2:], rounded(values[2:], low, high))
    assert found > sqnr_db(values[2:], rounded(values[2:], -25, 25)) + 4


def test_the_range_of_the_smallest_squared_error_beats_the_full_one():
    values = np.random.default_rng(1).laplace(size=500_000)
    found = {m: sqnr_db(values, rounded(values, *range_of(m, *histogram(values)))) for m in ("minmax", "mse")}
    assert found["mse"] > found["minmax"] + 1


@pytest.mark.parametrize("method", METHODS)
def test_a_range_holds_zero_and_no_more_than_was_seen(method):
    for values in (np.linspace(2, 5, 1000), np.linspace(-5, -2, 1000), np.zeros(10), np.full(10, 3.0)):
        low, high = range_of(method, *histogram(values))
        assert min(values.min(), 0) <= low <= 0 <= high <= max(values.max(), 0)
    with pytest.raises(ValueError, match="unknown calibration method 'average'. Known: minmax, entropy"):
        range_of("average", np.ones(4), np.arange(5), 0, 4)


def few_logits():
    """62 numbers like two logits a sample, all below 0; one lies at the edge of a range that cuts all others off."""
    return np.array([*np.linspace(-6, -1, 60), -0.119, -0.01])


def test_entropy_of_few_logits_does_not_cut_nearly_all_of_them_off():
    # birds_cnn_resdeep_independent as .pte, with all samples fitted: its last layer's answers went into 2 % of their
    # range, so that the net said the same to all. Its divergence was 0: what was cut off went into the one filled bin.
    values = few_logits()
    counts, edges, low, high = histogram(values)
    start, stop = range_of("entropy", counts, edges, low, high)
    assert np.mean((values < start) | (values > stop)) == 0
    assert _divergence(counts.astype(float), edges, 0.02 * low, 0.0) > 1  # 97 % are cut off


def test_entropy_of_few_values_holds_most_of_them_whatever_they_are():
    rng = np.random.default_rng(0)
    for _ in range(100):
        values = rng.normal(-3, 1.5, 64)
        values = values[values < 0]
        counts, edges = np.histogram(values, 2048)  # as many bins as torchao's observer has
        start, stop = range_of("entropy", counts, edges, values.min(), values.max())
        assert np.mean((values < start) | (values > stop)) < 0.2


def with_residual_blocks():
    """Residual blocks with batch norm, and behind them a layer that gives `few_logits` to the first 62 samples."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(2, 2, 1, bias=False), nn.BatchNorm2d(2)
            self.norm.bias.data.fill_(-1e-3)  # a dead block, as most of a net that deep

        def forward(self, x):
            return x + torch.relu(self.norm(self.conv(x * 0)))

    net = nn.Sequential(*(Block() for _ in range(8)), nn.Flatten(), nn.Linear(2, 2), nn.Softmax(-1)).eval()
    with torch.no_grad():
        net[-2].weight.copy_(torch.eye(2))
        net[-2].bias.zero_()
    return net.requires_grad_(False)


def test_a_residual_net_keeps_its_logits_with_entropy_and_all_samples():
    net = with_residual_blocks()
    values = np.random.default_rng(1).permutation(few_logits()).astype(np.float32)
    samples = values.reshape(31, 2, 1, 1)
    module, data = captured(net, torch.zeros(1, 2, 1, 1)), batches(samples)
    wanted = float_means(module, data)
    quantized = quantize_pt2e(module, iter(data), method="entropy")
    correct_bias(quantized, data, wanted)
    assert sqnr_db(answers(net, samples), answers(quantized, samples)) > 25


def small_net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.Flatten()).eval()


def outlier_samples(count=16):
    """(N, 1, 256, 256) float32 of about 1, in the last of which one value is 100."""
    found = np.random.default_rng(0).normal(size=(count, 1, 256, 256)).astype(np.float32)
    found[-1, 0, 4, 4] = 100
    return found


def batches(samples):
    return [(torch.from_numpy(row[None]),) for row in samples]


def captured(net, example):
    return torch.export.export(net, (example,), strict=False).module()


def answers(module, samples):
    with torch.inference_mode():
        return np.concatenate([module(x).numpy() for (x,) in batches(samples)])


@pytest.mark.parametrize("method", CLIPPING)
def test_pte_int8_of_a_net_with_outliers_is_better_than_by_minmax(method):
    net, samples = small_net(), outlier_samples()
    wanted, found = answers(net, samples[:-1]), {}
    for one in ("minmax", method):
        module = quantize_pt2e(captured(net, torch.zeros(1, 1, 256, 256)), iter(batches(samples)), method=one)
        found[one] = sqnr_db(wanted, answers(module, samples[:-1]))
    assert found[method] > found["minmax"] + 6


def test_onnx_int8_of_a_net_with_outliers_is_better_than_by_minmax(tmp_path, capsys):
    import onnxruntime

    net, samples = small_net(), outlier_samples()
    program = torch.onnx.export(net, (torch.zeros(1, 1, 256, 256),), dynamo=True, input_names=["x"], verbose=False)
    program.save(str(tmp_path / "float.onnx"))
    capsys.readouterr()
    wanted, found = answers(net, samples[:-1]), {}
    for method in METHODS:
        target = tmp_path / f"{method}.onnx"
        quantize_onnx(tmp_path / "float.onnx", target, {"x": samples}, method=method)
        session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
        rows = [session.run(None, {"x": row[None]})[0] for row in samples[:-1]]
        found[method] = sqnr_db(wanted, np.concatenate(rows))
    assert min(found[method] for method in CLIPPING) > found["minmax"] + 6
    assert capsys.readouterr().out == ""  # standard output is for one JSON document


class Mixed(nn.Module):
    """Depthwise and grouped layers, batch norms, a branch that two layers read, and a ReLU6."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.depthwise = nn.Sequential(nn.Conv2d(8, 16, 3, groups=8), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2))
        self.grouped = nn.Sequential(nn.Conv2d(16, 8, 1, groups=4), nn.ReLU())
        self.left, self.right = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 3, padding=1, groups=2)
        self.bounded = nn.Sequential(nn.ReLU6(), nn.Conv2d(8, 5, 1))
        for part in self.modules():
            if isinstance(part, nn.BatchNorm2d):
                channels = part.num_features
                part.running_mean.copy_(torch.randn(channels))
                part.running_var.copy_(torch.rand(channels) + 0.1)
                part.weight.data = torch.randn(channels) * 10 ** torch.linspace(-2, 2, channels)
                part.bias.data = torch.randn(channels)

    def forward(self, x):
        x = self.grouped(self.depthwise(self.first(x)))
        return self.bounded(torch.cat([self.left(x), self.right(x)], 1))


@pytest.mark.parametrize("seed", range(6))
def test_equalization_changes_no_answer_and_not_the_users_module(seed):
    net = Mixed(seed).eval()
    x = torch.randn(4, 3, 12, 12)
    before, weights = net(x).detach(), copy.deepcopy(net.state_dict())
    module = captured(net, x)
    applied = rewrite(module, [EQUALIZE])
    assert applied.counts == {"equalize": {"convolution": 3}}
    assert not torch.equal(module.get_parameter("first.0.weight"), weights["first.0.weight"]) or not torch.equal(
        module.get_parameter("first.1.weight"), weights["first.1.weight"]
    )
    assert (module(x) - before).abs().max() <= 1e-5 * before.abs().max()
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())


def test_equalization_leaves_a_relu6_and_a_tensor_that_others_read():
    net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU6(), nn.Conv2d(4, 1, 1)).eval()
    assert rewrite(captured(net, torch.zeros(1, 1, 4, 4)), [EQUALIZE]).counts == {}
    layer = nn.Conv2d(2, 2, 1)
    twice = nn.Sequential(layer, nn.ReLU(), layer).eval()  # both ends are one weight
    assert rewrite(captured(twice, torch.zeros(1, 2, 4, 4)), [EQUALIZE]).counts == {}


def test_bias_correction_takes_the_mean_error_away():
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten()).eval()
    samples = outlier_samples()[:4]
    net[0].weight.data *= torch.tensor([1.0, 40, 1, 60, 1, 1, 1, 1]).reshape(-1, 1, 1, 1)
    module, data = captured(net, torch.zeros(1, 1, 256, 256)), batches(samples)
    wanted = float_means(module, data)
    quantized = quantize_pt2e(module, iter(data), method="minmax")
    error = answers(quantized, samples) - answers(net, samples)
    before = np.abs(error.reshape(len(samples), 4, -1).mean((0, 2)))
    assert correct_bias(quantized, data, wanted) == 2
    error = answers(quantized, samples) - answers(net, samples)
    after = np.abs(error.reshape(len(samples), 4, -1).mean((0, 2)))
    assert after.mean() < 0.5 * before.mean()


def test_a_batch_norm_counts_to_the_layer_it_is_folded_into():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3)
    norm.bias.data = torch.tensor([10.0, 20, 30])
    net = nn.Sequential(nn.Conv2d(1, 3, 1), norm).eval()
    (mean,) = float_means(captured(net, torch.zeros(1, 1, 256, 256)), batches(outlier_samples()[:4])).values()
    assert torch.allclose(mean, torch.tensor([10.0, 20, 30]), atol=2)


@pytest.mark.parametrize(("exporter", "ways"), [("executorch_xnnpack", 8), ("onnx", 4)])
def test_every_way_is_tried_on_held_out_samples_and_the_best_is_kept(exporter, ways, tmp_path):
    model = drowned_model()
    options = {"reference": FloatReference.of(model), "allow_unverified": True}
    heard: list[Event] = []
    made = pack_bundle(model, EXPORTERS[exporter], RECIPES["w8a8_tuned"], tmp_path, **options, on_event=heard.append)
    notes = made.manifest.provenance
    lines = [event.text for event in heard if isinstance(event, Trial)]
    tried = dict(part.rsplit(" ", 2)[:2] for part in notes["calibration_tried"].split(" (SQNR")[0].split(", "))
    assert len(tried) == ways
    assert notes["calibration"] in tried
    assert lines[-1] == f"calibration: {notes['calibration']} is taken"
    compared = dict(part.rsplit(" ", 2)[:2] for part in notes["calibration_compared"].split(" (SQNR")[0].split(", "))
    static = next(iter(compared))
    assert float(compared[notes["calibration"]]) >= float(compared[static])
    assert static == ("static" if exporter == "executorch_xnnpack" else "minmax")


def test_equalization_saves_a_net_that_plain_int8_ruins(tmp_path):
    model = drowned_model()
    folder = pack_bundle(
        model, EXPORTERS["executorch_xnnpack"], RECIPES["w8a8_tuned"], tmp_path, reference=FloatReference.of(model)
    ).path
    with Bundle.open(folder) as bundle:
        manifest = bundle.manifest
    assert manifest.status in ("verified", "undecided")  # few samples decide little
    assert "equalization" in manifest.provenance["calibration"]


class Failing:
    """Answers with 1 % too much; with `worse` % too much where `mse`, the best on a part, is fitted on all samples."""

    layers = ()

    def __init__(self, model, calibrator, worse):
        self._model, self._calibrator, self._worse = model, calibrator, worse

    def quantized(self, float_layers, *, roughly=False):
        way, fitted = self._calibrator.way, self._calibrator.fit
        percent = 1.0 if way.method != "mse" else 0.5 if fitted else self._worse

        def run(arrays):
            right = self._model.module(torch.from_numpy(arrays["image"])).numpy()
            return {"probabilities": right * (1 + percent / 100)}

        return run


@pytest.mark.parametrize(("worse", "taken"), [(0.99, "mse"), (1.01, "minmax")])
def test_what_is_delivered_is_never_worse_than_static(worse, taken):
    model, lines = drowned_model(), []
    calibrator = Calibrator(RECIPES["w8a8_tuned"], model, say=lines.append)
    choice = calibrator.recipe.choose_layers(Failing(model, calibrator, worse))
    assert choice.notes["calibration"] == taken
    assert (calibrator.way.text, calibrator.fit) == (taken, 0)
    assert max(calibrator.found, key=calibrator.found.get).text == "mse"
    assert calibrator.delivered[calibrator.way] >= calibrator.delivered[Way(method="minmax")]
    assert choice.notes["calibration_compared"].endswith("fitted on all 32; w8a8_static is minmax)")
    assert sum("not taken" in line for line in lines) == (taken != "mse")


def test_a_way_says_what_it_does():
    assert Way(method="mse", equalized=True, corrected=True).text == "mse + equalization + bias correction"
    assert Calibrator(RECIPES["w8a8_tuned"], drowned_model()).recipe.name == "w8a8_tuned"
