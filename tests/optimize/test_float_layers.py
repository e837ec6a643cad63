"""Accuracy-aware int8 on a net that int8 ruins by construction: only the guilty layers stay in float."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from drowned import drowned_model

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.edge_runtime.errors import VerificationError
from edgekit.edge_runtime.format import percent_text
from edgekit.edge_runtime.tasks.variation import varying_sqnr_db
from edgekit.optimize.deploy import DeployModel
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.report.layers import layers
from edgekit.optimize.tuning.float_layers import Search
from edgekit.optimize.verify import FloatReference


@pytest.fixture(scope="module")
def model() -> DeployModel:
    return drowned_model()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("exporter", ["onnx", "executorch_xnnpack"])
def test_int8_ruins_it_and_two_layers_in_float_save_it(model, exporter, tmp_path):
    reference = FloatReference.of(model)
    with pytest.raises(VerificationError, match="stage 'quantize' is wrong"):
        pack_bundle(model, EXPORTERS[exporter], RECIPES["w8a8_static"], tmp_path, reference=reference)
    folder = pack_bundle(model, EXPORTERS[exporter], RECIPES["mixed"], tmp_path, reference=reference).path
    with Bundle.open(folder) as bundle:
        manifest = bundle.manifest
    assert manifest.status in ("verified", "undecided")  # few samples decide little
    assert manifest.metrics[0].value >= 0.99 * manifest.metrics[0].float_value
    assert set(manifest.provenance["float_layers"].split(", ")) == {"model.1", "model.3"}


def test_without_true_answers_the_floors_choose(model, tmp_path):
    bare = replace(model, targets=None)
    folder = pack_bundle(bare, EXPORTERS["onnx"], RECIPES["mixed"], tmp_path, reference=FloatReference.of(bare)).path
    with Bundle.open(folder) as bundle:
        manifest = bundle.manifest
    assert manifest.status == "consistent"
    assert set(manifest.provenance["float_layers"].split(", ")) == {"model.1", "model.3"}
    tried = manifest.provenance["layers_tried"]
    assert tried.endswith("(on 32 calibration samples, which are few: no answer may flip)")
    assert "2 back: 0 % of the answers flipped, SQNR " in tried


def calibrated_on(samples):
    found = drowned_model()
    pixels = np.random.default_rng(3).integers(0, 256, (samples, 4, 4, 1), dtype=np.uint8)
    return replace(found, calibration={"image": pixels})


class Counted:
    """Layers of which `guilty` ones take the answers' top away; counts how often it was asked to quantize."""

    layers = ("a", "b", "c", "d", "e")

    def __init__(self, model, guilty):
        self._right, self._guilty, self.asked = model, set(guilty), 0

    def quantized(self, float_layers, *, roughly=False):
        self.asked += 1
        wrong = len(self._guilty - float_layers)
        return lambda arrays: {
            "probabilities": np.roll(
                self._right.module(torch.from_numpy(arrays["image"])).numpy(), 1 if wrong else 0, axis=1
            )
        }


def test_the_fewest_layers_are_put_back(model, tmp_path):
    quantizer = Counted(model, guilty="bde")
    choice = Search(model, max_drop=0.01, kept=tmp_path / "kept.json").choose(quantizer)
    assert choice.float_layers == {"b", "d", "e"}
    assert [line.split(":")[0] for line in choice.notes["layers_tried"].split("; ")] == [
        *("0 back", "1 back", "2 back", "3 back", "4 back"),
    ]


def test_layers_are_ranked_roughly_and_judged_fully(model, tmp_path):
    asked = []

    class Telling(Counted):
        def quantized(self, float_layers, *, roughly=False):
            asked.append((len(float_layers), roughly))
            return super().quantized(float_layers)

    Search(model, max_drop=0.01, kept=tmp_path / "k").choose(Telling(model, guilty=""))
    assert asked == 5 * [(4, True)] + [(0, False)]


class Noisy(Counted):
    """The right top answers, with as much noise as `guilty` layers are left in 8 bits."""

    def quantized(self, float_layers, *, roughly=False):
        wrong = len(self._guilty - float_layers)
        return lambda arrays: {
            "probabilities": self._right.module(torch.from_numpy(arrays["image"])).numpy() * (1 + 0.1 * wrong)
        }


def decibels_off(model, factor):
    """SQNR (dB) of what varies on the calibration samples, of probabilities that are `factor` times too large."""
    wanted = model.module(torch.from_numpy(model.calibration["image"])).numpy()
    return varying_sqnr_db(wanted, wanted * factor)


@pytest.mark.parametrize(("beyond_db", "put_back"), [(-0.01, 1), (0.01, 2)])
def test_layers_are_put_back_until_the_answers_are_near_enough_too(model, tmp_path, beyond_db, put_back):
    lines: list[str] = []
    floor_db = decibels_off(model, 1.1) + beyond_db
    found = Search(model, max_drop=0.01, kept=tmp_path / "kept.json", sqnr_floor_db=floor_db, say=lines.append).choose(
        Noisy(model, guilty="bd")
    )
    assert len(found.float_layers) == len(found.float_layers & {"b", "d"}) == put_back
    assert any(f"SQNR at least {floor_db:g} dB" in line for line in lines)


