"""Models that take numbers and not pictures, all the way: packed, verified, inspected, measured, and never "98.05%"."""

import re

import numpy as np
import pytest
import torch
from thermometer_fits import least_squares

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.engines import RUNS_CODE, load
from edgekit.edge_runtime.worker.policy import Policy
from edgekit.edge_runtime.worker.replay import replay
from edgekit.optimize.combinations import combinations
from edgekit.optimize.deliver import deliver
from edgekit.optimize.deploy import deploy_book_model, input_spec
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.user_model.request import Request
from edgekit.optimize.verify import FloatReference
from edgekit.train.checkpoint import save_weights
from edgekit.train.models.thermometer_steps import VALIDATION
from edgekit.train.registry import BOOK_MODELS, book_model

# What a regression can go wrong in is the metric, the verdict and what is shown: these of each exporter show it.
PAIRS = [
    (e, RECIPES[name])
    for e in EXPORTERS.values()
    for name in ("fp32", "fp16", "w8_dynamic", "w8a8_static")
    if e.by_default and name in e.recipes
]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads that wait for each other over a few numbers take ten times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The thermometer without training: the line of least squares through its nine training readings."""
    w, b, _ = least_squares([i for i in range(11) if i not in VALIDATION])
    line = book_model("thermometer").build()
    with torch.no_grad():
        line.weight.fill_(w)
        line.bias.fill_(b)
    path = tmp_path_factory.mktemp("thermometer") / "weights.safetensors"
    save_weights(line, path)
    return path


@pytest.fixture(scope="module")
def thermometer(weights):
    model = deploy_book_model(book_model("thermometer"), weights)
    return model, FloatReference.of(model)


@pytest.fixture(scope="module")
def bundles(thermometer, tmp_path_factory):
    """Every pair that can be made of it, by name; of two readings 8 bits lose about 2 %, so the budget is 5 %."""
    out = tmp_path_factory.mktemp("bundles")
    made = [pack_bundle(thermometer[0], e, r, out, reference=thermometer[1], max_drop=0.05).path for e, r in PAIRS]
    return {path.name: path for path in made}


def test_every_exporter_and_recipe_packs_a_regression(bundles):
    assert len(bundles) == len(PAIRS)
    for path in bundles.values():
        manifest, found = Bundle.open(path).manifest, replay(path, policy=Policy(allow=RUNS_CODE))
        metric = manifest.metrics[0]
        expected = "verified" if manifest.recipe == "fp32" else "undecided"  # two samples decide nothing
        assert (manifest.status, metric.name, metric.samples) == (expected, "mean_absolute_error", 2)
        assert metric.low <= metric.value <= 1.05 * metric.float_value
        assert (found.passed, found.agreement) == (True, 1.0)


def test_the_bundle_answers_degrees(bundles):
    with load(Bundle.open(bundles["thermometer-onnx-fp32"])) as engine:
        found = engine.run({"reading": np.float32([[58.2]])})["prediction"]
    w, b, _ = least_squares([i for i in range(11) if i not in VALIDATION])
    assert found.tolist() == [[pytest.approx(5.82 * w + b, rel=1e-5)]]
    golden = Bundle.open(bundles["thermometer-onnx-fp32"]).golden()
    assert golden.targets.tolist() == [[15.0], [21.0]]


def test_the_verdict_is_said_in_the_metrics_own_unit(thermometer, tmp_path):
    model, reference = thermometer
    packed = pack_bundle(
        model, EXPORTERS["onnx"], RECIPES["w8a8_static"], tmp_path, reference=reference, max_drop=0.001
    )
    assert packed.manifest.status == "undecided"
    assert re.search(
        r"mean absolute error (lost|gained) 0\.0\d+, .*2 samples do not decide the budget of 0\.0018",
        packed.manifest.verdict.reason,
    )


def test_the_commands_show_it_without_percent_and_predict_says_what_it_takes(bundles, edgekit):
    path = bundles["thermometer-onnx-w8a8_static"]
    shown = edgekit("inspect", path)
    assert "thermometer: regression, 1 number" in shown.stdout
    assert "mean absolute error  1." in shown.stdout
    assert "inputs  reading float32 [1, 1]" in shown.stdout
    assert "max |Δ|" in edgekit("verify", path).stdout
    refused = edgekit("predict", path, "picture.png")
    assert refused.returncode == 2
    assert f"takes arrays, not pictures: reading float32 [1, 1]. {EDGEKIT} predict {path} --input=" in refused.stderr


def test_optimize_ends_in_a_table_of_errors(edgekit, weights, tmp_path):
    options = ("--recipe", "fp32", "--exporter", "onnx", "--quick")
    places = ("--out", tmp_path / "bundles", "--runs", tmp_path / "runs")
    done = edgekit("optimize", "thermometer", "--weights", weights, *options, *places)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "thermometer float: mean absolute error 1.8" in done.stdout
    assert "[95 %]" in done.stdout
    assert "of the float quality (by mean absolute error) kept" in done.stdout
    assert "Mean absolute error: the artifact's own" in done.stdout
    assert "mean absolute error" in (tmp_path / "runs" / "thermometer" / "report.html").read_text()


def test_a_recipe_that_finds_nothing_to_do_is_a_row_with_the_reason(thermometer, tmp_path):
    options = Request(
        model="m", exporters=("executorch_xnnpack",), recipes=("fp32", "w4_dynamic"), out=tmp_path, quick=True
    )
    done = deliver(thermometer[0], combinations(options), options, lambda inputs: None)
    assert [bundle.name for bundle in done.packed] == ["thermometer-executorch_xnnpack-fp32"]
    [row] = done.failed
    assert (row.name, row.status) == ("thermometer-executorch_xnnpack-w4_dynamic", "failed")
    assert "no linear layer whose weights could be kept in 4 bits" in row.error
    assert "Remedy: w8a8_static" in row.error
    assert row in done.measured.rows


@pytest.mark.parametrize(
    ("name", "exporter"),
    [("wine_quality", "onnx"), ("bike_demand", "onnx"), ("austen_text", "onnx"), ("austen_text", "executorch_xnnpack")],
)
def test_chapter_4_in_eight_bits_with_fresh_weights(name, exporter, data_root, tmp_path):
    if not (data_root / "book" / "p1ch4").is_dir():
        pytest.skip(f"the book's chapter-4 files are not in {data_root}")
    book = book_model(name)
    torch.manual_seed(1)
    save_weights(book.build(), tmp_path / "fresh.safetensors")
    model = deploy_book_model(book, tmp_path / "fresh.safetensors")
    few = {key: rows[:64] for key, rows in model.validation.items()}
    model = type(model)(**{**vars(model), "validation": few, "targets": model.targets[:64]})
    reference = FloatReference.of(model)
    folder = pack_bundle(
        model, EXPORTERS[exporter], RECIPES["w8a8_static"], tmp_path, reference=reference, max_drop=0.2
    ).path
    assert [s.passed for s in Bundle.open(folder).manifest.stages] == [True] * 4


@pytest.mark.parametrize("name", [n for n, m in BOOK_MODELS.items() if m.preprocessing is None])
def test_what_a_model_takes_is_known_without_its_data(name):
    book = book_model(name)
    assert book.takes is not None
    assert input_spec(book) == book.takes
