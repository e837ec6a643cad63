"""torch.export: the captured graph as a file, quantized or not; loaded when allowed, made when named."""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pair_model import answers, pair_arrays, pair_model, unproven_bundle
from quarters import quarters_model
from torch import nn

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.engines import RUNS_CODE, load
from edgekit.edge_runtime.errors import BundleError, EngineError, ExportError, InputError
from edgekit.optimize.combinations import combinations
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.exporters.layerwise import calibration_batches
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.recipes.layers import torch_layers
from edgekit.optimize.user_model.request import Request
from edgekit.optimize.verify import FloatReference

EXPORTER = EXPORTERS["torch_export"]
WIDENED = "quantized_decomposed.dequantize_per_channel"  # what int8 weights go through


def quarters(net):
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            (nn.init.ones_ if isinstance(layer, nn.Conv2d) else nn.init.eye_)(layer.weight)
            nn.init.zeros_(layer.bias)
    return quarters_model(net, name="quarters", samples=64)


@pytest.fixture(scope="module")
def model():
    """The brightest quarter, by a convolution that adds each up and a linear layer."""
    return quarters(nn.Sequential(nn.Conv2d(1, 1, 2, stride=2), nn.Flatten(), nn.Linear(4, 4)))


@pytest.fixture(scope="module")
def packed(model, tmp_path_factory):
    """Packs a recipe at most once: a fresh process proves each."""
    made, reference = {}, FloatReference.of(model)

    def bundle(recipe):
        if recipe not in made:
            folder = tmp_path_factory.mktemp(recipe)
            made[recipe] = Bundle.open(pack_bundle(model, EXPORTER, RECIPES[recipe], folder, reference=reference).path)
        return made[recipe]

    return bundle


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair") / "bundle"
    return Bundle.open(unproven_bundle(pair_model(max_batch=8), "torch_export", folder))


def held(bundle):
    """Every file in the archive, as bytes by the end of its name."""
    with zipfile.ZipFile(bundle.model_path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize(("recipe", "int8_layers"), [("fp32", 0), ("fp16", 0), ("w8_dynamic", 1), ("w8a8_static", 2)])
def test_it_is_verified_stage_by_stage_and_holds_what_the_recipe_says(packed, recipe, int8_layers):
    bundle = packed(recipe)
    manifest, graph = bundle.manifest, held(bundle)["models/model.json"].decode()
    assert manifest.artifact.format == "torch_export"
    assert manifest.status in (("verified",) if recipe == "fp32" else ("verified", "undecided"))
    stages = [result.stage for result in manifest.stages]
    assert stages == ["capture", *(["quantize"] if recipe != "fp32" else []), "lower", "reload"]
    assert all(result.passed for result in manifest.stages)
    assert graph.count(f'"target": "torch.ops.{WIDENED}') == int8_layers
    assert ("quantized_decomposed.choose_qparams" in graph) == (recipe == "w8_dynamic")


@pytest.mark.parametrize("recipe", ["fp32", "w8a8_static"])
def test_the_file_holds_no_sample_no_folder_and_no_source_line(packed, recipe):
    content = held(packed(recipe))
    text = b"".join(content.values())
    for absent in (b"stack_trace", b"from_node", b".py", str(Path(torch.__file__).parent.parent).encode()):
        assert absent not in text
    assert "data/sample_inputs/model.pt" not in content or len(content["data/sample_inputs/model.pt"]) < 1000


@pytest.mark.parametrize("recipe", ["fp32", "w8a8_static"])
def test_the_same_model_gives_the_same_bytes(model, recipe, tmp_path):
    paths = [tmp_path / name for name in ("a.pt2", "b.pt2")]
    for path in paths:
        list(EXPORTER.export(model, RECIPES[recipe], path))
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_any_batch_within_the_bounds_gives_each_rows_own_answer(pair):
    with load(pair, allow=("torch_export",)) as engine:
        for rows in (1, 8, 3, 1):
            arrays = pair_arrays(rows, seed=rows)
            found, wanted = engine.run(arrays), answers(pair_model(), arrays)
            assert np.abs(found["probabilities"] - wanted["probabilities"]).max() < 1e-6
            assert np.array_equal(found["odd"], wanted["odd"])
        with pytest.raises(InputError, match="has a batch of 9; this bundle takes 1 to 8"):
            engine.run(pair_arrays(9))


def test_it_is_loaded_only_when_allowed_and_made_only_when_named(pair):
    assert "torch_export" in RUNS_CODE
    with pytest.raises(BundleError, match="has the format 'torch_export': loading it runs code from the file"):
        load(pair)
    assert EXPORTER not in [exporter for exporter, _ in combinations(Request(model="m"))]
    asked = combinations(Request(model="m", exporters=("torch_export",)))
    assert {recipe.name for _, recipe in asked} == set(EXPORTER.recipes)


def test_a_file_of_a_newer_torch_is_refused_before_it_is_read(pair):
    newer = Bundle(Path("nowhere"), pair.source, replace(pair.manifest, tools={"torch": "99.0.0"}), "", None)
    with pytest.raises(BundleError, match="was made with torch 99.0.0; the installed torch .* is older"):
        load(newer, allow=("torch_export",))


@pytest.mark.parametrize("damage", ["cut", "other operator"])
def test_a_damaged_file_is_an_error_that_says_why(pair, tmp_path, damage, capfd):
    path = tmp_path / "model.pt2"
    if damage == "cut":
        path.write_bytes(pair.model_path.read_bytes()[:3000])
    else:
        with zipfile.ZipFile(pair.model_path) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                new.writestr(name, old.read(name).replace(b"torch.ops.aten.relu", b"torch.ops.nowhere.relu"))
    said = "nowhere" if damage == "other operator" else "model.pt2 could not be loaded: "
    with pytest.raises(EngineError, match=said):
        load(Bundle(tmp_path, pair.source, pair.manifest, "", None), allow=("torch_export",))
    assert "Traceback" not in capfd.readouterr().err


def test_dynamic_quantization_keeps_named_layers_in_float_and_needs_a_linear_one_to_quantize():
    two = quarters(nn.Sequential(nn.Conv2d(1, 1, 2, stride=2), nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 4)))
    captured = torch.export.export(two.module, two.example, strict=False).module()
    last = torch_layers(captured)[-1]
    made = RECIPES["w8_dynamic"].pt2e(captured, calibration_batches(two), frozenset({last}))
    assert sum(WIDENED in str(node.target) for node in made.graph.nodes) == 1

    conv = quarters(nn.Sequential(nn.Conv2d(1, 1, 2, stride=2), nn.Flatten()))
    captured = torch.export.export(conv.module, conv.example, strict=False).module()
    with pytest.raises(ExportError, match="there is no linear layer to quantize"):
        RECIPES["w8_dynamic"].pt2e(captured, calibration_batches(conv), frozenset())