class Flipping(Counted):
    """Takes the top answer away from the first `flips` samples while "b" is left in 8 bits."""

    def __init__(self, model, flips):
        super().__init__(model, "b")
        self._flips = flips

    def quantized(self, float_layers, *, roughly=False):
        def run(arrays):
            found = self._right.module(torch.from_numpy(arrays["image"])).numpy()
            if "b" not in float_layers:
                found[: self._flips] = np.roll(found[: self._flips], 1, axis=1)
            return {"probabilities": found}

        return run


@pytest.mark.parametrize(("flips", "put_back"), [(2, 0), (3, 1)])
def test_no_more_answers_flip_than_hits_may_be_lost(flips, put_back, tmp_path):
    model = calibrated_on(200)
    found = Search(model, max_drop=0.01, kept=tmp_path / "kept.json").choose(Flipping(model, flips))
    assert len(found.float_layers) == put_back
    assert found.notes["layers_tried"].startswith(f"0 back: {percent_text(flips / 200)} of the answers flipped")
    assert found.notes["layers_tried"].endswith("(on 200 calibration samples)")


@pytest.mark.parametrize(("flips", "put_back"), [(20, 0), (21, 1)])
def test_a_looser_budget_ends_at_the_floor_of_agreement(flips, put_back, tmp_path):
    model = calibrated_on(200)
    search = Search(model, max_drop=0.5, kept=tmp_path / "kept.json", agreement_floor=0.9)
    assert len(search.choose(Flipping(model, flips)).float_layers) == put_back


@pytest.mark.parametrize(("samples", "words"), [(63, "63 calibration samples, which are few: no more than 6 of the"),
                                               (64, "64 calibration samples)")])  # fmt: skip
def test_of_few_samples_it_is_said_that_they_are_few(samples, words, tmp_path):
    model = calibrated_on(samples)
    found = Search(model, max_drop=0.1, kept=tmp_path / "kept.json").choose(Flipping(model, 0))
    assert words in found.notes["layers_tried"]


def test_validation_samples_have_no_part_in_the_choice(model, tmp_path):
    noise = np.random.default_rng(5).integers(0, 256, model.validation["image"].shape, dtype=np.uint8)
    other = replace(model, validation={"image": noise}, targets=np.zeros(len(noise), np.int64))
    found = [
        Search(one, max_drop=0.01, kept=tmp_path / name).choose(Counted(one, guilty="bd"))
        for one, name in ((model, "one"), (other, "other"))
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize(("small", "put_back"), [(0.0, 0), (1.0, 1)])
def test_a_large_output_does_not_hide_a_small_one(model, tmp_path, small, put_back):
    class Pair(torch.nn.Module):
        def __init__(self, first):
            super().__init__()
            self.first = first

        def forward(self, image):
            return self.first(image), 1000 * self.first(image) + 5000

    class SecondWrong(Counted):
        def quantized(self, float_layers, *, roughly=False):
            wrong = "b" not in float_layers

            def run(arrays):
                found = self._right.first(torch.from_numpy(arrays["image"])).numpy()
                return {"small": found * (1 + small * wrong), "large": 1000 * found + 5000}

            return run

    outputs = tuple(TensorSpec(name=name, dtype="float32", shape=(1, 4)) for name in ("small", "large"))
    pair = replace(model, module=Pair(model.module), outputs=outputs)
    search = Search(pair, max_drop=0.01, kept=tmp_path / "kept.json", sqnr_floor_db=20)
    assert len(search.choose(SecondWrong(pair.module, guilty="b")).float_layers) == put_back


def test_with_every_layer_in_float_it_is_the_float_model_and_no_success(model, tmp_path):
    with pytest.raises(VerificationError, match="only with all 5 layers back .* that is the float model"):
        Search(model, max_drop=0.01, kept=tmp_path / "kept.json").choose(Counted(model, guilty="abcde"))
    choice = Search(model, max_drop=0.01, kept=tmp_path / "other.json").choose(Counted(model, guilty="abcd"))
    assert choice.float_layers == {"a", "b", "c", "d"}


def test_a_search_goes_on_with_what_was_measured(model, tmp_path):
    first, second = Counted(model, guilty="c"), Counted(model, guilty="c")
    one = Search(model, max_drop=0.01, kept=tmp_path / "kept.json").choose(first)
    lines: list[str] = []
    two = Search(model, max_drop=0.01, kept=tmp_path / "kept.json", say=lines.append).choose(second)
    assert one == two
    assert (first.asked, len(lines)) == (7, 7)  # five layers alone, none back, one back
    assert second.asked == 0


def test_when_nothing_helps_it_says_so(model, tmp_path):
    hopeless = replace(model, name="hopeless")
    with pytest.raises(VerificationError, match="with all 5 layers back in float what is asked for is still missed"):
        Search(hopeless, max_drop=0.01, kept=tmp_path / "kept.json").choose(Counted(model, guilty=["none of them"]))


def test_the_report_shows_what_int8_does_to_each_layer():
    note = {"layers_sqnr_db": "net.b -0.5, net.a 31.0", "float_layers": "net.b", "layers_tried": "0 back: 10.00%"}
    page = layers({"m-onnx-mixed": note, "m-onnx-fp32": {}}, {"m-onnx-mixed": "onnx-mixed"})
    assert page.index("net.b") < page.index("net.a")
    assert page.count("stayed in float") == 1
    assert "--share: 0.517" in page  # 31 of 60 dB
    assert "m-onnx-fp32" not in page
